#ifndef BREAKER_RPC_REFUSING_SERVER_H_
#define BREAKER_RPC_REFUSING_SERVER_H_

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <memory>

namespace breaker::server {

// Takes connections that are too many and answers each rpc on them with one status, so that a
// client reads in its own words why it is not served. Such a connection is ended after some
// seconds: the client's next one may be in time. Thread-safe.
class RefusingServer {
 public:
  RefusingServer(std::shared_ptr<grpc::ServerCredentials> credentials, const grpc::Status& answer);
  // As Shutdown.
  ~RefusingServer();

  RefusingServer(const RefusingServer&) = delete;
  RefusingServer& operator=(const RefusingServer&) = delete;

  // Takes over the socket of a connection.
  void Take(int fd);

  // Ends all of its connections. Nothing may be taken any more.
  void Shutdown();

 private:
  class Service : public grpc::CallbackGenericService {
   public:
    explicit Service(const grpc::Status& answer) : answer_(answer) {}
    grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override;

   private:
    const grpc::Status answer_;
  };

  Service service_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> connections_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_REFUSING_SERVER_H_
