// Labels: their rule, and how an update's field mask changes them. For every kind of object alike.
//
// Source: containerd's packages pkg/labels and core/metadata. Thread-safe: plain functions.
#ifndef GANTRY_DAEMON_METADATA_LABELS_H_
#define GANTRY_DAEMON_METADATA_LABELS_H_

#include <google/protobuf/map.h>

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gantry::metadata {

using Labels = google::protobuf::Map<std::string, std::string>;

inline constexpr size_t kMaxLabelBytes = 4096;  // of key and value together

// INVALID_ARGUMENT naming `what` ("container.Labels") and the key.
absl::Status ValidateLabels(absl::string_view what, const Labels& labels);

// A label set to the empty value is a label removed.
void DropEmptyLabels(Labels* labels);

// If `path` is "labels" or "labels.<key>", changes `target` to what `source` has and returns true.
bool ApplyLabelPath(absl::string_view path, const Labels& source, Labels* target);

// The part after "<prefix>." of `path`, or nothing found (false).
bool PathKey(absl::string_view path, absl::string_view prefix, std::string* key);

}  // namespace gantry::metadata

#endif  // GANTRY_DAEMON_METADATA_LABELS_H_
