#include "runtime/sys/failpoint.h"

#include <cstdlib>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace gantry::sys {
namespace {

using Failpoints = std::map<std::string, int, std::less<>>;

Failpoints FromEnvironment() {
  Failpoints result;
  const char* text = getenv("GANTRY_FAILPOINTS");
  if (text == nullptr) return result;
  for (absl::string_view entry : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(entry, absl::MaxSplits('=', 1));
    int error = 0;
    if (absl::SimpleAtoi(pair.second, &error) && error > 0) result[pair.first] = error;
  }
  return result;
}

Failpoints& All() {
  static Failpoints* failpoints = new Failpoints(FromEnvironment());
  return *failpoints;
}

}  // namespace

int Failpoint(absl::string_view name) {
  const Failpoints& all = All();
  if (all.empty()) return 0;
  const auto found = all.find(std::string(name));
  return found == all.end() ? 0 : found->second;
}

void SetFailpoint(absl::string_view name, int error) {
  if (error == 0) {
    All().erase(std::string(name));
  } else {
    All()[std::string(name)] = error;
  }
}

}  // namespace gantry::sys
