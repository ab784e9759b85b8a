#include "snapshotter/native/native.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::snapshotter {
namespace {

class NativeDriver final : public Driver {
 public:
  explicit NativeDriver(std::unique_ptr<Directories> directories) : directories_(std::move(directories)) {}

  absl::Status Create(const Record& record) override {
    const std::string name = absl::StrCat(record.id);
    const int snapshots = directories_->snapshots_fd();
    if (::mkdirat(snapshots, name.c_str(), 0755) != 0 || ::fchmodat(snapshots, name.c_str(), 0755, 0) != 0) {
      return sys::ErrnoStatus("mkdirat", directories_->PathOf(record.id));
    }
    if (record.parents.empty() || record.info.kind == Kind::kView) return absl::OkStatus();
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd from,
                            sys::OpenAt(snapshots, absl::StrCat(record.parents.front()), kFlags));
    GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd to, sys::OpenAt(snapshots, name, kFlags));
    return CopyTree(from.get(), to.get());
  }

  std::vector<Mount> Mounts(const Record& record) const override {
    const bool view = record.info.kind == Kind::kView;
    const uint64_t shown = view && !record.parents.empty() ? record.parents.front() : record.id;
    return {Mount{"bind", directories_->PathOf(shown), "", {view ? "ro" : "rw", "rbind"}}};
  }

  absl::StatusOr<Usage> Measure(const Record& record) override {
    return MeasureUsage(directories_->PathOf(record.id));
  }

  Directories& directories() override { return *directories_; }

 private:
  const std::unique_ptr<Directories> directories_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Snapshotter>> OpenNativeSnapshotter(NativeOptions options) {
  GANTRY_ASSIGN_OR_RETURN(auto directories, Directories::Open(options.root));
  RecordedOptions recorded;
  recorded.name = kNativeName;
  recorded.db = options.db;
  recorded.background = std::move(options.background);
  recorded.sync_commits = options.sync_commits;
  recorded.driver = std::make_unique<NativeDriver>(std::move(directories));
  return RecordedSnapshotter::Open(std::move(recorded));
}

}  // namespace gantry::snapshotter
