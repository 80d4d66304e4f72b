#include "tests/bench/server_process.h"

#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "server/daemon.h"
#include "server/rpc/server_settings.h"
#include "tests/bench/die.h"
#include "tests/bench/no_op_service.h"

namespace breaker::bench {
namespace {

constexpr char kAnyPort[] = "127.0.0.1:0";

}  // namespace

ForkedProcess::ForkedProcess(const std::function<void()>& main) : pid_(fork()) {
  if (pid_ < 0) Die("cannot fork");
  if (pid_ > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  main();
  _exit(0);
}

ForkedProcess::~ForkedProcess() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

ServerProcess::Pipe::Pipe() {
  int fds[2];
  if (pipe(fds) != 0) Die("no pipe");
  read_end = fds[0];
  write_end = fds[1];
}

ServerProcess::ServerProcess(const Start& start)
    : process_([&] {
        for (const int port : start()) {
          if (write(pipe_.write_end, &port, sizeof port) != sizeof port) Die("no pipe");
        }
        close(pipe_.write_end);
        while (true) pause();
      }) {
  close(pipe_.write_end);
  int port;
  while (read(pipe_.read_end, &port, sizeof port) == sizeof port) ports_.push_back(port);
  close(pipe_.read_end);
  if (ports_.empty()) Die("the servers did not start");
}

std::string ServerProcess::target(size_t i) const {
  return absl::StrCat("127.0.0.1:", ports_.at(i));
}

std::vector<int> ServeDaemonAndHttp(const std::string& data_dir, server::DaemonOptions options) {
  static const auto& clock = *new server::SystemClock;
  options.listen = kAnyPort;
  options.http_listen = kAnyPort;
  options.data_dir = data_dir;
  options.max_new_breakers_per_minute = 0;  // loads begin with all of theirs at once
  auto daemon = server::Daemon::Start(options, &clock);
  if (!daemon.ok()) Die(std::string(daemon.status().message()));
  const server::Daemon* const serving = daemon->release();
  return {serving->port(), serving->http_port()};
}

int ServeDaemon(const std::string& data_dir, server::DaemonOptions options) {
  return ServeDaemonAndHttp(data_dir, std::move(options)).front();
}

int ServeNoOp() {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(kAnyPort, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(new NoOpService);
  server::ApplyServerSettings(&builder);
  builder.BuildAndStart().release();
  return port;
}

}  // namespace breaker::bench
