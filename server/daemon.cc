#include "server/daemon.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <prometheus/histogram.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/log.h"
#include "server/rpc/server_settings.h"

namespace breaker::server {
namespace {

// Its request names a service, if anything.
constexpr int kMaxHealthCheckBytes = 1024;

// For a run whose store did not open: permit ids that no other run has, as far as chance goes.
PermitEpoch RandomEpoch() {
  absl::BitGen random;
  return PermitEpoch{absl::Uniform<uint64_t>(random), absl::Uniform<uint32_t>(random, 0, 1 << 20)};
}

// "127.0.0.1:0" as it was bound: "127.0.0.1:41234".
std::string BoundAddress(absl::string_view listen, int port) {
  return absl::StrCat(listen.substr(0, listen.rfind(':')), ":", port);
}

// What writes of the store take, as metrics.
std::function<void(absl::Duration, size_t)> MeasureWrites(prometheus::Registry* registry) {
  prometheus::Histogram& durations = prometheus::BuildHistogram()
                                         .Name("breakerd_store_write_duration_seconds")
                                         .Help("What it takes to store a batch of records.")
                                         .Register(*registry)
                                         .Add({}, prometheus::Histogram::BucketBoundaries{
                                                      50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3,
                                                      5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 1});
  prometheus::Histogram& records = prometheus::BuildHistogram()
                                       .Name("breakerd_store_batch_records")
                                       .Help("Records in a batch that was stored.")
                                       .Register(*registry)
                                       .Add({}, prometheus::Histogram::BucketBoundaries{
                                                    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000});
  return [&durations, &records](absl::Duration took, size_t count) {
    durations.Observe(absl::ToDoubleSeconds(took));
    records.Observe(static_cast<double>(count));
  };
}

// The first line of a file that holds nothing else. An error says in one sentence what is wrong.
absl::StatusOr<std::string> ReadToken(const std::string& path) {
  constexpr size_t kLeastBytes = 16;
  std::ifstream file(path);
  std::string token;
  if (!std::getline(file, token) || absl::StripAsciiWhitespace(token).size() < kLeastBytes) {
    return absl::InvalidArgumentError(absl::StrCat("--http_admin_token_file: ", path,
                                                   " has no token of ", kLeastBytes,
                                                   " bytes or more, or cannot be read"));
  }
  return std::string(absl::StripAsciiWhitespace(token));
}

// Whether HOST:PORT can only be reached from this machine.
bool IsLocal(absl::string_view listen) {
  const absl::string_view host = listen.substr(0, listen.rfind(':'));
  return host == "localhost" || host == "[::1]" || absl::StartsWith(host, "127.") ||
         absl::StartsWith(listen, "unix:") || absl::StartsWith(listen, "unix-abstract:");
}

// A port in plain text that other machines can reach: only if that was asked for, and not in
// silence. `instead` is what else would do.
absl::Status CheckPlainText(const char* flag, const std::string& listen, bool asked,
                            absl::string_view instead) {
  if (IsLocal(listen)) return absl::OkStatus();
  if (!asked) {
    return absl::InvalidArgumentError(absl::StrCat(
        flag, ": ", listen,
        " can be reached from other machines, and without TLS everybody on the way reads and "
        "changes what is said: ",
        instead));
  }
  Log(LogLevel::kWarning, "insecure", {{"flag", flag}, {"address", listen}});
  return absl::OkStatus();
}

absl::Status CheckPorts(const DaemonOptions& options) {
  const bool tls = !options.tls.cert.empty();
  if (tls == options.tls.key.empty()) {
    return absl::InvalidArgumentError("--tls_cert and --tls_key go together: one is missing");
  }
  if (!tls && !options.tls.client_ca.empty()) {
    return absl::InvalidArgumentError("--tls_client_ca: is of no use without --tls_cert");
  }
  if (!tls) {
    const absl::Status status = CheckPlainText("--listen", options.listen, options.insecure,
                                               "give --tls_cert and --tls_key, or say --insecure");
    if (!status.ok()) return status;
  }
  if (options.http_listen.empty()) return absl::OkStatus();
  const bool has_token = !options.http_admin_token_file.empty();
  if (has_token && !options.insecure && !IsLocal(options.http_listen)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--http_admin_token_file: the board's port speaks no TLS, and at ", options.http_listen,
        " the token would cross the network for all to read: listen on 127.0.0.1, or "
        "say --insecure"));
  }
  return CheckPlainText("--http_listen", options.http_listen,
                        options.insecure || options.http_insecure,
                        "say --http_insecure, for it speaks no TLS, or --http_listen=off");
}

}  // namespace

Daemon::Daemon(const DaemonOptions& options, const Clock* clock)
    : options_(options),
      clock_(clock),
      limit_refusals_(&measured_, clock),
      new_breaker_limits_({options.max_new_breakers_per_minute, options.max_breakers},
                          &limit_refusals_),
      watch_slots_(options.max_watches_per_connection, &limit_refusals_),
      store_(options.data_dir, options.durability, clock) {}

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(const DaemonOptions& options,
                                                      const Clock* clock) {
  Log(LogLevel::kInfo, "starting",
      {{"version", BREAKER_VERSION},
       {"data_dir", options.data_dir},
       {"durability", options.durability == Durability::kDisk ? "disk" : "process"}});
  if (absl::Status status = CheckPorts(options); !status.ok()) return status;
  auto daemon = std::unique_ptr<Daemon>(new Daemon(options, clock));
  if (absl::Status status = daemon->Load(); !status.ok()) return status;
  if (absl::Status status = daemon->Serve(); !status.ok()) return status;
  return daemon;
}

absl::Status Daemon::Load() {
  if (!options_.tls.cert.empty()) {
    absl::StatusOr<std::unique_ptr<Certificates>> loaded = Certificates::Load(options_.tls);
    if (!loaded.ok()) return loaded.status();
    certificates_ = *std::move(loaded);
  }
  if (!options_.identities.empty()) {
    identities_ = std::make_unique<Identities>();
    const absl::StatusOr<size_t> count = identities_->Load(options_.identities);
    if (!count.ok()) return count.status();
    Log(LogLevel::kInfo, "identities_loaded",
        {{"file", options_.identities}, {"count", absl::StrCat(*count)}});
  }

  const absl::StatusOr<PermitEpoch> epoch = store_.Open();
  if (absl::IsFailedPrecondition(epoch.status())) return epoch.status();

  RegistryOptions registry;
  registry.max_breakers = options_.max_breakers;
  registry.max_permits = options_.max_permits;
  registry.admission = &new_breaker_limits_;
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
  writer.on_write = MeasureWrites(&measured_);
  writer.restore_policy = [this](const StoredPolicy& stored) {
    Changes none;  // a policy that comes before every breaker changes none
    registry_->RestorePolicy(stored.key, stored.policy, stored.updated_at, clock_->Now(), &none);
  };
  writer_ = std::make_unique<StoreWriter>(&store_, registry_.get(), clock_, std::move(writer));
  writer_->Start(epoch);
  return absl::OkStatus();
}

absl::Status Daemon::Serve() {
  hub_ = std::make_unique<WatchHub>(options_.watch_heartbeat, options_.max_subscriptions,
                                    &limit_refusals_, clock_);
  std::vector<ChangeListener*> listeners;
  if (!options_.http_listen.empty()) {
    HttpService::Options http;
    http.listen = options_.http_listen;
    http.metrics_max_breakers = options_.metrics_max_breakers;
    if (!options_.http_admin_token_file.empty()) {
      absl::StatusOr<std::string> token = ReadToken(options_.http_admin_token_file);
      if (!token.ok()) return token.status();
      http.admin_token = *std::move(token);
    }
    http_ = std::make_unique<HttpService>(
        std::move(http),
        HttpService::Sources{&measured_, registry_.get(), writer_.get(), hub_.get(), clock_});
    listeners = http_->listeners();
  }
  if (!options_.emf_log.empty()) {
    EmfLogOptions emf;
    emf.path = options_.emf_log;
    emf.max_breakers = options_.metrics_max_breakers;
    emf_log_ = std::make_unique<EmfLog>(
        std::move(emf), EmfLog::Sources{registry_.get(), writer_.get(), hub_.get(), clock_});
    listeners.push_back(emf_log_.get());
  }
  publisher_ = std::make_unique<Publisher>(writer_.get(), hub_.get(), std::move(listeners));
  operations_ = std::make_unique<Operations>(registry_.get(), writer_.get(), publisher_.get());
  backups_ = std::make_unique<Backups>(writer_.get(), clock_);
  rpc_metrics_ = std::make_unique<RpcMetrics>(&measured_, clock_);
  access_ = std::make_unique<Access>(identities_.get());
  circuit_breaker_service_ = std::make_unique<CircuitBreakerService>(
      access_.get(), registry_.get(), publisher_.get(), hub_.get(), &watch_slots_, &limit_refusals_,
      rpc_metrics_.get(), clock_);
  admin_service_ = std::make_unique<AdminService>(access_.get(), registry_.get(), operations_.get(),
                                                  backups_.get(), rpc_metrics_.get(), clock_);
  if (absl::Status status = ServeRpcs(); !status.ok()) return status;
  if (absl::Status status = ServeHealth(); !status.ok()) return status;
  if (http_ != nullptr) {
    if (absl::Status status = http_->Start(publisher_.get(), operations_.get()); !status.ok()) {
      return status;
    }
    Log(LogLevel::kInfo, "http_listening",
        {{"address", BoundAddress(options_.http_listen, http_->port())}});
  }
  if (emf_log_ != nullptr) {
    if (absl::Status status = emf_log_->Start(publisher_.get()); !status.ok()) return status;
  }
  ticker_ = std::make_unique<Ticker>(registry_.get(), publisher_.get(), clock_);
  if (!options_.policies.empty()) {
    policy_watcher_ = std::make_unique<PolicyWatcher>(options_.policies, registry_.get(),
                                                      publisher_.get(), clock_);
  }
  if (certificates_ != nullptr) {
    certificate_watcher_ =
        std::make_unique<FileWatcher>(certificates_->paths(), "certificates",
                                      [this](bool asked) { certificates_->Reload(asked); });
  }
  if (identities_ != nullptr) {
    identity_watcher_ = std::make_unique<FileWatcher>(
        std::vector<std::string>{options_.identities}, "identities",
        [this](bool asked) { identities_->Reload(options_.identities, asked); });
  }
  SetServing(true);
  listener_->Start();
  Log(LogLevel::kInfo, "listening", {{"address", BoundAddress(options_.listen, port())}});
  return absl::OkStatus();
}

absl::Status Daemon::ServeRpcs() {
  auto listener = Listener::Open({options_.listen, options_.max_connections}, &limit_refusals_,
                                 &measured_, clock_);
  if (!listener.ok()) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", options_.listen, ": ",
                                               listener.status().message(), " (--listen)"));
  }
  listener_ = *std::move(listener);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::health::v1::HealthCheckRequest::descriptor();  // links it in, for reflection to show
  grpc::ServerBuilder builder;
  listener_->AddTo(&builder, certificates_ == nullptr ? grpc::InsecureServerCredentials()
                                                      : certificates_->ServerCredentials());
  builder.RegisterService(circuit_breaker_service_.get());
  builder.RegisterService(admin_service_.get());
  ApplyServerSettings(&builder);
  grpc::ResourceQuota memory("rpcs");
  memory.Resize(options_.max_rpc_memory << 20);
  builder.SetResourceQuota(memory);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return absl::UnavailableError("the gRPC server does not start");
  return absl::OkStatus();
}

// The kubelet's probes speak no TLS.
absl::Status Daemon::ServeHealth() {
  if (options_.health_listen.empty()) return absl::OkStatus();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options_.health_listen, grpc::InsecureServerCredentials(),
                           &health_port_);
  ApplyServerSettings(&builder);
  builder.SetMaxReceiveMessageSize(kMaxHealthCheckBytes);
  health_server_ = builder.BuildAndStart();
  if (health_server_ == nullptr || health_port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options_.health_listen,
                     ": the address is in use or not one of this machine (--health_listen)"));
  }
  Log(LogLevel::kInfo, "health_listening",
      {{"address", BoundAddress(options_.health_listen, health_port_)}});
  return absl::OkStatus();
}

void Daemon::SetServing(bool serving) {
  for (grpc::Server* const server : {server_.get(), health_server_.get()}) {
    if (server == nullptr) continue;
    grpc::HealthCheckServiceInterface* const health = server->GetHealthCheckService();
    health->SetServingStatus(v1::CircuitBreaker::service_full_name(), serving);
    if (!serving) health->Shutdown();
  }
}

void Daemon::Shutdown() {
  if (server_ != nullptr) {
    SetServing(false);
    if (http_ != nullptr) http_->Drain();
    listener_->Stop();
    hub_->Close();
    server_->Shutdown(std::chrono::system_clock::now() +
                      absl::ToChronoNanoseconds(options_.drain_timeout));
    server_->Wait();
    server_.reset();
  }
  // To the end it tells that the daemon stops.
  if (health_server_ != nullptr) {
    health_server_->Shutdown(std::chrono::system_clock::now());
    health_server_->Wait();
    health_server_.reset();
  }
  backups_.reset();
  certificate_watcher_.reset();
  identity_watcher_.reset();
  policy_watcher_.reset();
  ticker_.reset();
  if (http_ != nullptr) http_->Stop();
  if (emf_log_ != nullptr) emf_log_->Stop();
  if (writer_ != nullptr) {
    writer_->Stop();
    Log(LogLevel::kInfo, "stopped", {{"breakers", absl::StrCat(registry_->size())}});
    writer_.reset();
  }
}

void Daemon::Reload() {
  if (policy_watcher_ != nullptr) policy_watcher_->Reload();
  if (certificate_watcher_ != nullptr) certificate_watcher_->Reload();
  if (identity_watcher_ != nullptr) identity_watcher_->Reload();
}

Daemon::~Daemon() { Shutdown(); }

}  // namespace breaker::server
