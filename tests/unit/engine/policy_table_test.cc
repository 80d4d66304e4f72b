#include "server/engine/policy_table.h"

#include <memory>

#include "gtest/gtest.h"

namespace breaker {
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

  table.Set(Key("*", "*"), Numbered(2));
  EXPECT_EQ(table.Resolve(kCharge, nullptr).policy->failure_threshold, 2u);
  EXPECT_EQ(table.Resolve(kCharge, nullptr).source, PolicySource::kOperator);
  EXPECT_EQ(table.Resolve(kCharge, worker).policy, worker);
  EXPECT_EQ(table.Resolve(kCharge, worker).source, PolicySource::kWorker);
  table.Set(Key("payments", "*"), Numbered(3));
  EXPECT_EQ(table.Resolve(kCharge, worker).policy->failure_threshold, 3u);
  EXPECT_EQ(table.Resolve(kCharge, worker).source, PolicySource::kOperator);
  table.Set(Key("payments", "charge"), Numbered(4));

  EXPECT_EQ(table.Resolve(kCharge, worker).policy->failure_threshold, 4u);
  EXPECT_EQ(table.Resolve(kCharge, worker).source, PolicySource::kOperator);
}

TEST(PolicyTableTest, OthersAreNotConcerned) {
  PolicyTable table;
  table.Set(Key("payments", "charge"), Numbered(1));
  table.Set(Key("orders", "*"), Numbered(2));

  EXPECT_EQ(table.Resolve({"payments", "refund"}, nullptr).source, PolicySource::kBuiltIn);
  EXPECT_EQ(table.Resolve({"users", "charge"}, nullptr).source, PolicySource::kBuiltIn);
}

TEST(PolicyTableTest, SettingAgainReplaces) {
  PolicyTable table;
  table.Set(Key("payments", "charge"), Numbered(1));

  table.Set(Key("payments", "charge"), Numbered(2));

  EXPECT_EQ(table.Resolve(kCharge, nullptr).policy->failure_threshold, 2u);
}

TEST(PolicyTableTest, ErasingLetsTheNextOneApply) {
  PolicyTable table;
  table.Set(Key("payments", "charge"), Numbered(1));
  table.Set(Key("payments", "*"), Numbered(2));

  EXPECT_TRUE(table.Erase(kCharge));

  EXPECT_EQ(table.Resolve(kCharge, nullptr).policy->failure_threshold, 2u);
  EXPECT_FALSE(table.Erase(kCharge));
}

}  // namespace
}  // namespace breaker
