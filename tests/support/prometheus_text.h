#ifndef BREAKER_TESTS_SUPPORT_PROMETHEUS_TEXT_H_
#define BREAKER_TESTS_SUPPORT_PROMETHEUS_TEXT_H_

#include <cstddef>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace breaker {

// Reads Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/),
// version 0.0.4. Names, labels and values stay as they are written.
class PrometheusText {
 public:
  explicit PrometheusText(const std::string& text) {
    const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
    for (const std::string& line : lines) {
      const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 3));
      if (line[0] == '#') {
        if (words.size() < 4) continue;
        if (words[1] == "TYPE" && !types_.emplace(words[2], words[3]).second) {
          faults_.push_back(absl::StrCat(words[2], " begins twice"));
        }
        if (words[1] == "HELP") helps_[words[2]] = words[3];
        continue;
      }
      const size_t space = line.rfind(' ');
      if (!samples_.emplace(line.substr(0, space), line.substr(space + 1)).second) {
        faults_.push_back(absl::StrCat(line, " is there twice"));
      }
    }
  }

  // By family.
  const std::map<std::string, std::string>& types() const { return types_; }

  // "name" or "name{labels}", as written; "none" if there is none.
  std::string Value(const std::string& sample) const {
    const auto found = samples_.find(sample);
    return found == samples_.end() ? "none" : found->second;
  }
  double Number(const std::string& sample) const { return std::atof(Value(sample).c_str()); }

  // The values of a name, by their labels in order.
  std::map<std::string, std::string> Samples(const std::string& name) const {
    std::map<std::string, std::string> values;
    for (const auto& [sample, value] : samples_) {
      if (NameOf(sample) == name) values.emplace(sample.substr(name.size()), value);
    }
    return values;
  }

  // What a reader of the format would not take, or could not explain to its user.
  std::vector<std::string> Faults() const {
    std::vector<std::string> faults = faults_;
    for (const auto& [sample, value] : samples_) {
      const std::string name = NameOf(sample);
      bool explained = false;
      for (const absl::string_view suffix : {"", "_bucket", "_sum", "_count"}) {
        if (!absl::EndsWith(name, suffix)) continue;
        const std::string family = name.substr(0, name.size() - suffix.size());
        const auto type = types_.find(family);
        explained |= type != types_.end() && helps_.count(family) == 1 &&
                     (suffix.empty() || type->second == "histogram");
      }
      if (!explained) faults.push_back(absl::StrCat(sample, " has no type, or no help"));
    }
    return faults;
  }

 private:
  static std::string NameOf(const std::string& sample) {
    return sample.substr(0, sample.find('{'));
  }

  std::map<std::string, std::string> types_;
  std::map<std::string, std::string> helps_;
  std::map<std::string, std::string> samples_;
  std::vector<std::string> faults_;
};

}  // namespace breaker

#endif  // BREAKER_TESTS_SUPPORT_PROMETHEUS_TEXT_H_
