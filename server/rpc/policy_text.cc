#include "server/rpc/policy_text.h"

#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "google/protobuf/util/time_util.h"
#include "server/rpc/convert.h"

namespace breaker::server {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::util::TimeUtil;

std::string FieldNames() {
  std::vector<std::string> names;
  const Descriptor* policy = v1::Policy::descriptor();
  for (int i = 0; i < policy->field_count(); ++i) names.push_back(policy->field(i)->name());
  return absl::StrJoin(names, ", ");
}

// All but the one that means "unspecified".
std::string ValueNames(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) names.push_back(type.value(i)->name());
  }
  return absl::StrJoin(names, ", ");
}

// Sets `field` to what `value` says. On failure returns what is allowed, else nothing.
std::string SetField(const FieldDescriptor& field, absl::string_view value, v1::Policy& policy) {
  const google::protobuf::Reflection* reflection = policy.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32: {
      uint32_t number;
      if (!absl::SimpleAtoi(value, &number)) return "a whole number from 0 to 4294967295";
      reflection->SetUInt32(&policy, &field, number);
      return "";
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double number;
      if (!absl::SimpleAtod(value, &number)) return "a number";
      reflection->SetDouble(&policy, &field, number);
      return "";
    }
    case FieldDescriptor::CPPTYPE_BOOL: {
      if (value != "true" && value != "false") return "true or false";
      reflection->SetBool(&policy, &field, value == "true");
      return "";
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      const EnumDescriptor& type = *field.enum_type();
      const auto* named = type.FindValueByName(absl::AsciiStrToUpper(value));
      if (named == nullptr || named->number() == 0) return "one of " + ValueNames(type);
      reflection->SetEnum(&policy, &field, named);
      return "";
    }
    default: {  // The contract's only messages in a Policy are durations.
      absl::Duration duration;
      if (!absl::ParseDuration(value, &duration)) return "a duration such as 30s or 500ms";
      // What no Duration can hold is past every bound of a policy too.
      constexpr absl::Duration kMost = absl::Seconds(int64_t{TimeUtil::kDurationMaxSeconds});
      if (absl::AbsDuration(duration) > kMost) return "in the range of a Duration";
      google::protobuf::Duration proto;
      SetDuration(duration, &proto);
      reflection->MutableMessage(&policy, &field)->CopyFrom(proto);
      return "";
    }
  }
}

std::string FormatField(const FieldDescriptor& field, const v1::Policy& policy) {
  const google::protobuf::Reflection* reflection = policy.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(reflection->GetUInt32(policy, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return absl::StrCat(reflection->GetDouble(policy, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->GetBool(policy, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection->GetEnum(policy, &field)->name();
    default: {
      google::protobuf::Duration duration;
      duration.CopyFrom(reflection->GetMessage(policy, &field));
      return absl::FormatDuration(absl::Seconds(duration.seconds()) +
                                  absl::Nanoseconds(duration.nanos()));
    }
  }
}

}  // namespace

absl::Status SetPolicyField(absl::string_view name, absl::string_view value, v1::Policy& policy) {
  const FieldDescriptor* field = v1::Policy::descriptor()->FindFieldByName(std::string(name));
  if (field == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("policy has no field '", name, "'; it has ", FieldNames()));
  }
  const std::string allowed = SetField(*field, value, policy);
  if (allowed.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("policy.", name, ": '", value, "' is not ", allowed));
}

absl::Status ParsePolicy(absl::string_view text, v1::Policy& policy) {
  for (const absl::string_view setting : absl::StrSplit(text, ',')) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(setting, absl::MaxSplits('=', 1));
    const absl::Status status = SetPolicyField(absl::StripAsciiWhitespace(parts.first),
                                               absl::StripAsciiWhitespace(parts.second), policy);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

std::vector<std::pair<std::string, std::string>> PolicyFields(const v1::Policy& policy) {
  std::vector<const FieldDescriptor*> fields;
  policy.GetReflection()->ListFields(policy, &fields);
  std::vector<std::pair<std::string, std::string>> texts;
  for (const FieldDescriptor* field : fields) {
    texts.emplace_back(field->name(), FormatField(*field, policy));
  }
  return texts;
}

}  // namespace breaker::server
