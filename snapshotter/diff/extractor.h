// Writes the entries of a layer into a target, with exact metadata and few system calls: per small file one
// openat, write, utimensat and close; owner and mode only where they differ from what openat made.
//
// The times of directories, and their default ACLs, are set at the end, by Finish: until then the files made in
// them would change the ones and inherit the others.
//
// Not thread-safe.
#ifndef GANTRY_SNAPSHOTTER_DIFF_EXTRACTOR_H_
#define GANTRY_SNAPSHOTTER_DIFF_EXTRACTOR_H_

#include <time.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "runtime/sys/unique_fd.h"
#include "snapshotter/diff/attributes.h"
#include "snapshotter/diff/tar_reader.h"
#include "snapshotter/diff/target.h"

namespace gantry::diff {

class Extractor {
 public:
  // `target` is not owned.
  explicit Extractor(Target* target);

  // Puts `entry`, whose content `reader` is at, into the target. An entry for the root directory itself is
  // skipped: its owner and mode are the snapshotter's. Errors name the entry.
  absl::Status Add(const TarEntry& entry, TarReader* reader);

  absl::Status Finish();

 private:
  struct Place {  // where an entry goes
    Target::DirectoryPtr parent;
    std::string name;
  };
  struct DirectoryEnd {
    std::string path;
    timespec times[2];
    Xattrs acl;
  };

  absl::Status AddAt(const std::string& path, const TarEntry& entry, TarReader* reader);
  absl::Status AddFile(const Place& place, const TarEntry& entry, TarReader* reader);
  absl::Status AddDirectory(const std::string& path, const Place& place, const TarEntry& entry);
  absl::Status AddHardlink(const Place& place, const TarEntry& entry);
  absl::Status AddOther(const Place& place, const TarEntry& entry);  // symlinks, devices, fifos
  absl::Status WriteContent(int fd, const TarEntry& entry, TarReader* reader);
  // Owner, permissions, attributes and times of a new inode. `made_mode`: what it was asked to be made with.
  absl::Status SetMetadata(int fd, const TarEntry& entry, mode_t made_mode, bool inherited_group);
  absl::StatusOr<Place> FindLinkTarget(const TarEntry& entry);
  absl::Status CopyUp(const std::string& path);
  absl::Status FinishDirectory(const DirectoryEnd& end);

  // Runs `make`, a function that returns 0 or -1 and errno; where the name is taken, makes room and runs it again.
  template <typename Make>
  absl::Status MakeAnew(const char* call, const Place& place, Make make, bool* hid_lower = nullptr);

  Target* target_;
  bool root_ids_;  // what this process makes belongs to 0:0
  std::vector<DirectoryEnd> directory_ends_;
  absl::flat_hash_map<std::string, size_t> directory_index_;
};

}  // namespace gantry::diff

#endif  // GANTRY_SNAPSHOTTER_DIFF_EXTRACTOR_H_
