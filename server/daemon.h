#ifndef BREAKER_DAEMON_H_
#define BREAKER_DAEMON_H_

#include <grpcpp/grpcpp.h>
#include <prometheus/registry.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/certificates.h"
#include "server/emf_log.h"
#include "server/engine/clock.h"
#include "server/engine/registry.h"
#include "server/file_watcher.h"
#include "server/http/http_service.h"
#include "server/identities.h"
#include "server/operations.h"
#include "server/policy_watcher.h"
#include "server/publisher.h"
#include "server/rpc/access.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/backups.h"
#include "server/rpc/circuit_breaker_service.h"
#include "server/rpc/limit_refusals.h"
#include "server/rpc/listener.h"
#include "server/rpc/new_breaker_limits.h"
#include "server/rpc/rpc_metrics.h"
#include "server/rpc/watch_hub.h"
#include "server/rpc/watch_slots.h"
#include "server/store/rocksdb_store.h"
#include "server/store/store_writer.h"
#include "server/ticker.h"

namespace breaker::server {

// Everything that a daemon can be told. See `breakerd --help`.
struct DaemonOptions {
  std::string listen = "127.0.0.1:50051";
  TlsOptions tls;             // no `cert` = without TLS
  bool insecure = false;      // ports beyond loopback may be without TLS
  std::string identities;     // a file; empty = nobody is asked who they are
  std::string health_listen;  // empty = no port for health alone
  std::string data_dir = "/var/lib/breakerd";
  Durability durability = Durability::kProcess;
  absl::Duration snapshot_interval = absl::Seconds(1);
  size_t max_breakers = 100'000;
  int64_t max_permits = 1'000'000;
  absl::Duration idle_ttl = absl::Hours(24);  // 0 = never
  absl::Duration watch_heartbeat = absl::Seconds(1);
  std::string policies;                        // a file; empty = none
  std::string http_listen = "127.0.0.1:9464";  // empty = no HTTP
  bool http_insecure = false;                  // it may be reached from other machines
  std::string http_admin_token_file;           // empty = HTTP only shows
  size_t metrics_max_breakers = 10'000;
  std::string emf_log;  // a file; empty = none
  absl::Duration drain_timeout = absl::Seconds(10);
  size_t max_connections = 10'000;
  size_t max_rpc_memory = 512;  // MiB
  // 0 = no limit.
  size_t max_watches_per_connection = 100;
  size_t max_subscriptions = 10'000;          // of one Watch stream
  size_t max_new_breakers_per_minute = 1000;  // of one worker
};

// The owner of every object and thread of the process, from the store to the open port.
class Daemon {
 public:
  // Opens the store, loads everything, and only then opens the port and reports SERVING. An error
  // says in one sentence why the daemon cannot run; an unusable disk is none: the daemon then goes
  // on from memory. `clock` is not owned and must outlive the daemon.
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(const DaemonOptions& options,
                                                       const Clock* clock);

  // As Shutdown.
  ~Daemon();

  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Drains: reports NOT_SERVING, ends the Watch streams, takes no new calls, lets those under way
  // end within drain_timeout, stores everything and closes the store. May be called again, from one
  // thread at a time.
  void Shutdown();

  // Has the policy file, the identities and the certificates read again, soon, as far as there are
  // any. Thread-safe between Start and Shutdown.
  void Reload();

  // The ports that were opened.
  int port() const { return listener_->port(); }
  int http_port() const { return http_ == nullptr ? 0 : http_->port(); }  // 0 = no HTTP
  int health_port() const { return health_port_; }                        // 0 = none

 private:
  Daemon(const DaemonOptions& options, const Clock* clock);

  // Opens the store and fills the registry from it.
  absl::Status Load();
  // Opens the ports.
  absl::Status Serve();
  absl::Status ServeRpcs();
  absl::Status ServeHealth();
  // Whether the service is up, at both ports where it is asked for.
  void SetServing(bool serving);

  const DaemonOptions options_;
  const Clock* const clock_;
  int health_port_ = 0;

  // In the order of construction; each uses only those above it.
  std::unique_ptr<Certificates> certificates_;  // null = no TLS
  std::unique_ptr<Identities> identities_;      // null = nobody is asked
  prometheus::Registry measured_;
  LimitRefusals limit_refusals_;
  NewBreakerLimits new_breaker_limits_;
  WatchSlots watch_slots_;
  RocksDbStore store_;
  std::unique_ptr<Registry> registry_;
  std::unique_ptr<StoreWriter> writer_;
  std::unique_ptr<WatchHub> hub_;
  std::unique_ptr<HttpService> http_;  // null = no HTTP
  std::unique_ptr<EmfLog> emf_log_;    // null = none
  std::unique_ptr<Publisher> publisher_;
  std::unique_ptr<Operations> operations_;
  std::unique_ptr<Backups> backups_;
  std::unique_ptr<Ticker> ticker_;
  std::unique_ptr<PolicyWatcher> policy_watcher_;
  std::unique_ptr<FileWatcher> certificate_watcher_;
  std::unique_ptr<FileWatcher> identity_watcher_;
  std::unique_ptr<Access> access_;
  std::unique_ptr<RpcMetrics> rpc_metrics_;
  std::unique_ptr<CircuitBreakerService> circuit_breaker_service_;
  std::unique_ptr<AdminService> admin_service_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::Server> health_server_;  // null = none
};

}  // namespace breaker::server

#endif  // BREAKER_DAEMON_H_
