#ifndef BREAKER_TESTS_BENCH_SERVER_PROCESS_H_
#define BREAKER_TESTS_BENCH_SERVER_PROCESS_H_

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "server/daemon.h"

namespace breaker::bench {

// A child process that lives as long as the object, and not longer than its parent.
class ForkedProcess {
 public:
  // Runs `main` in the child, which is over when that returns. Fork before gRPC starts in this
  // process: its threads and locks do not survive a fork.
  explicit ForkedProcess(const std::function<void()>& main);
  // Kills the child.
  ~ForkedProcess();
  ForkedProcess(const ForkedProcess&) = delete;
  ForkedProcess& operator=(const ForkedProcess&) = delete;

  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

// A child process with servers, beside the load in this one.
class ServerProcess {
 public:
  // Begins to serve and returns the ports.
  using Start = std::function<std::vector<int>()>;

  // Returns when they serve. To be made before gRPC starts in this process.
  explicit ServerProcess(const Start& start);

  pid_t pid() const { return process_.pid(); }
  // "127.0.0.1:PORT", of the i-th server.
  std::string target(size_t i = 0) const;

 private:
  struct Pipe {
    Pipe();
    int read_end;
    int write_end;
  };

  Pipe pipe_;
  ForkedProcess process_;
  std::vector<int> ports_;
};

// Starts a server that lives as long as the process; the port.
int ServeDaemon(const std::string& data_dir, server::DaemonOptions options = {});
// The same, with the port of HTTP after that of gRPC.
std::vector<int> ServeDaemonAndHttp(const std::string& data_dir,
                                    server::DaemonOptions options = {});
// The daemon's settings and messages, and nothing done: see no_op.proto.
int ServeNoOp();

// Both in one process, in this order.
inline ServerProcess::Start DaemonAndNoOp(const std::string& data_dir) {
  return [data_dir] { return std::vector<int>{ServeDaemon(data_dir), ServeNoOp()}; };
}

}  // namespace breaker::bench

#endif  // BREAKER_TESTS_BENCH_SERVER_PROCESS_H_
