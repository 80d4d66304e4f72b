#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/daemon_process.h"
#include "tests/support/subprocess.h"

namespace breaker {
namespace {

using testing::DaemonProcess;
using ::testing::HasSubstr;
using testing::Subprocess;

void MustRun(const std::vector<std::string>& argv) {
  Subprocess process(argv);
  ASSERT_EQ(process.Wait(), 0) << process.out() << process.err();
}

TEST(FindPackageTest, InstalledClientBuildsTheQuickstart) {
  const std::filesystem::path work = BUILD_DIR "/tests/e2e/find_package_work";
  const std::string prefix = work / "prefix";
  const std::string build = work / "build";
  std::filesystem::remove_all(work);

  ASSERT_NO_FATAL_FAILURE(
      MustRun({CMAKE_PATH, "--install", BUILD_DIR, "--prefix", prefix, "--component", "client"}));
  ASSERT_NO_FATAL_FAILURE(MustRun(
      {CMAKE_PATH, "-S", PROJECT_DIR, "-B", build, "-G", GENERATOR, "-DCMAKE_PREFIX_PATH=" + prefix,
       "-DCMAKE_CXX_COMPILER=" COMPILER, "-DCMAKE_CXX_FLAGS=" COMPILE_FLAGS}));
  ASSERT_NO_FATAL_FAILURE(MustRun({CMAKE_PATH, "--build", build}));

  DaemonProcess daemon;
  Subprocess quickstart({build + "/quickstart", daemon.target()});
  EXPECT_EQ(quickstart.Wait(), 0) << quickstart.err();
  EXPECT_EQ(quickstart.out(), "hello\ndemo/quickstart is CLOSED after 1 successes\n");

  Subprocess stats(
      {prefix + "/bin/breakerctl", "--target", daemon.target(), "stats", "demo/quickstart"});
  EXPECT_EQ(stats.Wait(), 0) << stats.err();
  EXPECT_THAT(stats.out(), HasSubstr("demo/quickstart is CLOSED"));
}

}  // namespace
}  // namespace breaker
