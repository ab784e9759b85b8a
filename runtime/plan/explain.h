// A Plan told to somebody who wants to know what a container is: the same operations as print.h shows, sorted by
// subject, with a few words on what each of them means.
//
//   const Explanation explanation = Explain(plan);
//   ToText(explanation)          aligned columns, for a terminal
//   ToJson(explanation, plan)    the same rows, and all operations in their order
//
// Everything here is read from the Plan, never from the specification: it is what the executor will do. An
// operation that belongs to no subject stands under "also", so nothing is left out. Pure; thread-safe.
#ifndef GANTRY_RUNTIME_PLAN_EXPLAIN_H_
#define GANTRY_RUNTIME_PLAN_EXPLAIN_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/plan/plan.h"

namespace gantry::plan {

struct Cell {
  std::string key;  // the member's name in JSON
  std::variant<std::string, uint64_t, std::vector<std::string>> value;
};

struct Row {
  std::vector<Cell> cells;
  std::string meaning;  // may be empty
};

struct Section {
  std::string key;    // "namespaces": the member's name in JSON
  std::string title;  // "Namespaces"
  std::string about;  // what the subject is, for somebody who meets it for the first time
  std::vector<Row> rows;
  std::string nothing;  // said in place of rows when there are none; empty: then the section is left out
};

struct Explanation {
  std::vector<Section> sections;
  std::vector<std::string> warnings;
};

Explanation Explain(const Plan& plan);

// Ends with a newline. Control characters of the specification's strings are escaped.
std::string ToText(const Explanation& explanation);
// {"namespaces": [{"type": "pid", ..., "meaning": "..."}, ...], ..., "operations": [...], "warnings": [...]}
std::string ToJson(const Explanation& explanation, const Plan& plan);

}  // namespace gantry::plan

#endif  // GANTRY_RUNTIME_PLAN_EXPLAIN_H_
