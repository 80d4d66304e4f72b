#ifndef BREAKER_ENGINE_ARENA_H_
#define BREAKER_ENGINE_ARENA_H_

#include <cstddef>

namespace breaker::server {

// A range of zeroed address space that takes memory only where it is touched.
class Arena {
 public:
  static constexpr size_t kHugePage = size_t{2} << 20;

  // Throws std::bad_alloc where the system refuses so much address space.
  explicit Arena(size_t bytes);
  ~Arena();

  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  char* start() const { return start_; }

  // Backs `bytes` from `at` on, and what shares a huge page with them, with huge pages: what is
  // there stays, and what was never touched takes memory too. Takes about a millisecond for each.
  // Nothing happens on a kernel before Linux 6.1 or where memory is short. Thread-safe.
  static void UseHugePages(char* at, size_t bytes);

 private:
  size_t bytes_;
  char* start_;  // at a huge page's beginning
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_ARENA_H_
