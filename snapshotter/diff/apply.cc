#include "snapshotter/diff/apply.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/sys/status.h"
#include "snapshotter/diff/decompress.h"
#include "snapshotter/diff/extractor.h"
#include "snapshotter/diff/tar_reader.h"

namespace gantry::diff {
namespace {

bool HasOption(const snapshotter::Mount& mount, absl::string_view option) {
  return std::find(mount.options.begin(), mount.options.end(), option) != mount.options.end();
}

absl::Status ReadOnly() {
  return absl::FailedPreconditionError(
      "the mounts are read-only: a layer is applied to an active snapshot, not to a view");
}

}  // namespace

absl::StatusOr<TargetOptions> TargetOfMounts(const std::vector<snapshotter::Mount>& mounts) {
  if (mounts.size() != 1 || (mounts[0].type != "overlay" && mounts[0].type != "bind")) {
    return absl::UnimplementedError(absl::StrCat(
        "a layer can be applied to one mount of type overlay or bind, not to ", mounts.size(), " mounts",
        mounts.empty() ? "" : absl::StrCat(" beginning with type \"", mounts[0].type, "\"")));
  }
  const snapshotter::Mount& mount = mounts[0];
  if (HasOption(mount, "ro")) return ReadOnly();
  TargetOptions target;
  if (mount.type == "bind") {
    target.directory = mount.source;
    return target;
  }
  target.overlay = true;
  if (HasOption(mount, "userxattr")) target.xattrs = OverlayXattrs::kUser;
  for (absl::string_view option : mount.options) {
    if (absl::ConsumePrefix(&option, "upperdir=")) {
      target.directory = std::string(option);
    } else if (absl::ConsumePrefix(&option, "lowerdir=")) {
      target.lowers = absl::StrSplit(option, ':', absl::SkipEmpty());
    }
  }
  if (target.directory.empty()) return ReadOnly();
  return target;
}

absl::StatusOr<ApplyResult> Apply(std::unique_ptr<Source> blob, TargetOptions options, Executor helper) {
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Target> target, Target::Open(std::move(options)));
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Source> plain, Decompress(std::move(blob)));
  // Inflating is one half of the work; hashing and writing, on this thread, the other.
  if (helper) plain = std::make_unique<ReadAhead>(std::move(plain), std::move(helper));
  DigestingSource digesting(std::move(plain));
  InputBuffer input(&digesting);
  TarReader reader(&input);
  Extractor extractor(target.get());
  TarEntry entry;
  for (;;) {
    GANTRY_ASSIGN_OR_RETURN(const bool more, reader.Next(&entry));
    if (!more) break;
    GANTRY_RETURN_IF_ERROR(extractor.Add(entry, &reader));
  }
  GANTRY_RETURN_IF_ERROR(extractor.Finish());
  // What follows the archive's end is no entry, but it counts in the digest, and its checksum is checked.
  GANTRY_RETURN_IF_ERROR(input.Drain());
  return ApplyResult{digesting.Digest(), static_cast<int64_t>(digesting.size_bytes())};
}

}  // namespace gantry::diff
