#include "server/rpc/watch_hub.h"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "breaker/v1/breaker.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/eventually.h"

namespace breaker::server {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Notes what it is offered, as "service/operation generation".
class Follower : public WatchSubscriber {
 public:
  void Offer(WatchUpdatePtr update) override {
    v1::WatchResponse response;
    ASSERT_TRUE(
        response.ParseFromArray(update->message.begin(), static_cast<int>(update->message.size())));
    const v1::CircuitUpdate& news = response.updates(0);
    std::string text = news.service() + "/" + news.operation() + " ";
    text += news.removed() ? "removed" : std::to_string(news.generation());
    const std::lock_guard<std::mutex> lock(mu_);
    offered_.push_back(text);
  }
  void Tick(MonotonicTime) override {
    const std::lock_guard<std::mutex> lock(mu_);
    ++ticks_;
  }
  void Close() override {
    const std::lock_guard<std::mutex> lock(mu_);
    closed_ = true;
  }

  std::vector<std::string> offered() {
    const std::lock_guard<std::mutex> lock(mu_);
    return offered_;
  }
  bool Await(size_t count) {
    return Eventually([&] { return offered().size() >= count; });
  }
  int ticks() {
    const std::lock_guard<std::mutex> lock(mu_);
    return ticks_;
  }
  bool closed() {
    const std::lock_guard<std::mutex> lock(mu_);
    return closed_;
  }

 private:
  std::mutex mu_;
  std::vector<std::string> offered_;
  int ticks_ = 0;
  bool closed_ = false;
};

BreakerView View(uint64_t generation) {
  BreakerView view;
  view.version.generation = generation;
  view.policy = BuiltInPolicy();
  return view;
}

BreakerChange Change(const Key& key, uint64_t generation) { return {key, View(generation)}; }

BreakerChange Removal(const Key& key) {
  BreakerChange change{key};
  change.removed = true;
  return change;
}

class WatchHubTest : public testing::Test {
 protected:
  std::shared_ptr<Follower> NewFollower() {
    auto follower = std::make_shared<Follower>();
    EXPECT_TRUE(hub_.Join(follower));
    return follower;
  }
  void Follow(Follower& follower, const Key& key, uint64_t generation = 1) {
    ASSERT_TRUE(
        hub_.Follow(&follower, key, [&] { return absl::StatusOr<BreakerView>(View(generation)); })
            .ok());
  }

  const Key a_{"s", "a"};
  const Key b_{"s", "b"};
  SystemClock clock_;
  WatchHub hub_{absl::Milliseconds(80), &clock_};
};

TEST_F(WatchHubTest, TellsTheStateAndThenEveryChangeInOrder) {
  const auto follower = NewFollower();
  Follow(*follower, a_, 3);
  hub_.Notify({Change(a_, 4), Change(b_, 9), Change(a_, 5)});
  hub_.Notify({Change(a_, 6)});

  ASSERT_TRUE(follower->Await(4));
  EXPECT_THAT(follower->offered(), ElementsAre("s/a 3", "s/a 4", "s/a 5", "s/a 6"));
}

TEST_F(WatchHubTest, AChangeThatComesAfterALaterOneIsDropped) {
  const auto follower = NewFollower();
  Follow(*follower, a_);
  hub_.Notify({Change(a_, 5)});
  ASSERT_TRUE(follower->Await(2));
  hub_.Notify({Change(a_, 4), Change(a_, 6)});

  ASSERT_TRUE(follower->Await(3));
  EXPECT_THAT(follower->offered(), ElementsAre("s/a 1", "s/a 5", "s/a 6"));
}

TEST_F(WatchHubTest, ANewFollowerTakesNothingFromTheOthers) {
  const auto first = NewFollower();
  Follow(*first, a_, 1);
  const auto second = NewFollower();
  Follow(*second, a_, 2);  // it has seen the change that the first is told of only now
  hub_.Notify({Change(a_, 2)});

  ASSERT_TRUE(first->Await(2));
  EXPECT_THAT(first->offered(), ElementsAre("s/a 1", "s/a 2"));
}

TEST_F(WatchHubTest, ABreakerThatWasRemovedMayBeginAnew) {
  const auto follower = NewFollower();
  Follow(*follower, a_, 9);
  hub_.Notify({Removal(a_), Change(a_, 1)});

  ASSERT_TRUE(follower->Await(3));
  EXPECT_THAT(follower->offered(), ElementsAre("s/a 9", "s/a removed", "s/a 1"));
}

TEST_F(WatchHubTest, WhoFollowsAllHearsOfEveryBreakerOnce) {
  const auto follower = NewFollower();
  hub_.FollowAll(follower.get());
  hub_.FollowAll(follower.get());
  hub_.Notify({Change(a_, 1)});
  hub_.Notify({Change(b_, 2)});
  hub_.Notify({Change(b_, 3)});

  ASSERT_TRUE(follower->Await(3));
  EXPECT_THAT(follower->offered(), testing::UnorderedElementsAre("s/a 1", "s/b 2", "s/b 3"));
}

TEST_F(WatchHubTest, WhoHasLeftHearsNothing) {
  const auto gone = NewFollower();
  const auto stays = NewFollower();
  Follow(*gone, a_);
  Follow(*stays, a_);
  hub_.Leave(gone.get());
  hub_.Notify({Change(a_, 2)});

  ASSERT_TRUE(stays->Await(2));
  EXPECT_EQ(gone->offered().size(), 1u);
  EXPECT_EQ(hub_.subscribers(), 1u);
}

TEST_F(WatchHubTest, AnErrorOfReadingIsPassedOnAndNothingIsFollowed) {
  const auto follower = NewFollower();
  EXPECT_EQ(
      hub_.Follow(follower.get(), a_,
                  [] { return absl::StatusOr<BreakerView>(absl::ResourceExhaustedError("full")); })
          .message(),
      "full");
  Follow(*follower, b_);
  hub_.Notify({Change(a_, 2)});
  hub_.Notify({Change(b_, 2)});

  ASSERT_TRUE(follower->Await(2));
  EXPECT_THAT(follower->offered(), ElementsAre("s/b 1", "s/b 2"));
}

TEST_F(WatchHubTest, TicksSeveralTimesAHeartbeat) {
  const auto follower = NewFollower();
  EXPECT_TRUE(Eventually([&] { return follower->ticks() >= 3; }));
}

TEST_F(WatchHubTest, WhenItClosesAllAreToldAndNoneCanJoin) {
  const auto follower = NewFollower();
  hub_.Close();
  EXPECT_TRUE(follower->closed());
  EXPECT_FALSE(hub_.Join(std::make_shared<Follower>()));
}

}  // namespace
}  // namespace breaker::server
