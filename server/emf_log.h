#ifndef BREAKER_EMF_LOG_H_
#define BREAKER_EMF_LOG_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/engine/change.h"
#include "server/engine/clock.h"
#include "server/engine/key.h"
#include "server/engine/mutex.h"
#include "server/engine/registry.h"
#include "server/engine/snapshot.h"
#include "server/publisher.h"
#include "server/rpc/watch_hub.h"
#include "server/store/store_writer.h"

namespace breaker::server {

struct EmfLogOptions {
  std::string path;
  absl::Duration interval = absl::Minutes(1);
  size_t max_breakers = 10'000;  // with a line of their own, the worst
};

// Writes metrics for Amazon CloudWatch to a file, a JSON object a line, in its Embedded Metric
// Format:
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
//
// Each interval, one line for the daemon and one for every breaker (the worst, if there are more
// than max_breakers); and one at each transition. A file that was moved away (logrotate) is made
// anew. One that cannot be written to loses its lines and nothing else: the log says so. Owns one
// thread. Thread-safe.
class EmfLog : public ChangeListener {
 public:
  // None is owned; all must outlive this.
  struct Sources {
    Registry* registry;
    StoreWriter* writer;
    WatchHub* hub;
    const Clock* clock;
  };

  EmfLog(EmfLogOptions options, const Sources& sources)
      : options_(std::move(options)), sources_(sources) {}
  // Stops.
  ~EmfLog() override;

  EmfLog(const EmfLog&) = delete;
  EmfLog& operator=(const EmfLog&) = delete;

  // The publisher, which is not owned, must live until Stop. UNAVAILABLE if the file cannot be
  // written to.
  absl::Status Start(Publisher* publisher);
  // Writes what there is to write and ends the thread. Changes may go on coming.
  void Stop();

  void OnChanges(const Changes& changes) override ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // The file, open for appending.
  class File {
   public:
    ~File();
    // Opens the file at `path`, unless that is the one that is open.
    absl::Status Open(const std::string& path);
    absl::Status Append(const std::string& bytes);

   private:
    int fd_ = -1;
  };

  void Run();
  void Write(const std::string& lines);
  std::string TransitionLines(const Changes& changes);
  std::string IntervalLines(Instant now);

  const EmfLogOptions options_;
  const Sources sources_;
  Publisher* publisher_ = nullptr;  // from Start on

  // Used by the thread alone, once it runs.
  File file_;
  bool failing_ = false;
  MonotonicTime next_;                             // interval's end
  absl::flat_hash_map<Key, LifetimeCounts> told_;  // up to the last interval's end
  uint64_t store_errors_told_ = 0;

  Mutex mu_;
  std::condition_variable_any woken_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  Changes changes_ ABSL_GUARDED_BY(mu_);  // to write of

  std::thread thread_;
};

}  // namespace breaker::server

#endif  // BREAKER_EMF_LOG_H_
