#include "server/rpc/listener.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/log.h"
#include "server/rpc/open_streams.h"
#include "server/rpc/server_settings.h"
#include "server/rpc/source.h"

namespace breaker::server {
namespace {

// For all else that the daemon has open: the store, HTTP, gRPC's own.
constexpr size_t kOtherDescriptors = 512;

constexpr absl::Duration kIdleRecount = absl::Seconds(1);
constexpr absl::Duration kBusyRecount = absl::Milliseconds(50);
constexpr int64_t kTooManyStreams = 2 * kMaxStreams;
constexpr absl::Duration kStreamCount = absl::Milliseconds(100);
// A look at each connection is to take no more of this thread's time than one part in so many.
constexpr int kShareOfStreamCount = 50;
// After an accept that failed for want of memory or descriptors.
constexpr absl::Duration kPause = absl::Milliseconds(100);

int Milliseconds(absl::Duration d) { return static_cast<int>(absl::ToInt64Milliseconds(d)); }

// How many files this process may have open, which it raises as far as it may.
size_t MaxDescriptors() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised = {limit.rlim_max, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return static_cast<size_t>(limit.rlim_cur);
}

Descriptor OpenSpare() { return Descriptor(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> Listener::Open(const ListenerOptions& options,
                                                         LimitRefusals* refusals,
                                                         prometheus::Registry* measured,
                                                         const Clock* clock) {
  absl::StatusOr<ListenSockets> listening = Listen(options.address);
  if (!listening.ok()) return listening.status();
  size_t max_connections = options.max_connections;
  std::string limit = "--max_connections";
  const size_t descriptors = MaxDescriptors();
  const size_t room = descriptors - std::min(kOtherDescriptors + kToldWhy, descriptors / 2);
  if (room < max_connections) {
    max_connections = room;
    limit = absl::StrCat("as many as the limit of ", descriptors, " open files leaves room for");
    Log(LogLevel::kWarning, "connections_limited",
        {{"connections", absl::StrCat(room)},
         {"max_connections", absl::StrCat(options.max_connections)},
         {"open_files", absl::StrCat(descriptors)}});
  }
  return std::unique_ptr<Listener>(new Listener(*std::move(listening), max_connections,
                                                std::move(limit), refusals, measured, clock));
}

Listener::Listener(ListenSockets listening, size_t max_connections, std::string limit,
                   LimitRefusals* refusals, prometheus::Registry* measured, const Clock* clock)
    : max_connections_(max_connections),
      limit_(std::move(limit)),
      refusals_(refusals),
      clock_(clock),
      gauge_(&prometheus::BuildGauge()
                  .Name("breakerd_connections")
                  .Help("Connections to the gRPC port that are open.")
                  .Register(*measured)
                  .Add({})),
      listening_(std::move(listening)),
      wake_(eventfd(0, EFD_CLOEXEC)),
      spare_(OpenSpare()) {}

Listener::~Listener() { Stop(); }

std::string Listener::WhyFull() const {
  return absl::StrCat("connections: ", max_connections_, " are open, which is ", limit_);
}

std::string Listener::WhyHostHasItsShare(const std::string& host) const {
  return absl::StrCat("connections: ", host, " has as many open as are left to all others of ",
                      max_connections_, ", which is ", limit_);
}

void Listener::AddTo(grpc::ServerBuilder* builder,
                     std::shared_ptr<grpc::ServerCredentials> credentials) {
  server_ = builder->experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, credentials);
  full_ = std::make_unique<RefusingServer>(
      credentials, grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, WhyFull()));
  host_has_its_share_ = std::make_unique<RefusingServer>(
      std::move(credentials),
      grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, WhyHostHasItsShare("your host")));
}

void Listener::Start() {
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "listener");
}

void Listener::Stop() {
  if (thread_.joinable()) {
    eventfd_write(wake_.get(), 1);
    thread_.join();
  }
  listening_.sockets.clear();
  if (full_ != nullptr) full_->Shutdown();
  if (host_has_its_share_ != nullptr) host_has_its_share_->Shutdown();
}

void Listener::Run() {
  std::vector<pollfd> polled = {{wake_.get(), POLLIN, 0}};
  for (const Descriptor& socket : listening_.sockets) polled.push_back({socket.get(), POLLIN, 0});
  MonotonicTime next_recount = clock_->Now().mono;
  while (true) {
    const int ready = poll(polled.data(), polled.size(), Milliseconds(kStreamCount));
    if (polled[0].revents != 0) return;
    bool room = true;
    for (size_t i = 1; i < polled.size() && ready > 0; ++i) {
      if (polled[i].revents != 0 && !AcceptSome(polled[i].fd)) room = false;
    }
    const MonotonicTime now = clock_->Now().mono;
    if (now >= next_recount) {
      Recount(now);
      next_recount = now + kIdleRecount;
    }
    if (now >= next_stream_count_) {
      CloseThoseWithTooManyStreams();
      const MonotonicTime after = clock_->Now().mono;
      next_stream_count_ = after + std::max(kStreamCount, kShareOfStreamCount * (after - now));
    }
    gauge_->Set(static_cast<double>(open_.count()));
    if (!room) poll(polled.data(), 1, Milliseconds(kPause));
  }
}

bool Listener::AcceptSome(int socket) {
  constexpr int kAtOnce = 64;  // of one socket, before the next has its turn
  for (int i = 0; i < kAtOnce; ++i) {
    sockaddr_storage address = {};
    socklen_t length = sizeof address;
    Descriptor connection(accept4(socket, reinterpret_cast<sockaddr*>(&address), &length,
                                  SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (connection) {
      Take(std::move(connection), HostOfAddress(address));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return true;
    } else if (errno == EMFILE || errno == ENFILE) {
      CloseOne(socket);
      return false;
    } else if (errno == ENOBUFS || errno == ENOMEM) {
      return false;
    }  // else it was one that is gone already, which is no reason to stop
  }
  return true;
}

void Listener::Take(Descriptor connection, const std::string& host) {
  const MonotonicTime now = clock_->Now().mono;
  if (HasItsShare(host) && now >= next_recount_) Recount(now);
  if (IsFull()) {
    Refuse(std::move(connection), host, WhyFull(), full_.get());
  } else if (HasItsShare(host)) {
    Refuse(std::move(connection), host, WhyHostHasItsShare(host), host_has_its_share_.get());
  } else {
    open_.Add(connection.get(), host);
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters accepted;
    accepted.fd = connection.Release();
    server_->HandleNewConnection(&accepted);
  }
}

void Listener::Refuse(Descriptor connection, const std::string& host, const std::string& why,
                      RefusingServer* with_words) {
  refusals_->Count(Limit::kConnections, why);
  if (told_why_.count() >= kToldWhy) return;
  told_why_.Add(connection.get(), host);
  with_words->Take(connection.Release());
}

void Listener::CloseOne(int socket) {
  refusals_->Count(Limit::kConnections, "connections: no more files may be opened");
  spare_.Close();
  Descriptor(accept4(socket, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)).Close();
  spare_ = OpenSpare();
}

void Listener::CloseThoseWithTooManyStreams() {
  // With one stream each, as workers have, there is nothing to look for.
  if (CountOpenStreams() <= kTooManyStreams + static_cast<int64_t>(open_.count())) return;
  for (const PeerAddress& peer : PeersWithMoreStreamsThan(kTooManyStreams)) {
    for (const int socket : open_.Descriptors()) {
      if (PeerOf(socket) != peer) continue;
      shutdown(socket, SHUT_RDWR);
      refusals_->Count(Limit::kStreamsPerConnection,
                       absl::StrCat("streams: a connection of ", open_.HostOf(socket),
                                    " had more than ", kTooManyStreams));
    }
  }
}

void Listener::Recount(MonotonicTime now) {
  open_.Recount();
  told_why_.Recount();
  next_recount_ = now + kBusyRecount;
}

}  // namespace breaker::server
