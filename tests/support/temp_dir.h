#ifndef BREAKER_TESTS_SUPPORT_TEMP_DIR_H_
#define BREAKER_TESTS_SUPPORT_TEMP_DIR_H_

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "gtest/gtest.h"

namespace breaker {

// A new empty directory, which goes with the object.
class TempDir {
 public:
  TempDir() : path_(::testing::TempDir() + "breaker.XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) {
      ADD_FAILURE() << "cannot create " << path_;
    }
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  // Of something in it.
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace breaker

#endif  // BREAKER_TESTS_SUPPORT_TEMP_DIR_H_
