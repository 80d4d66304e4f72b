#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/store/rocksdb_store.h"
#include "tests/support/samples.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace breaker::server {
namespace {

constexpr int kWrites = 200;

// Writes breakers one by one and is killed in the middle of its work. Ends by another signal if a
// write fails.
[[noreturn]] void WriteAndDie(StateStore& store) {
  bool ok = store.Open().ok();
  for (int i = 0; i < kWrites; ++i) {
    const Key key("db", absl::StrCat("op", i));
    ok = ok && store.Write({{{key, FullSnapshot(key)}}, {}}).ok();
  }
  kill(getpid(), ok ? SIGKILL : SIGTERM);
  _exit(1);
}

// Alone in its program, which must not have threads when it forks.
TEST(RocksDbStoreKillTest, WhatIsWrittenSurvivesAKill) {
  const TempDir dir;
  const SystemClock clock;
  RocksDbStore store(dir.path(), Durability::kProcess, &clock);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) WriteAndDie(store);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_EQ(WTERMSIG(status), SIGKILL);

  ASSERT_THAT(store.Open(), IsOk());
  int loaded = 0;
  ASSERT_THAT(store.Load({.breaker = [&](const BreakerSnapshot&) { ++loaded; },
                          .policy = [](const StoredPolicy&) {},
                          .session = [](const SessionMark&) {}}),
              IsOk());
  EXPECT_EQ(loaded, kWrites);
}

}  // namespace
}  // namespace breaker::server
