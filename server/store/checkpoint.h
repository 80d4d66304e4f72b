#ifndef BREAKER_STORE_CHECKPOINT_H_
#define BREAKER_STORE_CHECKPOINT_H_

#include <string>
#include <utility>

namespace breaker::server {

// What a store held at one moment, as files in a folder that nobody changes. The folder goes with
// this object, which may be destroyed on any thread, but not after the store.
class Checkpoint {
 public:
  // Takes the folder over.
  explicit Checkpoint(std::string path) : path_(std::move(path)) {}
  ~Checkpoint();

  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

}  // namespace breaker::server

#endif  // BREAKER_STORE_CHECKPOINT_H_
