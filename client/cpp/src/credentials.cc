#include "client/cpp/src/credentials.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "client/cpp/src/token_source.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_certificate_verifier.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "grpcpp/support/client_interceptor.h"

namespace breaker::internal {
namespace {

using grpc::experimental::ClientInterceptorFactoryInterface;
using grpc::experimental::InterceptionHookPoints;

constexpr char kAuthorization[] = "authorization";
constexpr unsigned int kRefreshSeconds = 1;

// Over TLS: gRPC refuses to send what this gives over anything less.
class TokenPlugin : public grpc::MetadataCredentialsPlugin {
 public:
  explicit TokenPlugin(std::shared_ptr<TokenSource> token) : token_(std::move(token)) {}
  bool IsBlocking() const override { return false; }  // Or each call takes a thread.
  const char* GetType() const override { return "breakerd token"; }
  grpc::string DebugString() override { return "breakerd token"; }
  grpc::Status GetMetadata(grpc::string_ref, grpc::string_ref, const grpc::AuthContext&,
                           std::multimap<grpc::string, grpc::string>* metadata) override {
    std::string authorization = token_->Authorization();
    if (!authorization.empty()) metadata->emplace(kAuthorization, std::move(authorization));
    return grpc::Status::OK;
  }

 private:
  const std::shared_ptr<TokenSource> token_;
};

// Over plaintext.
class TokenInterceptor : public grpc::experimental::Interceptor {
 public:
  explicit TokenInterceptor(std::shared_ptr<TokenSource> token) : token_(std::move(token)) {}
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      std::string authorization = token_->Authorization();
      if (!authorization.empty()) {
        methods->GetSendInitialMetadata()->emplace(kAuthorization, std::move(authorization));
      }
    }
    methods->Proceed();
  }

 private:
  const std::shared_ptr<TokenSource> token_;
};

class TokenInterceptorFactory : public ClientInterceptorFactoryInterface {
 public:
  explicit TokenInterceptorFactory(std::shared_ptr<TokenSource> token) : token_(std::move(token)) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    return new TokenInterceptor(token_);
  }

 private:
  const std::shared_ptr<TokenSource> token_;
};

std::shared_ptr<grpc::ChannelCredentials> MakeTlsCredentials(const TlsOptions& tls) {
  grpc::experimental::TlsChannelCredentialsOptions options;
  if (!tls.ca_file.empty() || !tls.certificate_file.empty()) {
    options.set_certificate_provider(
        std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
            tls.key_file, tls.certificate_file, tls.ca_file, kRefreshSeconds));
  }
  if (!tls.ca_file.empty()) options.watch_root_certs();
  if (!tls.certificate_file.empty()) options.watch_identity_key_cert_pairs();
  options.set_certificate_verifier(
      std::make_shared<grpc::experimental::HostNameCertificateVerifier>());
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace

std::shared_ptr<grpc::Channel> OpenChannel(const ClientOptions& options,
                                           grpc::ChannelArguments args) {
  // The daemon is a neighbour, not a site on the web.
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  std::shared_ptr<TokenSource> token;
  if (!options.token.empty() || !options.token_file.empty()) {
    token = std::make_shared<TokenSource>(options.token, options.token_file);
  }
  if (options.tls.has_value()) {
    if (!options.tls->server_name.empty()) args.SetSslTargetNameOverride(options.tls->server_name);
    auto credentials = MakeTlsCredentials(*options.tls);
    if (token != nullptr) {
      credentials = grpc::CompositeChannelCredentials(
          credentials, grpc::MetadataCredentialsFromPlugin(std::make_unique<TokenPlugin>(token)));
    }
    return grpc::CreateCustomChannel(options.target, credentials, args);
  }
  std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>> interceptors;
  if (token != nullptr && options.token_over_plaintext) {
    interceptors.push_back(std::make_unique<TokenInterceptorFactory>(token));
  }
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      options.target, grpc::InsecureChannelCredentials(), args, std::move(interceptors));
}

}  // namespace breaker::internal
