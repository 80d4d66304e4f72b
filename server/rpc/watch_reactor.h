#ifndef BREAKER_RPC_WATCH_REACTOR_H_
#define BREAKER_RPC_WATCH_REACTOR_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "breaker/v1/breaker.pb.h"
#include "server/engine/clock.h"
#include "server/engine/key.h"
#include "server/engine/mutex.h"
#include "server/engine/registry.h"
#include "server/publisher.h"
#include "server/rpc/access.h"
#include "server/rpc/watch_hub.h"
#include "server/rpc/watch_slots.h"

namespace breaker::server {

// One Watch stream. Messages are raw: an update goes out to thousands as it was encoded once, and
// several of them one after the other are one message with several updates.
//
// A stream that reads more slowly than its breakers change is sent the latest state of each: of one
// breaker at most kMaxWaiting updates wait, of which a further one leaves only itself.
//
// Lives from Start until gRPC is done with it and the hub has let go of it. Thread-safe.
class WatchReactor : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                     public WatchSubscriber,
                     public std::enable_shared_from_this<WatchReactor> {
 public:
  // None is owned; all must outlive the server.
  struct Environment {
    Registry* registry;
    Publisher* publisher;
    WatchHub* hub;
    const Clock* clock;
  };

  // For gRPC, which then owns it, in effect. `context` is gRPC's, of the stream.
  static WatchReactor* Start(const Environment& environment,
                             const grpc::CallbackServerContext* context, Caller caller,
                             WatchSlots::Slot slot);

  void Offer(WatchUpdatePtr update) override ABSL_LOCKS_EXCLUDED(mu_);
  void Tick(MonotonicTime now) override ABSL_LOCKS_EXCLUDED(mu_);
  void Close() override ABSL_LOCKS_EXCLUDED(mu_);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_);
  void OnCancel() override;
  void OnDone() override;

 private:
  static constexpr size_t kMaxWaiting = 8;
  static constexpr size_t kMaxUpdatesAMessage = 256;
  static constexpr size_t kKeysAPage = 256;

  WatchReactor(const Environment& environment, const grpc::CallbackServerContext* context,
               Caller caller, WatchSlots::Slot slot);

  absl::Status Handle(const v1::WatchRequest& request);
  absl::Status Subscribe(const v1::Subscription& subscription);
  // Follows a breaker that is there. NOT_FOUND if it is not.
  absl::Status FollowOnly(const KeyView& key);
  // Offers what comes next of all breakers, while there is more. Called with nothing else to send.
  void ReadPage() ABSL_LOCKS_EXCLUDED(mu_);
  void Publish(Changes changes);
  void End(const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  // Sends what waits, if anything does and nothing is being sent.
  void SendNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Send(std::vector<grpc::Slice> messages) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Constant after construction.
  const Environment environment_;
  const Caller caller_;
  const grpc::Slice heartbeat_;
  const grpc::CallbackServerContext* const context_;  // until OnDone

  // Used by OnReadDone and OnDone alone, which never run at once.
  std::shared_ptr<WatchReactor> self_;  // until OnDone
  grpc::ByteBuffer request_;
  std::optional<std::string> worker_id_;
  std::string worker_name_;  // by which the registry knows it; of a viewer it does not
  WatchSlots::Slot slot_;

  Mutex mu_;
  grpc::ByteBuffer sending_ ABSL_GUARDED_BY(mu_);
  bool is_sending_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  MonotonicTime last_sent_ ABSL_GUARDED_BY(mu_);
  absl::btree_map<Key, std::vector<WatchUpdatePtr>> waiting_ ABSL_GUARDED_BY(mu_);
  Key next_ ABSL_GUARDED_BY(mu_);  // of waiting_: where to go on
  // While the breakers that there were at the beginning are read: the last one that was.
  bool reading_all_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<Key> read_up_to_ ABSL_GUARDED_BY(mu_);
};

// A Watch stream that ends at once with this status. For gRPC.
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* RefuseWatch(
    const grpc::Status& status);

}  // namespace breaker::server

#endif  // BREAKER_RPC_WATCH_REACTOR_H_
