// containerd's filter language, in which clients say which objects or events they want.
//
//   selectors := selector ("," selector)*                  all must hold
//   selector  := fieldpath [operator value]                alone: the field is present
//   fieldpath := field ("." field)*
//   field     := [A-Za-z0-9_]+ | quoted
//   operator  := "==" | "!=" | "~="                        ~= is an RE2 pattern, found anywhere in the value
//   value     := characters other than comma and white space | quoted
//   quoted    := "…" with Go's escapes; after ~= also /…/ and |…|
//
// Example:  name==foo,labels."my label"~=|^a/b|        A list of filters is an "or"; an empty list, and an
// empty filter, match everything. A field that is absent has the value "" for != and ~=, but == needs it.
//
// Bounded: a filter has at most kMaxFilterBytes and kMaxSelectors, patterns run in linear time.
// Source: containerd's package pkg/filters (its documentation and observed behaviour).
// Thread-safe: a Filter is immutable.
#ifndef GANTRY_DAEMON_FILTERS_FILTER_H_
#define GANTRY_DAEMON_FILTERS_FILTER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace gantry::filters {

inline constexpr size_t kMaxFilterBytes = 16 << 10;
inline constexpr size_t kMaxSelectors = 256;  // of one filter, and filters of one list

using FieldPath = absl::Span<const std::string>;

// How an object shows its fields: the value at `path`, or nothing when the object has no such field. The view
// must stay valid while Match runs.
using Adaptor = absl::FunctionRef<std::optional<absl::string_view>(FieldPath path)>;

class Filter {
 public:
  // INVALID_ARGUMENT with the place of the error in `text`.
  static absl::StatusOr<Filter> Parse(absl::string_view text);
  // Matches what any of `texts` matches. INVALID_ARGUMENT as in Parse.
  template <typename Strings>
  static absl::StatusOr<Filter> ParseAny(const Strings& texts) {
    return ParseList(std::vector<absl::string_view>(texts.begin(), texts.end()));
  }

  bool Match(Adaptor adaptor) const;
  // No filter at all: callers may skip building an adaptor.
  bool matches_everything() const { return alternatives_.empty(); }

  struct Selector;  // private to filter.cc

 private:
  using Selectors = std::vector<std::shared_ptr<const Selector>>;
  static absl::StatusOr<Filter> ParseList(const std::vector<absl::string_view>& texts);

  std::vector<Selectors> alternatives_;  // or of ands; empty: everything
};

// The field of a map of labels: `path` is what follows "labels"; its parts are joined by dots, because label
// keys hold dots.
template <typename Map>
std::optional<absl::string_view> LabelField(FieldPath path, const Map& labels) {
  const auto it = labels.find(absl::StrJoin(path, "."));
  if (it == labels.end()) return std::nullopt;
  return absl::string_view(it->second);
}

// A string field that counts as absent when it is empty.
inline std::optional<absl::string_view> TextField(absl::string_view text) {
  if (text.empty()) return std::nullopt;
  return text;
}

}  // namespace gantry::filters

#endif  // GANTRY_DAEMON_FILTERS_FILTER_H_
