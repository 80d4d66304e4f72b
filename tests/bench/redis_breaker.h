#ifndef BREAKER_TESTS_BENCH_REDIS_BREAKER_H_
#define BREAKER_TESTS_BENCH_REDIS_BREAKER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/subprocess.h"
#include "tests/support/temp_dir.h"

struct redisContext;

namespace breaker::bench {

// A Redis of its own that stores nothing, on a free port of 127.0.0.1 and a unix socket.
class RedisServer {
 public:
  RedisServer();

  int port() const { return port_; }
  std::string socket() const { return dir_ / "redis"; }

 private:
  const TempDir dir_;
  int port_ = 0;
  std::unique_ptr<testing::Subprocess> process_;
};

// A connection to circuit breakers that are kept in Redis by redis_breaker.lua. Whatever goes wrong
// ends the benchmark. Not thread-safe.
class RedisBreakers {
 public:
  struct Permit {
    bool allowed;
    bool probe;
    int64_t generation;
  };

  static RedisBreakers OverTcp(const RedisServer& server);
  static RedisBreakers OverUnixSocket(const RedisServer& server);

  // One round trip.
  Permit Acquire(const std::string& key);
  // One round trip. Whether it counted.
  bool Report(const std::string& key, const Permit& permit, bool success);

  // As many of them at once, in one round trip: what a worker can do that has so many calls to make
  // at the same time.
  void AcquireMany(const std::string& key, std::vector<Permit>& permits);
  void ReportMany(const std::string& key, const std::vector<Permit>& permits, bool success);

 private:
  struct Reply;
  struct Free {
    void operator()(redisContext* context) const;
  };

  explicit RedisBreakers(redisContext* context);
  void BeginAcquire(const std::string& key);
  void BeginReport(const std::string& key, const Permit& permit, bool success);
  Reply Next();
  Permit NextPermit();

  std::unique_ptr<redisContext, Free> context_;
  std::string script_sha_;
};

}  // namespace breaker::bench

#endif  // BREAKER_TESTS_BENCH_REDIS_BREAKER_H_
