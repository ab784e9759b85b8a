// Device rules: what the specification's ordered list comes to.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/cgroup/plan.h"
#include "runtime/sys/status.h"

namespace gantry::cgroup {
namespace {

// config-linux.md, "Default Devices", with what terminals need; mknod is harmless without the right to open.
struct DefaultDevice {
  char type;
  int64_t major;
  int64_t minor;
  const char* access;
};
constexpr DefaultDevice kDefaultDevices[] = {
    {'c', -1, -1, "m"},
    {'b', -1, -1, "m"},
    {'c', 1, 3, "rwm"} /* null */,
    {'c', 1, 5, "rwm"} /* zero */,
    {'c', 1, 7, "rwm"} /* full */,
    {'c', 1, 8, "rwm"} /* random */,
    {'c', 1, 9, "rwm"} /* urandom */,
    {'c', 5, 0, "rwm"} /* tty */,
    {'c', 5, 2, "rwm"} /* ptmx */,
    {'c', 136, -1, "rwm"} /* pts */,
};

bool HasBit(absl::string_view access, char bit) { return access.find(bit) != absl::string_view::npos; }

std::string Bits(absl::string_view a, absl::string_view b, bool (*keep)(bool, bool)) {
  std::string bits;
  for (const char c : {'r', 'w', 'm'}) {
    if (keep(HasBit(a, c), HasBit(b, c))) bits.push_back(c);
  }
  return bits;
}
std::string Union(absl::string_view a, absl::string_view b) {
  return Bits(a, b, [](bool x, bool y) { return x || y; });
}
std::string Minus(absl::string_view a, absl::string_view b) {
  return Bits(a, b, [](bool x, bool y) { return x && !y; });
}
bool Overlap(absl::string_view a, absl::string_view b) {
  return !Bits(a, b, [](bool x, bool y) { return x && y; }).empty();
}

bool Covers(const DeviceRule& wide, const DeviceRule& narrow) {
  return wide.type == narrow.type && (wide.major < 0 || wide.major == narrow.major) &&
         (wide.minor < 0 || wide.minor == narrow.minor);
}
bool Meets(const DeviceRule& a, const DeviceRule& b) {
  const auto meet = [](int64_t x, int64_t y) { return x < 0 || y < 0 || x == y; };
  return a.type == b.type && meet(a.major, b.major) && meet(a.minor, b.minor);
}

std::string Number(int64_t number) { return number < 0 ? "*" : absl::StrCat(number); }
std::string Line(const DeviceRule& rule) {
  return absl::StrCat(std::string(1, rule.type), " ", Number(rule.major), ":", Number(rule.minor), " ",
                      rule.access);
}

// `rule` takes back what exceptions granted (or forbade) before.
absl::Status TakeBack(DevicePolicy* policy, const DeviceRule& rule) {
  std::vector<DeviceRule> kept;
  for (DeviceRule& exception : policy->exceptions) {
    if (Meets(rule, exception) && Overlap(rule.access, exception.access)) {
      if (!Covers(rule, exception)) {
        return absl::InvalidArgumentError(absl::StrCat("the rule \"", Line(rule),
                                                       "\" would cut a hole into \"", Line(exception),
                                                       "\" before it, which the kernel cannot do"));
      }
      exception.access = Minus(exception.access, rule.access);
    }
    if (!exception.access.empty()) kept.push_back(std::move(exception));
  }
  policy->exceptions = std::move(kept);
  return absl::OkStatus();
}

absl::Status Apply(DevicePolicy* policy, bool allow, const DeviceRule& rule) {
  if (allow == policy->default_allow) return TakeBack(policy, rule);
  for (DeviceRule& exception : policy->exceptions) {
    if (exception.type == rule.type && exception.major == rule.major && exception.minor == rule.minor) {
      exception.access = Union(exception.access, rule.access);
      return absl::OkStatus();
    }
  }
  policy->exceptions.push_back(rule);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DevicePolicy> PlanDevices(const std::vector<oci::DeviceRule>& rules) {
  DevicePolicy policy;
  for (size_t i = 0; i < rules.size(); ++i) {
    const oci::DeviceRule& from = rules[i];
    DeviceRule rule;
    rule.major = from.major.value_or(-1);
    rule.minor = from.minor.value_or(-1);
    rule.access = from.access.empty() ? "rwm" : Union(from.access, "");
    const bool all_types = from.type.empty() || from.type == "a";
    if (all_types && rule.major < 0 && rule.minor < 0 && rule.access == "rwm") {
      policy.default_allow = from.allow;
      policy.exceptions.clear();
      continue;
    }
    for (const char type : {'b', 'c'}) {
      if (!all_types && from.type[0] != type) continue;
      rule.type = type;
      GANTRY_RETURN_IF_ERROR(
          sys::Annotate(Apply(&policy, from.allow, rule), absl::StrCat("linux.resources.devices[", i, "]")));
    }
  }
  for (const DefaultDevice& device : kDefaultDevices) {
    // With all devices allowed these only take back what the specification denied: it may, so they do not.
    if (policy.default_allow) break;
    GANTRY_RETURN_IF_ERROR(Apply(&policy, true, {device.type, device.major, device.minor, device.access}));
  }
  return policy;
}

std::vector<FileWrite> DeviceWrites(const DevicePolicy& policy, size_t index) {
  const char* reset = policy.default_allow ? "devices.allow" : "devices.deny";
  const char* except = policy.default_allow ? "devices.deny" : "devices.allow";
  std::vector<FileWrite> writes;
  const auto add = [&](const char* file, std::string value) {
    writes.push_back({index, file, std::move(value), "linux.resources.devices", "", ""});
  };
  add(reset, "a");
  for (const DeviceRule& rule : policy.exceptions) add(except, Line(rule));
  return writes;
}

}  // namespace gantry::cgroup
