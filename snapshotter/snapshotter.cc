#include "snapshotter/snapshotter.h"

#include "absl/strings/str_cat.h"

namespace gantry::snapshotter {

absl::string_view KindName(Kind kind) {
  switch (kind) {
    case Kind::kView:
      return "view";
    case Kind::kActive:
      return "active";
    case Kind::kCommitted:
      return "committed";
    case Kind::kUnknown:
      break;
  }
  return "unknown";
}

std::string ScopedKey(absl::string_view ns, absl::string_view key) {
  return key.empty() ? std::string() : absl::StrCat(ns, "/", key);
}

bool SplitScopedKey(absl::string_view scoped, absl::string_view* ns, absl::string_view* key) {
  const size_t slash = scoped.find('/');
  if (slash == absl::string_view::npos || slash == 0 || slash + 1 == scoped.size()) return false;
  *ns = scoped.substr(0, slash);
  *key = scoped.substr(slash + 1);
  return true;
}

}  // namespace gantry::snapshotter
