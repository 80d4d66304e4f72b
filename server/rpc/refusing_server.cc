#include "server/rpc/refusing_server.h"

#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>

#include <chrono>
#include <vector>

#include "server/rpc/refused_stream.h"
#include "server/rpc/server_settings.h"

namespace breaker::server {
namespace {

constexpr int kMaxConnectionAgeMs = 2000;
constexpr int kMaxConnectionAgeGraceMs = 500;

// What plugins of the process add to every server, such as reflection, would answer as if all were
// well.
class NoPlugins : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    plugins->clear();
  }
};

}  // namespace

grpc::ServerGenericBidiReactor* RefusingServer::Service::CreateReactor(
    grpc::GenericCallbackServerContext*) {
  return new RefusedStream(answer_);
}

RefusingServer::RefusingServer(std::shared_ptr<grpc::ServerCredentials> credentials,
                               const grpc::Status& answer)
    : service_(answer) {
  grpc::ServerBuilder builder;
  connections_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      std::move(credentials));
  ApplyServerSettings(&builder);
  builder.SetOption(std::make_unique<NoPlugins>());
  builder.SetOption(std::make_unique<grpc::HealthCheckServiceServerBuilderOption>(nullptr));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, kMaxConnectionAgeMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, kMaxConnectionAgeGraceMs);
  builder.RegisterCallbackGenericService(&service_);
  server_ = builder.BuildAndStart();
}

RefusingServer::~RefusingServer() { Shutdown(); }

void RefusingServer::Take(int fd) {
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
  connection.fd = fd;
  connections_->HandleNewConnection(&connection);
}

void RefusingServer::Shutdown() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

}  // namespace breaker::server
