#ifndef BREAKER_TESTS_SUPPORT_TEXT_FILE_H_
#define BREAKER_TESTS_SUPPORT_TEXT_FILE_H_

#include <filesystem>
#include <fstream>
#include <string>

namespace breaker::testing {

// Puts a file with `text` in the place of what is there, at once, as who rotates secrets does.
// Gives the path.
inline std::string WriteFile(const std::string& path, const std::string& text) {
  const std::string draft = path + ".new";
  std::ofstream(draft) << text;
  std::filesystem::rename(draft, path);
  return path;
}

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_TEXT_FILE_H_
