#include "runtime/plan/bit_list.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gantry::plan {

absl::StatusOr<std::vector<uint64_t>> ParseBitList(absl::string_view text, absl::string_view member) {
  constexpr unsigned kMaxNumbers = 8192;
  std::vector<uint64_t> mask;
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    const std::pair<absl::string_view, absl::string_view> range =
        absl::StrSplit(part, absl::MaxSplits('-', 1));
    unsigned first = 0, last = 0;
    const bool one = !absl::StrContains(part, '-');
    if (!absl::SimpleAtoi(range.first, &first) ||
        !absl::SimpleAtoi(one ? range.first : range.second, &last) || first > last || last >= kMaxNumbers) {
      return absl::InvalidArgumentError(
          absl::StrCat(member, ": \"", text, "\" is no list of numbers such as 0-3,7"));
    }
    if (mask.size() <= last / 64) mask.resize(last / 64 + 1);
    for (unsigned number = first; number <= last; number++) mask[number / 64] |= uint64_t{1} << (number % 64);
  }
  return mask;
}

}  // namespace gantry::plan
