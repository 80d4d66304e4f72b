// top: the breakers on a full screen, those in trouble first, anew every second.
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/ctl/commands.h"
#include "client/ctl/remote.h"
#include "client/ctl/table.h"

namespace breaker::ctl {
namespace {

volatile sig_atomic_t stopped = 0;

// The terminal as `top` wants it; as it was when this is destroyed. Signals that end the program
// set `stopped` meanwhile.
class FullScreen {
 public:
  FullScreen() {
    tcgetattr(STDIN_FILENO, &before_);
    termios keys = before_;
    keys.c_lflag &= static_cast<tcflag_t>(~(ICANON | ECHO));  // each key at once, and not shown
    tcsetattr(STDIN_FILENO, TCSANOW, &keys);
    struct sigaction stop = {};
    stop.sa_handler = [](int) { stopped = 1; };
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &stop, nullptr);
    struct sigaction wake = {};  // poll returns, and the screen is drawn anew
    wake.sa_handler = [](int) {};
    sigaction(SIGWINCH, &wake, nullptr);
    std::cout << "\033[?1049h\033[?25l" << std::flush;  // the other screen, no cursor
  }
  ~FullScreen() {
    std::cout << "\033[?25h\033[?1049l" << std::flush;
    tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }

  void Draw(const std::vector<std::string>& lines) {
    // Over what is there, so that nothing flickers and little goes over a slow line.
    std::string frame = "\033[H";
    for (size_t i = 0; i < lines.size(); ++i) {
      absl::StrAppend(&frame, i == 0 ? "" : "\r\n", lines[i], "\033[K");
    }
    std::cout << frame << "\033[J" << std::flush;
  }

  static std::pair<size_t, size_t> RowsAndColumns() {
    winsize size = {};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) return {24, 80};
    return {size.ws_row, size.ws_col};
  }

  // Waits for a key; whether it is one that ends.
  static bool WaitForQuit(absl::Duration time) {
    pollfd keyboard = {STDIN_FILENO, POLLIN, 0};
    if (poll(&keyboard, 1, static_cast<int>(absl::ToInt64Milliseconds(time))) <= 0) return false;
    char key = 0;
    return read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q';
  }

 private:
  termios before_ = {};
};

// Trouble first: those that refuse calls, then those that fail most.
bool IsWorse(const v1::CircuitStats& a, const v1::CircuitStats& b) {
  const auto rank = [](const v1::CircuitStats& stats) {
    const int state = stats.state() == v1::OPEN ? 2 : stats.state() == v1::HALF_OPEN ? 1 : 0;
    return std::tuple(state, stats.failure_rate(), stats.failure_count(), stats.total_requests());
  };
  if (rank(a) != rank(b)) return rank(a) > rank(b);
  return std::tie(a.service(), a.operation()) < std::tie(b.service(), b.operation());
}

std::string Why(const v1::CircuitStats& stats) {
  if (stats.has_override()) return OverrideInWords(stats.override());
  if (stats.state() != v1::CLOSED) {
    for (const v1::Transition& transition : stats.recent_transitions()) {
      if (transition.from() == v1::CLOSED) return transition.reason();  // it opened the circuit
    }
  }
  return stats.failure_count() > 0 ? stats.last_failure_error() : "";
}

std::vector<std::string> Screen(const Daemon& daemon, const grpc::Status& status,
                                v1::ListStatsResponse& all, size_t rows, size_t columns) {
  int open = 0;
  int half_open = 0;
  for (const v1::CircuitStats& stats : all.stats()) {
    open += stats.state() == v1::OPEN ? 1 : 0;
    half_open += stats.state() == v1::HALF_OPEN ? 1 : 0;
  }
  std::sort(all.mutable_stats()->begin(), all.mutable_stats()->end(), IsWorse);

  std::vector<std::string> lines;
  std::string head = absl::StrCat(LocalTime(absl::Now()).substr(0, 8), "  ", daemon.options.target,
                                  "  ", all.stats_size(), " breakers: ", open, " open, ", half_open,
                                  " half open  (q ends)");
  if (!status.ok()) {
    const bool away = status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                      status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
    const std::string what =
        away ? "UNAVAILABLE"
             : absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()));
    head = absl::StrCat(what, ", last seen: ", head);
  }
  lines.push_back(head.substr(0, columns));
  std::vector<Row> table = {
      {"BREAKER", "STATE", "CALLS", "FAILED", "RATE", "WORKERS", "NEXT ATTEMPT", "WHY"}};
  for (const v1::CircuitStats& stats : all.stats()) {
    if (table.size() + 1 >= rows) break;
    table.push_back(
        {absl::StrCat(stats.service(), "/", stats.operation()),
         v1::CircuitState_Name(stats.state()), absl::StrCat(stats.total_requests()),
         absl::StrCat(stats.failure_count()), absl::StrFormat("%.0f%%", 100 * stats.failure_rate()),
         stats.has_next_attempt_time() ? Relative(stats.next_attempt_time()) : "-", Why(stats)});
  }
  for (std::string& line : Aligned(table, columns, WantsColours())) {
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace

int Top(const Daemon& daemon, absl::Duration interval) {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0) {
    std::cerr << "breakerctl: top is for a terminal; list gives the same to a file\n";
    return kUsage;
  }
  v1::ListStatsResponse all;
  grpc::Status status = ListAll(daemon, "", {}, &all);
  if (!status.ok()) return Fail(daemon, status);
  FullScreen screen;
  while (stopped == 0) {
    const auto [rows, columns] = FullScreen::RowsAndColumns();
    screen.Draw(Screen(daemon, status, all, rows, columns));
    if (FullScreen::WaitForQuit(interval)) break;
    v1::ListStatsResponse now;
    status = ListAll(daemon, "", {}, &now);
    if (status.ok()) all = std::move(now);
  }
  return kOk;
}

}  // namespace breaker::ctl
