#include "server/emf_log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/log.h"
#include "server/survey.h"

namespace breaker::server {
namespace {

using nlohmann::ordered_json;

constexpr char kNamespace[] = "breakerd";
constexpr size_t kMaxWaitingChanges = 10'000;
constexpr std::chrono::seconds kLookAtClock(1);

// One object, whose metrics are members beside what says that they are metrics.
class Line {
 public:
  explicit Line(WallTime time) : time_(time) {}

  void Dimension(const char* name, const std::string& value) {
    dimensions_.push_back(name);
    members_[name] = value;
  }
  void Metric(const char* name, const char* unit, double value) {
    metrics_.push_back({{"Name", name}, {"Unit", unit}});
    members_[name] = value;
  }
  void Count(const char* name, uint64_t value) {
    metrics_.push_back({{"Name", name}, {"Unit", "Count"}});
    members_[name] = value;
  }
  // For who reads the line; not counted.
  void Property(const char* name, ordered_json value) { members_[name] = std::move(value); }

  std::string Text() const {
    ordered_json directive = {{"Namespace", kNamespace},
                              {"Dimensions", ordered_json::array({dimensions_})},
                              {"Metrics", metrics_}};
    ordered_json line = {{"_aws",
                          {{"Timestamp", absl::ToUnixMillis(time_.time())},
                           {"CloudWatchMetrics", ordered_json::array({directive})}}}};
    line.update(members_);
    return line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  }

 private:
  const WallTime time_;
  ordered_json dimensions_ = ordered_json::array();
  ordered_json metrics_ = ordered_json::array();
  ordered_json members_ = ordered_json::object();
};

double Percent(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
}

std::string BreakerLine(const BreakerStats& stats, const LifetimeCounts& calls, WallTime time) {
  Line line(time);
  line.Dimension("Service", stats.key.service);
  line.Dimension("Operation", stats.key.operation);
  line.Property("State", Name(stats.state));
  if (stats.opening.has_value()) line.Property("Reason", stats.opening->reason);
  line.Count("NotClosed", stats.state != State::kClosed);
  line.Count("Open", stats.state == State::kOpen);
  line.Metric("FailureRate", "Percent", Percent(stats.window.failures, stats.window.total()));
  line.Metric("SlowCallRate", "Percent", Percent(stats.window.slow, stats.window.total()));
  line.Count("FailingWorkers", stats.failing_workers);
  line.Count("InFlight", stats.in_flight);
  line.Count("Successes", calls.successes);
  line.Count("Failures", calls.failures);
  line.Count("Rejected", calls.rejected);
  line.Count("Abandoned", calls.abandoned);
  line.Count("TimesOpened", calls.times_opened);
  return line.Text();
}

}  // namespace

// ---------------------------------------------------------------------------------------------
// The file

EmfLog::File::~File() {
  if (fd_ >= 0) close(fd_);
}

absl::Status EmfLog::File::Open(const std::string& path) {
  struct stat open_file = {};
  struct stat at_path = {};
  if (fd_ >= 0 && fstat(fd_, &open_file) == 0 && stat(path.c_str(), &at_path) == 0 &&
      open_file.st_dev == at_path.st_dev && open_file.st_ino == at_path.st_ino) {
    return absl::OkStatus();
  }
  if (fd_ >= 0) close(fd_);
  fd_ = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ >= 0) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("--emf_log: cannot write to ", path, ": ", strerror(errno)));
}

absl::Status EmfLog::File::Append(const std::string& bytes) {
  for (size_t written = 0; written < bytes.size();) {
    const ssize_t more = write(fd_, bytes.data() + written, bytes.size() - written);
    if (more < 0 && errno == EINTR) continue;
    if (more < 0) return absl::UnavailableError(strerror(errno));
    written += static_cast<size_t>(more);
  }
  return absl::OkStatus();
}

void EmfLog::Write(const std::string& lines) {
  if (lines.empty()) return;
  absl::Status status = file_.Open(options_.path);
  if (status.ok()) status = file_.Append(lines);
  if (!status.ok() && !failing_) {
    Log(LogLevel::kError, "emf_log_failing",
        {{"file", options_.path}, {"reason", status.message()}});
  } else if (status.ok() && failing_) {
    Log(LogLevel::kInfo, "emf_log_recovered", {{"file", options_.path}});
  }
  failing_ = !status.ok();
}

// ---------------------------------------------------------------------------------------------
// The thread

EmfLog::~EmfLog() { Stop(); }

absl::Status EmfLog::Start(Publisher* publisher) {
  if (absl::Status status = file_.Open(options_.path); !status.ok()) return status;
  publisher_ = publisher;
  const Instant now = sources_.clock->Now();
  Changes changes;
  sources_.registry->ForEach(
      [](const Breaker&) { return true; }, /*transitions=*/0, now, &changes,
      [this](const BreakerStats& stats) { told_.emplace(stats.key, stats.lifetime); });
  if (!changes.empty()) publisher_->Publish(std::move(changes), [] {});
  next_ = now.mono;
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "emf_log");
  return absl::OkStatus();
}

void EmfLog::Stop() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
  }
  woken_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void EmfLog::OnChanges(const Changes& changes) {
  {
    MutexLock lock(&mu_);
    if (stop_ || changes_.size() > kMaxWaitingChanges) return;
    std::copy(changes.begin(), changes.end(), std::back_inserter(changes_));
  }
  woken_.notify_one();
}

void EmfLog::Run() {
  bool stop = false;
  while (!stop) {
    Changes changes;
    {
      MutexLock lock(&mu_);
      if (!stop_ && changes_.empty()) woken_.wait_for(mu_, kLookAtClock);
      stop = stop_;
      changes.swap(changes_);
    }
    Write(TransitionLines(changes));
    const Instant now = sources_.clock->Now();
    if (now.mono >= next_ || stop) {
      Write(IntervalLines(now));
      while (next_ <= now.mono) next_ = next_ + options_.interval;
    }
  }
}

std::string EmfLog::TransitionLines(const Changes& changes) {
  std::string lines;
  for (const BreakerChange& change : changes) {
    if (change.removed) told_.erase(change.key);
    if (!change.transition.has_value()) continue;
    const Transition& transition = *change.transition;
    Line line(transition.time);
    line.Dimension("Service", change.key.service);
    line.Dimension("Operation", change.key.operation);
    line.Count("Transitions", 1);
    line.Count("Opened", transition.to == State::kOpen && transition.from != State::kOpen);
    line.Property("From", Name(transition.from));
    line.Property("To", Name(transition.to));
    line.Property("Cause", Name(transition.cause));
    line.Property("Reason", transition.reason);
    line.Property("Generation", transition.generation);
    lines += line.Text();
  }
  return lines;
}

std::string EmfLog::IntervalLines(Instant now) {
  Changes changes;
  SurveyOptions options;
  options.max_breakers = options_.max_breakers;
  const Survey survey = TakeSurvey(sources_.registry, options, now, &changes);
  if (!changes.empty()) publisher_->Publish(std::move(changes), [] {});

  std::string lines;
  for (const BreakerStats& stats : survey.breakers) {
    LifetimeCounts& told = told_[stats.key];
    lines += BreakerLine(stats, Since(told, stats.lifetime), now.wall);
    told = stats.lifetime;
  }

  const StoreWriterStats store = sources_.writer->stats();
  Line daemon(now.wall);
  daemon.Count("Breakers", survey.total);
  daemon.Count("OpenBreakers", survey.count(State::kOpen));
  daemon.Count("HalfOpenBreakers", survey.count(State::kHalfOpen));
  daemon.Count("PermitsOut", static_cast<uint64_t>(sources_.registry->permits_out()));
  daemon.Count("WatchStreams", sources_.hub->subscribers());
  daemon.Count("StoreDegraded", store.degraded);
  daemon.Count("StoreErrors", store.failures - store_errors_told_);
  daemon.Property("Version", BREAKER_VERSION);
  store_errors_told_ = store.failures;
  return lines + daemon.Text();
}

}  // namespace breaker::server
