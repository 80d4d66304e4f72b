#include "server/rpc/listener.h"

#include <grpcpp/grpcpp.h>
#include <prometheus/registry.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "gtest/gtest.h"
#include "server/engine/clock.h"
#include "tests/support/certificates.h"
#include "tests/support/eventually.h"

namespace breaker::server {
namespace {

using ::testing::Test;

// A server behind a listener, with the health service alone.
class ListenerTest : public Test {
 protected:
  void Start(const std::string& address, size_t max_connections,
             std::shared_ptr<grpc::ServerCredentials> credentials) {
    grpc::EnableDefaultHealthCheckService(true);
    auto listener = Listener::Open({address, max_connections}, &refusals_, &measured_, &clock_);
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
    grpc::ServerBuilder builder;
    listener_->AddTo(&builder, std::move(credentials));
    server_ = builder.BuildAndStart();
    listener_->Start();
  }
  void TearDown() override {
    listener_->Stop();
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }

  std::unique_ptr<grpc::health::v1::Health::Stub> NewStub(
      const std::string& host, std::shared_ptr<grpc::ChannelCredentials> credentials) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::health::v1::Health::NewStub(grpc::CreateCustomChannel(
        absl::StrCat(host, ":", listener_->port()), std::move(credentials), arguments));
  }
  static grpc::Status Check(grpc::health::v1::Health::Stub& stub) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    grpc::health::v1::HealthCheckResponse response;
    return stub.Check(&context, grpc::health::v1::HealthCheckRequest(), &response);
  }

  const SystemClock clock_;
  prometheus::Registry measured_;
  LimitRefusals refusals_{&measured_, &clock_};
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(ListenerTest, TlsWorksAndOneTooManyIsToldSoUnderTlsToo) {
  const testing::CertificateAuthority authority;
  const testing::CertificateAuthority::Issued issued = authority.IssueForLoopback();
  grpc::SslServerCredentialsOptions options;
  options.pem_key_cert_pairs.push_back({issued.key, issued.certificate});
  Start("127.0.0.1:0", 1, grpc::SslServerCredentials(options));
  grpc::SslCredentialsOptions trusted;
  trusted.pem_root_certs = authority.certificate();
  const auto credentials = grpc::SslCredentials(trusted);

  auto first = NewStub("127.0.0.1", credentials);
  ASSERT_TRUE(Check(*first).ok()) << Check(*first).error_message();
  const auto second = NewStub("127.0.0.1", credentials);
  const grpc::Status refused = Check(*second);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << refused.error_message();
  EXPECT_EQ(refused.error_message(), "connections: 1 are open, which is --max_connections");
  first.reset();
  EXPECT_TRUE(Eventually([&] { return Check(*second).ok(); }));
}

TEST_F(ListenerTest, AllAddressesAreOfBothKinds) {
  Start("0.0.0.0:0", 10, grpc::InsecureServerCredentials());
  const auto credentials = grpc::InsecureChannelCredentials();
  EXPECT_TRUE(Check(*NewStub("127.0.0.1", credentials)).ok());
  if (!Listen("[::1]:0").ok()) GTEST_SKIP() << "no IPv6 on this machine";
  EXPECT_TRUE(Check(*NewStub("[::1]", credentials)).ok());
}

}  // namespace
}  // namespace breaker::server
