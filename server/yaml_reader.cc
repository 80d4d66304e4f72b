#include "server/yaml_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace breaker::server {

absl::StatusOr<YAML::Node> YamlReader::Load(const std::string& text) const {
  try {
    return YAML::Load(text);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(name_, ":", error.mark.line + 1, ": is not YAML: ", error.msg));
  }
}

absl::Status YamlReader::ReadMap(const YAML::Node& map, absl::string_view what,
                                 const std::vector<std::string>& names,
                                 const ReadEntry& read) const {
  if (!map.IsMap()) {
    return Wrong(
        map, absl::StrCat(what, " is not made of NAME: VALUE",
                          names.empty() ? "" : ", with the names ", absl::StrJoin(names, ", ")));
  }
  absl::flat_hash_map<std::string, int> seen;
  for (const auto& pair : map) {
    const YAML::Node& key = pair.first;
    const YAML::Node& value = pair.second;
    const std::string name = key.IsScalar() ? key.Scalar() : "";
    if (!names.empty() && std::find(names.begin(), names.end(), name) == names.end()) {
      return Wrong(key, absl::StrCat("'", name, "' is not a name in ", what, ", which has ",
                                     absl::StrJoin(names, ", ")));
    }
    const auto [first, is_first] = seen.try_emplace(name, Line(key));
    if (!is_first) {
      return Wrong(key, absl::StrCat(name, ": was given already, at line ", first->second));
    }
    if (absl::Status status = read(name, key, value); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<YAML::Node> YamlReader::ReadList(const YAML::Node& document, const std::string& name,
                                                absl::string_view first) const {
  YAML::Node list;
  if (!document.IsDefined() || document.IsNull()) return list;
  const absl::Status status =
      ReadMap(document, "the file", {name},
              [&list](const std::string&, const YAML::Node&, const YAML::Node& value) {
                list.reset(value);
                return absl::OkStatus();
              });
  if (!status.ok()) return status;
  if (list.IsDefined() && !list.IsNull() && !list.IsSequence()) {
    return Wrong(list, absl::StrCat(name, ": is not a list (- ", first, ": ...)"));
  }
  return list;
}

absl::Status YamlReader::Wrong(const YAML::Node& node, absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(name_, ":", Line(node), ": ", what));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  // An empty file makes << fail, and says nothing of the file.
  if (file && file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (file.bad() || !file.is_open() || !text) {
    const std::string why = absl::StrCat(path, ": cannot be read: ", strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(why) : absl::UnavailableError(why);
  }
  return text.str();
}

}  // namespace breaker::server
