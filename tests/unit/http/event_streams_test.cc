// How events come to browsers: in order, in bounds, and to the end.

#include "server/http/event_streams.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace breaker::server {
namespace {

using ::testing::Optional;

using StreamPtr = std::shared_ptr<EventStreams::Stream>;

constexpr absl::Duration kPatience = absl::Seconds(30);
constexpr char kResync[] = "event: resync\ndata: {}\n\n";

TEST(EventStreamsTest, EventsComeInOrderAsServerSentEvents) {
  EventStreams streams;
  const StreamPtr stream = streams.Open();
  streams.Send("rows", R"({"a":1})");
  streams.Send("removed", R"({"b":2})");
  EXPECT_THAT(stream->Next(kPatience),
              Optional(std::string("event: rows\ndata: {\"a\":1}\n\n"
                                   "event: removed\ndata: {\"b\":2}\n\n")));
  streams.Send("rows", "{}");
  EXPECT_THAT(stream->Next(kPatience), Optional(std::string("event: rows\ndata: {}\n\n")));
}

TEST(EventStreamsTest, EveryStreamHasAllEventsSinceItWasOpened) {
  EventStreams streams;
  const StreamPtr first = streams.Open();
  streams.Send("rows", "1");
  const StreamPtr second = streams.Open();
  streams.Send("rows", "2");
  EXPECT_THAT(first->Next(kPatience),
              Optional(std::string("event: rows\ndata: 1\n\nevent: rows\ndata: 2\n\n")));
  EXPECT_THAT(second->Next(kPatience), Optional(std::string("event: rows\ndata: 2\n\n")));
}

TEST(EventStreamsTest, SilenceIsAnEmptyText) {
  EventStreams streams;
  const StreamPtr stream = streams.Open();
  EXPECT_THAT(stream->Next(absl::Milliseconds(1)), Optional(std::string()));
  EXPECT_THAT(stream->Next(absl::ZeroDuration()), Optional(std::string()));
}

TEST(EventStreamsTest, WhoWaitsIsWokenByAnEvent) {
  EventStreams streams;
  const StreamPtr stream = streams.Open();
  std::atomic<bool> woken{false};
  std::thread reader([&] {
    EXPECT_THAT(stream->Next(kPatience), Optional(std::string("event: rows\ndata: {}\n\n")));
    woken = true;
  });
  streams.Send("rows", "{}");
  reader.join();
  EXPECT_TRUE(woken);
}

TEST(EventStreamsTest, EmptyUntilOneFollowsAndAgainWhenItIsDropped) {
  EventStreams streams;
  EXPECT_TRUE(streams.empty());
  StreamPtr stream = streams.Open();
  EXPECT_FALSE(streams.empty());
  stream.reset();
  EXPECT_TRUE(streams.empty());
  streams.Send("rows", "{}");  // to no one
}

TEST(EventStreamsTest, CloseEndsAllEvenThoseThatWaitAndRefusesNewOnes) {
  EventStreams streams;
  const StreamPtr waiting = streams.Open();
  const StreamPtr unread = streams.Open();
  std::thread reader([&] { EXPECT_EQ(waiting->Next(kPatience), std::nullopt); });
  streams.Close();
  reader.join();
  EXPECT_EQ(unread->Next(kPatience), std::nullopt);
  EXPECT_EQ(unread->Next(kPatience), std::nullopt) << "and stays closed";
  EXPECT_EQ(streams.Open(), nullptr);
  streams.Send("rows", "{}");
  EXPECT_EQ(unread->Next(kPatience), std::nullopt);
}

TEST(EventStreamsTest, NoMoreThanThereMayBeAndAPlaceIsFreeAgainWhenOneIsDropped) {
  EventStreams streams;
  std::vector<StreamPtr> open;
  for (size_t i = 0; i < EventStreams::kMaxStreams; ++i) {
    open.push_back(streams.Open());
    ASSERT_NE(open.back(), nullptr) << i;
  }
  EXPECT_EQ(streams.Open(), nullptr);

  open[5].reset();
  const StreamPtr in_its_place = streams.Open();
  ASSERT_NE(in_its_place, nullptr);
  EXPECT_EQ(streams.Open(), nullptr);

  streams.Send("rows", "{}");
  EXPECT_THAT(in_its_place->Next(kPatience), Optional(std::string("event: rows\ndata: {}\n\n")));
}

// ---------------------------------------------------------------------------------------------
// Who reads too slowly

// An event of a quarter of what may wait.
const std::string& Quarter() {
  static const std::string quarter(EventStreams::kMaxWaitingBytes / 4, 'x');
  return quarter;
}

TEST(EventStreamsTest, WhoReadsTooSlowlyIsToldOnceAndHasNothingStale) {
  EventStreams streams;
  const StreamPtr slow = streams.Open();
  const StreamPtr quick = streams.Open();
  for (int i = 0; i < 12; ++i) {
    streams.Send("rows", Quarter());
    EXPECT_TRUE(absl::StartsWith(quick->Next(kPatience).value_or(""), "event: rows\n"));
  }
  streams.Send("rows", "{}");  // small, but part of what the resync stands for

  EXPECT_THAT(slow->Next(kPatience), Optional(std::string(kResync)));
  EXPECT_THAT(slow->Next(absl::ZeroDuration()), Optional(std::string()));
  EXPECT_THAT(quick->Next(kPatience), Optional(std::string("event: rows\ndata: {}\n\n")));
}

TEST(EventStreamsTest, WhoWasTooSlowGoesOnAfterwards) {
  EventStreams streams;
  const StreamPtr stream = streams.Open();
  for (int i = 0; i < 5; ++i) streams.Send("rows", Quarter());
  ASSERT_THAT(stream->Next(kPatience), Optional(std::string(kResync)));

  streams.Send("rows", "{}");
  EXPECT_THAT(stream->Next(kPatience), Optional(std::string("event: rows\ndata: {}\n\n")));
  // There is as much room as before.
  for (int i = 0; i < 3; ++i) streams.Send("rows", Quarter());
  EXPECT_GT(stream->Next(kPatience).value_or("").size(), 3 * Quarter().size());
  for (int i = 0; i < 5; ++i) streams.Send("rows", Quarter());
  EXPECT_THAT(stream->Next(kPatience), Optional(std::string(kResync)));
}

TEST(EventStreamsTest, WhatMayWaitIsKeptToTheLastByte) {
  EventStreams streams;
  const StreamPtr stream = streams.Open();
  const size_t frame = std::string("event: rows\ndata: \n\n").size();
  const std::string all(EventStreams::kMaxWaitingBytes - frame, 'x');
  streams.Send("rows", all);
  EXPECT_EQ(stream->Next(kPatience).value_or("").size(), EventStreams::kMaxWaitingBytes);
  streams.Send("rows", all + "x");
  EXPECT_THAT(stream->Next(kPatience), Optional(std::string(kResync)));
}

// ---------------------------------------------------------------------------------------------
// All at once

TEST(EventStreamsTest, ManySendersAndReadersAtOnce) {
  constexpr int kSenders = 4;
  constexpr int kReaders = 8;
  constexpr int kEvents = 2000;
  EventStreams streams;

  // Each keeps a stream to the end, and sees every sender's events in order and whole.
  std::vector<std::thread> readers;
  std::vector<StreamPtr> open;
  for (int r = 0; r < kReaders; ++r) open.push_back(streams.Open());
  std::atomic<int> complete{0};
  for (int r = 0; r < kReaders; ++r) {
    readers.emplace_back([&, stream = open[static_cast<size_t>(r)]] {
      std::vector<int> next(kSenders, 0);
      int seen = 0;
      while (seen < kSenders * kEvents) {
        const std::optional<std::string> bytes = stream->Next(kPatience);
        ASSERT_TRUE(bytes.has_value() && !bytes->empty()) << "an event was lost";
        for (const absl::string_view event : absl::StrSplit(*bytes, "\n\n", absl::SkipEmpty())) {
          // "event: 2\ndata: 17"
          const std::vector<absl::string_view> words =
              absl::StrSplit(event, absl::ByAnyChar(" \n"));
          ASSERT_EQ(words.size(), 4u) << event;
          int sender = -1;
          int number = -1;
          ASSERT_TRUE(absl::SimpleAtoi(words[1], &sender) && absl::SimpleAtoi(words[3], &number));
          ASSERT_EQ(next[static_cast<size_t>(sender)]++, number);
          ++seen;
        }
      }
      ++complete;
    });
  }
  std::vector<std::thread> senders;
  for (int s = 0; s < kSenders; ++s) {
    senders.emplace_back([&, s] {
      for (int i = 0; i < kEvents; ++i) streams.Send(absl::StrCat(s), absl::StrCat(i));
    });
  }
  // Others come and go meanwhile.
  std::thread passer_by([&] {
    for (int i = 0; i < 500; ++i) {
      const StreamPtr stream = streams.Open();
      if (stream != nullptr) stream->Next(absl::ZeroDuration());
      (void)streams.empty();
    }
  });
  for (std::thread& thread : senders) thread.join();
  for (std::thread& thread : readers) thread.join();
  passer_by.join();
  EXPECT_EQ(complete, kReaders);
}

TEST(EventStreamsTest, CloseBesideSendersAndReadersLeavesNoOneWaiting) {
  EventStreams streams;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([stream = streams.Open()] {
      while (stream->Next(kPatience).has_value()) {
      }
    });
  }
  std::atomic<bool> closed{false};
  std::thread sender([&] {
    while (!closed) streams.Send("rows", "{}");
  });
  streams.Close();
  for (std::thread& thread : threads) thread.join();
  closed = true;
  sender.join();
}

}  // namespace
}  // namespace breaker::server
