#include "server/engine/policy_table.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"

namespace breaker::server {
namespace {

// A policy that can be told from others by its failure_threshold.
PolicyPtr Numbered(uint32_t number) {
  Policy policy;
  policy.failure_threshold = number;
  return std::make_shared<const Policy>(policy);
}

constexpr KeyView kCharge{"payments", "charge"};

TEST(PolicyTableTest, WithoutAnyPolicyTheBuiltInOneApplies) {
  PolicyTable table;

  const ResolvedPolicy resolved = table.Resolve(kCharge, nullptr);

  EXPECT_EQ(resolved.policy, BuiltInPolicy());
  EXPECT_EQ(resolved.source, PolicySource::kBuiltIn);
}

TEST(PolicyTableTest, TheMoreParticularOneApplies) {
  PolicyTable table;
  const PolicyPtr worker = Numbered(1);

  table.Set(Key("*", "*"), Numbered(2), WallTime());
  EXPECT_EQ(table.Resolve(kCharge, nullptr).policy->failure_threshold, 2u);
  EXPECT_EQ(table.Resolve(kCharge, nullptr).source, PolicySource::kOperator);
  EXPECT_EQ(table.Resolve(kCharge, worker).policy, worker);
  EXPECT_EQ(table.Resolve(kCharge, worker).source, PolicySource::kWorker);
  table.Set(Key("payments", "*"), Numbered(3), WallTime());
  EXPECT_EQ(table.Resolve(kCharge, worker).policy->failure_threshold, 3u);
  EXPECT_EQ(table.Resolve(kCharge, worker).source, PolicySource::kOperator);
  table.Set(Key("payments", "charge"), Numbered(4), WallTime());

  EXPECT_EQ(table.Resolve(kCharge, worker).policy->failure_threshold, 4u);
  EXPECT_EQ(table.Resolve(kCharge, worker).source, PolicySource::kOperator);
}

TEST(PolicyTableTest, OthersAreNotConcerned) {
  PolicyTable table;
  table.Set(Key("payments", "charge"), Numbered(1), WallTime());
  table.Set(Key("orders", "*"), Numbered(2), WallTime());

  EXPECT_EQ(table.Resolve({"payments", "refund"}, nullptr).source, PolicySource::kBuiltIn);
  EXPECT_EQ(table.Resolve({"users", "charge"}, nullptr).source, PolicySource::kBuiltIn);
}

TEST(PolicyTableTest, SettingAgainReplaces) {
  PolicyTable table;
  table.Set(Key("payments", "charge"), Numbered(1), WallTime());

  table.Set(Key("payments", "charge"), Numbered(2), WallTime());

  EXPECT_EQ(table.Resolve(kCharge, nullptr).policy->failure_threshold, 2u);
}

TEST(PolicyTableTest, ErasingLetsTheNextOneApply) {
  PolicyTable table;
  table.Set(Key("payments", "charge"), Numbered(1), WallTime());
  table.Set(Key("payments", "*"), Numbered(2), WallTime());

  EXPECT_TRUE(table.Erase(kCharge));

  EXPECT_EQ(table.Resolve(kCharge, nullptr).policy->failure_threshold, 2u);
  EXPECT_FALSE(table.Erase(kCharge));
}

absl::btree_map<Key, Policy> File(const Key& key, uint32_t number) {
  return {{key, *Numbered(number)}};
}

TEST(PolicyTableTest, WhatTheApiSaysHoldsBeforeWhatTheFileSays) {
  PolicyTable table;
  const Key charge(kCharge);
  EXPECT_EQ(table.ReplaceFile(File(charge, 1), WallTime()), std::vector<Key>{charge});
  EXPECT_EQ(table.Resolve(kCharge, nullptr).policy->failure_threshold, 1u);
  EXPECT_FALSE(table.Erase(kCharge)) << "the api says nothing of it";

  table.Set(charge, Numbered(2), WallTime());
  EXPECT_EQ(table.Resolve(kCharge, nullptr).policy->failure_threshold, 2u);
  table.ReplaceFile(File(charge, 3), WallTime());
  EXPECT_EQ(table.Resolve(kCharge, nullptr).policy->failure_threshold, 2u);
  EXPECT_TRUE(table.Erase(kCharge));

  EXPECT_EQ(table.Resolve(kCharge, nullptr).policy->failure_threshold, 3u);
}

TEST(PolicyTableTest, TheServiceInTheApiDoesNotHideABreakerInTheFile) {
  PolicyTable table;
  table.Set(Key("payments", "*"), Numbered(1), WallTime());
  table.ReplaceFile(File(Key(kCharge), 2), WallTime());

  EXPECT_EQ(table.Resolve(kCharge, nullptr).policy->failure_threshold, 2u);
}

TEST(PolicyTableTest, OnlyWhatTheFileSaysAnewIsChanged) {
  PolicyTable table;
  const auto first = WallTime::FromUnixNanos(1), second = WallTime::FromUnixNanos(2);
  const Key a("s", "a"), b("s", "b"), c("s", "c");
  table.ReplaceFile({{a, *Numbered(1)}, {b, *Numbered(1)}}, first);

  EXPECT_EQ(table.ReplaceFile({{b, *Numbered(1)}, {c, *Numbered(1)}}, second),
            (std::vector<Key>{c, a}));

  const std::vector<OperatorPolicy> all = table.All();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].key, b);
  EXPECT_EQ(all[0].updated_at, first);
  EXPECT_EQ(all[1].key, c);
  EXPECT_EQ(all[1].updated_at, second);
}

TEST(PolicyTableTest, ListsEachKeyOnceInOrderWithItsOrigin) {
  PolicyTable table;
  table.Set(Key("s", "b"), Numbered(1), WallTime());
  table.Set(Key("s", "d"), Numbered(1), WallTime());
  table.ReplaceFile({{Key("s", "c"), *Numbered(2)}, {Key("s", "d"), *Numbered(2)}}, WallTime());

  const std::vector<OperatorPolicy> all = table.All();

  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].key, Key("s", "b"));
  EXPECT_EQ(all[1].key, Key("s", "c"));
  EXPECT_EQ(all[1].origin, PolicyOrigin::kFile);
  EXPECT_EQ(all[2].key, Key("s", "d"));
  EXPECT_EQ(all[2].origin, PolicyOrigin::kApi);
  EXPECT_EQ(all[2].policy->failure_threshold, 1u);
}

}  // namespace
}  // namespace breaker::server
