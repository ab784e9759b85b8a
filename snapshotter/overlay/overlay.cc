#include "snapshotter/overlay/overlay.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"
#include "snapshotter/overlay/probe.h"

namespace gantry::snapshotter {
namespace {

// The id on the host that id 0 of a mapping "container:host:length[,…]" is.
absl::StatusOr<uint32_t> MappedRoot(absl::string_view label, const std::string& mapping) {
  for (const absl::string_view part : absl::StrSplit(mapping, ',')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(part, ':');
    uint32_t inside = 0, outside = 0, length = 0;
    if (fields.size() != 3 || !absl::SimpleAtoi(fields[0], &inside) ||
        !absl::SimpleAtoi(fields[1], &outside) || !absl::SimpleAtoi(fields[2], &length)) {
      break;
    }
    if (inside == 0 && length > 0) return outside;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("label ", label, "=\"", mapping, "\" maps no id 0; it reads container:host:length[,…]"));
}

bool HasKey(const std::vector<std::string>& options, absl::string_view key) {
  for (const std::string& option : options) {
    if (option == key || absl::StartsWith(option, absl::StrCat(key, "="))) return true;
  }
  return false;
}

class OverlayDriver final : public Driver {
 public:
  OverlayDriver(OverlayOptions options, std::unique_ptr<Directories> directories)
      : options_(std::move(options)), directories_(std::move(directories)) {}

  absl::Status Create(const Record& record) override {
    const std::string name = absl::StrCat(record.id);
    const int snapshots = directories_->snapshots_fd();
    if (::mkdirat(snapshots, name.c_str(), 0700) != 0) return sys::ErrnoStatus("mkdirat", Own(record.id, ""));
    GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::OpenAt(snapshots, name, O_RDONLY | O_DIRECTORY));
    if (::mkdirat(dir.get(), "fs", 0755) != 0 || ::fchmodat(dir.get(), "fs", 0755, 0) != 0) {
      return sys::ErrnoStatus("mkdirat", Own(record.id, "/fs"));
    }
    if (record.info.kind == Kind::kActive && ::mkdirat(dir.get(), "work", 0711) != 0) {
      return sys::ErrnoStatus("mkdirat", Own(record.id, "/work"));
    }
    return SetOwner(record, dir.get());
  }

  std::vector<Mount> Mounts(const Record& record) const override {
    std::vector<std::string> options = MappingOptions(record);
    const bool view = record.info.kind == Kind::kView;
    if (record.parents.empty() || (view && record.parents.size() == 1)) {
      options.insert(options.end(), {view ? "ro" : "rw", "rbind"});
      const uint64_t id = record.parents.empty() ? record.id : record.parents.front();
      return {Mount{"bind", Own(id, "/fs"), "", std::move(options)}};
    }
    if (!view) {
      options.push_back(absl::StrCat("workdir=", Own(record.id, "/work")));
      options.push_back(absl::StrCat("upperdir=", Own(record.id, "/fs")));
    }
    std::vector<std::string> lowers;
    for (const uint64_t id : record.parents) lowers.push_back(Own(id, "/fs"));
    options.push_back(absl::StrCat("lowerdir=", absl::StrJoin(lowers, ":")));
    options.insert(options.end(), options_.mount_options.begin(), options_.mount_options.end());
    return {Mount{"overlay", "overlay", "", std::move(options)}};
  }

  absl::StatusOr<Usage> Measure(const Record& record) override { return MeasureUsage(Own(record.id, "/fs")); }

  void Decorate(const Record& record, Info* info) const override {
    if (options_.upperdir_label) info->labels[kLabelUpperdir] = Own(record.id, "/fs");
  }

  Directories& directories() override { return *directories_; }

 private:
  std::string Own(uint64_t id, absl::string_view rest) const {
    return absl::StrCat(directories_->PathOf(id), rest);
  }

  std::vector<std::string> MappingOptions(const Record& record) const {
    std::vector<std::string> options;
    if (!options_.remap_ids) return options;
    const auto& labels = record.info.labels;
    const auto uid = labels.find(std::string(kLabelUidMapping));
    const auto gid = labels.find(std::string(kLabelGidMapping));
    if (uid != labels.end()) options.push_back(absl::StrCat("uidmap=", uid->second));
    if (gid != labels.end()) options.push_back(absl::StrCat("gidmap=", gid->second));
    return options;
  }

  // The root directory shows the top layer's owner: the mapped root's, else the one that the parent has.
  absl::Status SetOwner(const Record& record, int dir) const {
    const auto& labels = record.info.labels;
    const auto uid = labels.find(std::string(kLabelUidMapping));
    const auto gid = labels.find(std::string(kLabelGidMapping));
    uint32_t owner = 0, group = 0;
    if (uid != labels.end() && gid != labels.end()) {
      GANTRY_ASSIGN_OR_RETURN(owner, MappedRoot(kLabelUidMapping, uid->second));
      GANTRY_ASSIGN_OR_RETURN(group, MappedRoot(kLabelGidMapping, gid->second));
    } else if (uid != labels.end() || gid != labels.end()) {
      return absl::InvalidArgumentError(absl::StrCat("labels ", kLabelUidMapping, " and ", kLabelGidMapping,
                                                     " come together or not at all"));
    } else if (!record.parents.empty()) {
      struct stat st;
      const std::string parent = Own(record.parents.front(), "/fs");
      if (::stat(parent.c_str(), &st) != 0) return sys::ErrnoStatus("stat", parent);
      owner = st.st_uid;
      group = st.st_gid;
    }
    if (::fchownat(dir, "fs", owner, group, AT_SYMLINK_NOFOLLOW) != 0) {
      return sys::ErrnoStatus("fchownat", Own(record.id, "/fs"));
    }
    return absl::OkStatus();
  }

  const OverlayOptions options_;
  const std::unique_ptr<Directories> directories_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Snapshotter>> OpenOverlaySnapshotter(OverlayOptions options) {
  if (options.root.find_first_of(":,\\") != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("the root ", options.root,
                     " has a ':', ',' or '\\' in it, which overlayfs's mount options cannot express"));
  }
  GANTRY_ASSIGN_OR_RETURN(auto directories, Directories::Open(options.root));
  GANTRY_ASSIGN_OR_RETURN(const OverlayFeatures features, ProbeOverlay(options.root));
  if (features.user_xattrs && !HasKey(options.mount_options, "userxattr")) {
    options.mount_options.push_back("userxattr");
  }
  // An index would make a layer unusable below another parent, and forbids its reuse (overlayfs.rst, "Inode index").
  if (features.index_option && !HasKey(options.mount_options, "index")) {
    options.mount_options.push_back("index=off");
  }
  RecordedOptions recorded;
  recorded.name = kOverlayName;
  recorded.db = options.db;
  recorded.background = options.background;
  recorded.sync_commits = options.sync_commits;
  recorded.driver = std::make_unique<OverlayDriver>(std::move(options), std::move(directories));
  return RecordedSnapshotter::Open(std::move(recorded));
}

}  // namespace gantry::snapshotter
