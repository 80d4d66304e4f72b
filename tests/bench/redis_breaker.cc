#include "tests/bench/redis_breaker.h"

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "tests/bench/die.h"

namespace breaker::bench {
namespace {

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    Die("no free port");
  }
  close(fd);
  return ntohs(address.sin_port);
}

std::string Script() {
  std::ifstream file(REDIS_BREAKER_LUA);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

RedisServer::RedisServer() {
  // Redis cannot be told to take a free port, and between the choice and its start the port may be
  // taken.
  for (int attempt = 0; attempt < 5; ++attempt) {
    port_ = FreePort();
    process_ = std::make_unique<testing::Subprocess>(std::vector<std::string>{
        "redis-server", "--port", absl::StrCat(port_), "--bind", "127.0.0.1", "--unixsocket",
        socket(), "--dir", dir_.path(), "--save", "", "--appendonly", "no", "--daemonize", "no"});
    if (process_->WaitForOut("Ready to accept connections", absl::Seconds(10))) return;
  }
  Die(absl::StrCat("redis-server does not start: ", process_->out(), process_->err()));
}

struct RedisBreakers::Reply {
  struct Free {
    void operator()(redisReply* reply) const { freeReplyObject(reply); }
  };
  std::unique_ptr<redisReply, Free> value;

  redisReply* operator->() const { return value.get(); }
};

void RedisBreakers::Free::operator()(redisContext* context) const { redisFree(context); }

RedisBreakers::RedisBreakers(redisContext* context) : context_(context) {
  if (context == nullptr || context->err != 0) Die("no connection to Redis");
  redisAppendCommand(context, "SCRIPT LOAD %s", Script().c_str());
  script_sha_ = Next()->str;
}

RedisBreakers RedisBreakers::OverTcp(const RedisServer& server) {
  return RedisBreakers(redisConnect("127.0.0.1", server.port()));
}

RedisBreakers RedisBreakers::OverUnixSocket(const RedisServer& server) {
  return RedisBreakers(redisConnectUnix(server.socket().c_str()));
}

RedisBreakers::Permit RedisBreakers::Acquire(const std::string& key) {
  BeginAcquire(key);
  return NextPermit();
}

bool RedisBreakers::Report(const std::string& key, const Permit& permit, bool success) {
  BeginReport(key, permit, success);
  return Next()->integer == 1;
}

void RedisBreakers::AcquireMany(const std::string& key, std::vector<Permit>& permits) {
  for (size_t i = 0; i < permits.size(); ++i) BeginAcquire(key);
  for (Permit& permit : permits) permit = NextPermit();
}

void RedisBreakers::ReportMany(const std::string& key, const std::vector<Permit>& permits,
                               bool success) {
  for (const Permit& permit : permits) BeginReport(key, permit, success);
  for (size_t i = 0; i < permits.size(); ++i) Next();
}

void RedisBreakers::BeginAcquire(const std::string& key) {
  redisAppendCommand(context_.get(), "EVALSHA %s 1 %s acquire", script_sha_.c_str(), key.c_str());
}

void RedisBreakers::BeginReport(const std::string& key, const Permit& permit, bool success) {
  redisAppendCommand(context_.get(), "EVALSHA %s 1 %s report %lld %d %d", script_sha_.c_str(),
                     key.c_str(), static_cast<long long>(permit.generation), permit.probe ? 1 : 0,
                     success ? 1 : 0);
}

RedisBreakers::Reply RedisBreakers::Next() {
  void* reply = nullptr;
  if (redisGetReply(context_.get(), &reply) != REDIS_OK) Die("Redis is gone");
  Reply owned{{static_cast<redisReply*>(reply), {}}};
  if (owned->type == REDIS_REPLY_ERROR) Die(absl::StrCat("Redis: ", owned->str));
  return owned;
}

RedisBreakers::Permit RedisBreakers::NextPermit() {
  const Reply reply = Next();
  return {.allowed = reply->element[0]->integer == 1,
          .probe = reply->element[2]->integer == 1,
          .generation = reply->element[1]->integer};
}

}  // namespace breaker::bench
