#include "daemon/metadata/labels.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gantry::metadata {

absl::Status ValidateLabels(absl::string_view what, const Labels& labels) {
  constexpr size_t kShownKeyBytes = 64;
  for (const auto& [key, value] : labels) {
    const size_t size = key.size() + value.size();
    if (size > kMaxLabelBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": label key and value length (", size, " bytes) greater than maximum size (",
                       kMaxLabelBytes, " bytes), key: ", absl::string_view(key).substr(0, kShownKeyBytes)));
    }
  }
  return absl::OkStatus();
}

void DropEmptyLabels(Labels* labels) {
  for (auto it = labels->begin(); it != labels->end();) {
    it = it->second.empty() ? labels->erase(it) : std::next(it);
  }
}

bool PathKey(absl::string_view path, absl::string_view prefix, std::string* key) {
  if (path.size() <= prefix.size() || !absl::StartsWith(path, prefix) || path[prefix.size()] != '.') {
    return false;
  }
  *key = std::string(path.substr(prefix.size() + 1));
  return true;
}

bool ApplyLabelPath(absl::string_view path, const Labels& source, Labels* target) {
  std::string key;
  if (path == "labels") {
    *target = source;
  } else if (PathKey(path, "labels", &key)) {
    const auto it = source.find(key);
    (*target)[key] = it == source.end() ? std::string() : it->second;
  } else {
    return false;
  }
  return true;
}

}  // namespace gantry::metadata
