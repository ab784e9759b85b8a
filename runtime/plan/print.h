// A Plan for people and for programs: what the kernel will be asked for, in order. Pure; thread-safe.
#ifndef GANTRY_RUNTIME_PLAN_PRINT_H_
#define GANTRY_RUNTIME_PLAN_PRINT_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/plan/plan.h"

namespace gantry::oci {
class JsonWriter;
}

namespace gantry::plan {

// One line per operation, "Name  member=value ...", members that are empty or zero left out; the writes of a cgroup,
// one line each, are indented below their operation. Ends with a newline. Warnings come last.
std::string ToText(const Plan& plan);
// The same of one operation.
std::string ToText(const Operation& operation);

// {"operations": [{"op": "Clone", "flags": ["NEWPID", ...], ...}, ...], "warnings": [...]}, every member present.
std::string ToJson(const Plan& plan, bool pretty = false);

// The members "operations" and "warnings" of that object.
void WriteMembers(oci::JsonWriter& json, const Plan& plan);

// Parts of the above, for explain.h. `text` as one word: quoted where it would not read as one, with what a
// terminal would act on escaped.
std::string Word(absl::string_view text);
// "+ro" is set, "-ro" cleared, "+rro" set on the whole tree; then the propagation.
std::vector<std::string> MountAttrWords(const MountAttr& attr);
std::vector<std::string> ParamWords(const std::vector<Param>& params);

}  // namespace gantry::plan

#endif  // GANTRY_RUNTIME_PLAN_PRINT_H_
