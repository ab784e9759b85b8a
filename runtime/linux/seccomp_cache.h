// Compiled filters on disk: libseccomp takes 19 ms for the usual profile on three architectures, more than all the rest
// of a container's making; reading it back is one open and one read of 10 KB. Most containers of a host share a profile.
//
//   <directory>/             0700, of the user that runs this; a directory that is not so is not used
//     <sha256 of profile, kernel, libseccomp and format>     one program, at most kMaxCachedFilters of them
//
// A file is believed only if it is a regular file of the same user that nobody else may write, has exactly the size
// that it says, and the digest of its instructions is that in its head; and the kernel checks every program that it
// loads. Losing the directory costs a compilation. Functions are thread-safe and safe beside other processes.
#ifndef GANTRY_RUNTIME_LINUX_SECCOMP_CACHE_H_
#define GANTRY_RUNTIME_LINUX_SECCOMP_CACHE_H_

#include <linux/filter.h>

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/oci/spec.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::linux {

inline constexpr size_t kMaxCachedFilters = 64;  // some 700 KB

class SeccompCache {
 public:
  // Makes the directory if it is missing (its parent must be there). PERMISSION_DENIED if somebody else could have
  // written to it.
  static absl::StatusOr<SeccompCache> Open(const std::string& directory);

  // The file's name for this profile on this machine.
  static std::string KeyOf(const oci::Seccomp& profile);

  // NOT_FOUND; DATA_LOSS for a file that is not to be believed.
  absl::StatusOr<std::vector<sock_filter>> Get(const std::string& key) const;
  // Replaces atomically; when there are too many, the oldest go.
  absl::Status Put(const std::string& key, const std::vector<sock_filter>& program) const;

 private:
  explicit SeccompCache(sys::UniqueFd directory) : directory_(std::move(directory)) {}
  void DropOldest() const;

  sys::UniqueFd directory_;
};

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_SECCOMP_CACHE_H_
