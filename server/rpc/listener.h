#ifndef BREAKER_RPC_LISTENER_H_
#define BREAKER_RPC_LISTENER_H_

#include <grpcpp/grpcpp.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <cstddef>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "server/descriptor.h"
#include "server/engine/clock.h"
#include "server/rpc/limit_refusals.h"
#include "server/rpc/listen_sockets.h"
#include "server/rpc/open_sockets.h"
#include "server/rpc/refusing_server.h"

namespace breaker::server {

struct ListenerOptions {
  std::string address;  // as Listen takes it
  size_t max_connections = 10'000;
};

// The gRPC port: accepts its connections and hands them to the server, as many as there may be at
// once. gRPC has no bound of its own. One host (HostOfAddress) may have as many as are left to all
// others, so that none takes them all. Of those past a limit some are told why by a RefusingServer,
// the others are closed as they come.
//
// gRPC 1.51 holds only those clients to kMaxStreams that have acknowledged its settings. A
// connection with twice as many, on which one has not, is found within a moment and closed.
//
// Connections that the server has closed are noticed within a second, or, at the limit, before one
// is refused (at most kRecountsAPause often). Owns one thread. To be used by one thread at a time.
class Listener {
 public:
  // Listens; connections wait until Start. Takes as many files as this process may have, and lowers
  // max_connections, with a line in the log, where those do not suffice. `refusals`, `measured` and
  // `clock` are not owned and must outlive the listener.
  static absl::StatusOr<std::unique_ptr<Listener>> Open(const ListenerOptions& options,
                                                        LimitRefusals* refusals,
                                                        prometheus::Registry* measured,
                                                        const Clock* clock);
  // As Stop.
  ~Listener();

  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int port() const { return listening_.port; }

  // Has the server that is being built serve this port. To be called once.
  void AddTo(grpc::ServerBuilder* builder, std::shared_ptr<grpc::ServerCredentials> credentials);

  // To be called once, when that server runs.
  void Start();

  // Takes no more connections: closes the port. To be called before the server is shut down.
  void Stop();

 private:
  // How many connections are told why they are too many.
  static constexpr size_t kToldWhy = 32;

  Listener(ListenSockets listening, size_t max_connections, std::string limit,
           LimitRefusals* refusals, prometheus::Registry* measured, const Clock* clock);

  void Run();
  // Takes what waits at a socket, for the most part. False if there are no descriptors for more.
  bool AcceptSome(int socket);
  void Take(Descriptor connection, const std::string& host);
  void Refuse(Descriptor connection, const std::string& host, const std::string& why,
              RefusingServer* with_words);
  // Where this process may open no more files: gives one back for a moment, so that a connection
  // that waits does not wait for ever.
  void CloseOne(int socket);
  void Recount(MonotonicTime now);
  void CloseThoseWithTooManyStreams();
  bool IsFull() const { return open_.count() >= max_connections_; }
  bool HasItsShare(const std::string& host) const {
    return open_.count() + open_.CountOf(host) >= max_connections_;
  }
  std::string WhyFull() const;
  // `host` as a client or a reader of the log knows it.
  std::string WhyHostHasItsShare(const std::string& host) const;

  // Constant after construction.
  const size_t max_connections_;
  const std::string limit_;  // whose it is, in words

  // Not owned.
  LimitRefusals* const refusals_;
  const Clock* const clock_;
  prometheus::Gauge* gauge_;

  ListenSockets listening_;
  Descriptor wake_;   // an eventfd, readable when the thread is to end
  Descriptor spare_;  // for CloseOne
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> server_;
  std::unique_ptr<RefusingServer> full_;
  std::unique_ptr<RefusingServer> host_has_its_share_;

  // Used by the thread alone.
  OpenSockets open_;
  OpenSockets told_why_;
  MonotonicTime next_recount_;  // at the limit
  MonotonicTime next_stream_count_;

  std::thread thread_;
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_LISTENER_H_
