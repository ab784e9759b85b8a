// Lists of CPUs and memory nodes, as cpuset(7) writes them ("List format").
#ifndef GANTRY_RUNTIME_PLAN_BIT_LIST_H_
#define GANTRY_RUNTIME_PLAN_BIT_LIST_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::plan {

// "0-3,7" as a bit mask: bit n of word n/64 is number n. INVALID_ARGUMENT names `member` for anything else, and
// for numbers from 8192 on, which is as far as kernels are built.
absl::StatusOr<std::vector<uint64_t>> ParseBitList(absl::string_view text, absl::string_view member);

}  // namespace gantry::plan

#endif  // GANTRY_RUNTIME_PLAN_BIT_LIST_H_
