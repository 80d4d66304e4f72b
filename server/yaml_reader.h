#ifndef BREAKER_YAML_READER_H_
#define BREAKER_YAML_READER_H_

#include <yaml-cpp/yaml.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace breaker::server {

// Walks through one YAML document and says at which line what is wrong:
// "policies.yaml:5: what is wrong and what is allowed".
class YamlReader {
 public:
  // `name` is the file's; it must outlive this.
  explicit YamlReader(absl::string_view name) : name_(name) {}

  // The whole document. INVALID_ARGUMENT if it is not YAML.
  absl::StatusOr<YAML::Node> Load(const std::string& text) const;

  // Calls read(name, key, value) for all that `map` holds, until one fails; no name twice. `names`
  // are those that it may hold, if not empty. `what` is the map in words.
  using ReadEntry =
      std::function<absl::Status(const std::string&, const YAML::Node&, const YAML::Node&)>;
  absl::Status ReadMap(const YAML::Node& map, absl::string_view what,
                       const std::vector<std::string>& names, const ReadEntry& read) const;

  // The list that a document holds under `name` and nothing else; undefined or null if it is empty,
  // or holds nothing but comments. `first` is the first name of its entries.
  absl::StatusOr<YAML::Node> ReadList(const YAML::Node& document, const std::string& name,
                                      absl::string_view first) const;

  static int Line(const YAML::Node& node) { return node.Mark().line + 1; }

  absl::Status Wrong(const YAML::Node& node, absl::string_view what) const;

 private:
  const absl::string_view name_;
};

// All that a file holds. NOT_FOUND or UNAVAILABLE if it cannot be read.
absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace breaker::server

#endif  // BREAKER_YAML_READER_H_
