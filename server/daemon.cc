#include "server/daemon.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>

#include <chrono>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/log.h"
#include "server/rpc/server_settings.h"

namespace breaker::server {
namespace {

// For a run whose store did not open: permit ids that no other run has, as far as chance goes.
PermitEpoch RandomEpoch() {
  absl::BitGen random;
  return PermitEpoch{absl::Uniform<uint64_t>(random), absl::Uniform<uint32_t>(random, 0, 1 << 20)};
}

// "127.0.0.1:0" as it was bound: "127.0.0.1:41234".
std::string BoundAddress(absl::string_view listen, int port) {
  return absl::StrCat(listen.substr(0, listen.rfind(':')), ":", port);
}

}  // namespace

Daemon::Daemon(const DaemonOptions& options, const Clock* clock)
    : options_(options), clock_(clock), store_(options.data_dir, options.durability, clock) {}

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(const DaemonOptions& options,
                                                      const Clock* clock) {
  Log(LogLevel::kInfo, "starting",
      {{"version", BREAKER_VERSION},
       {"data_dir", options.data_dir},
       {"durability", options.durability == Durability::kDisk ? "disk" : "process"}});
  auto daemon = std::unique_ptr<Daemon>(new Daemon(options, clock));
  if (absl::Status status = daemon->Load(); !status.ok()) return status;
  if (absl::Status status = daemon->Serve(); !status.ok()) return status;
  return daemon;
}

absl::Status Daemon::Load() {
  const absl::StatusOr<PermitEpoch> epoch = store_.Open();
  if (absl::IsFailedPrecondition(epoch.status())) return epoch.status();

  RegistryOptions registry;
  registry.max_breakers = options_.max_breakers;
  registry.max_permits = options_.max_permits;
  if (options_.idle_ttl > absl::ZeroDuration()) registry.idle_ttl = options_.idle_ttl;
  registry.permit_epoch = epoch.ok() ? *epoch : RandomEpoch();
  registry.seed = registry.permit_epoch.secret + registry.permit_epoch.number;
  registry_ = std::make_unique<Registry>(registry);
  if (!options_.policies.empty()) {
    Changes none;  // no breaker is there yet
    const absl::StatusOr<size_t> policies =
        ApplyPolicyFile(options_.policies, registry_.get(), clock_->Now(), &none);
    if (!policies.ok()) return policies.status();
    Log(LogLevel::kInfo, "policies_loaded",
        {{"file", options_.policies}, {"count", absl::StrCat(*policies)}});
  }

  StoreWriterOptions writer;
  writer.snapshot_interval = options_.snapshot_interval;
  writer.restore_policy = [this](const StoredPolicy& stored) {
    Changes none;  // a policy that comes before every breaker changes none
    registry_->RestorePolicy(stored.key, stored.policy, stored.updated_at, clock_->Now(), &none);
  };
  writer_ = std::make_unique<StoreWriter>(&store_, registry_.get(), clock_, std::move(writer));
  writer_->Start(epoch);
  return absl::OkStatus();
}

absl::Status Daemon::Serve() {
  hub_ = std::make_unique<WatchHub>(options_.watch_heartbeat, clock_);
  publisher_ = std::make_unique<Publisher>(writer_.get(), hub_.get());
  circuit_breaker_service_ = std::make_unique<CircuitBreakerService>(
      registry_.get(), publisher_.get(), hub_.get(), clock_);
  admin_service_ =
      std::make_unique<AdminService>(registry_.get(), writer_.get(), publisher_.get(), clock_);

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::health::v1::HealthCheckRequest::descriptor();  // links it in, for reflection to show
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options_.listen, grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(circuit_breaker_service_.get());
  builder.RegisterService(admin_service_.get());
  ApplyServerSettings(&builder);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options_.listen,
                     ": the address is in use or not one of this machine (--listen)"));
  }
  ticker_ = std::make_unique<Ticker>(registry_.get(), publisher_.get(), clock_);
  if (!options_.policies.empty()) {
    policy_watcher_ = std::make_unique<PolicyWatcher>(options_.policies, registry_.get(),
                                                      publisher_.get(), clock_);
  }
  server_->GetHealthCheckService()->SetServingStatus(v1::CircuitBreaker::service_full_name(), true);
  Log(LogLevel::kInfo, "listening", {{"address", BoundAddress(options_.listen, port_)}});
  return absl::OkStatus();
}

void Daemon::Shutdown() {
  if (server_ != nullptr) {
    server_->GetHealthCheckService()->Shutdown();
    hub_->Close();
    server_->Shutdown(std::chrono::system_clock::now() +
                      absl::ToChronoNanoseconds(options_.drain_timeout));
    server_->Wait();
    server_.reset();
  }
  policy_watcher_.reset();
  ticker_.reset();
  if (writer_ != nullptr) {
    writer_->Stop();
    Log(LogLevel::kInfo, "stopped", {{"breakers", absl::StrCat(registry_->size())}});
    writer_.reset();
  }
}

void Daemon::ReloadPolicies() {
  if (policy_watcher_ != nullptr) policy_watcher_->Reload();
}

Daemon::~Daemon() { Shutdown(); }

}  // namespace breaker::server
