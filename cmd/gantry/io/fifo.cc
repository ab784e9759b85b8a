#include "cmd/gantry/io/fifo.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "runtime/sys/status.h"

namespace gantry::cli {

absl::StatusOr<std::unique_ptr<FifoSet>> FifoSet::Create(bool with_stdin, bool terminal) {
  const char* runtime_dir = ::getenv("XDG_RUNTIME_DIR");
  const bool usable = runtime_dir != nullptr && runtime_dir[0] == '/' && ::access(runtime_dir, W_OK) == 0;
  std::string directory = absl::StrCat(usable ? runtime_dir : "/tmp", "/gantry-io-XXXXXX");
  if (::mkdtemp(directory.data()) == nullptr) return sys::ErrnoStatus("mkdtemp", directory);
  std::unique_ptr<FifoSet> set(new FifoSet);
  set->directory_ = directory;
  static constexpr const char* kNames[] = {"stdin", "stdout", "stderr"};
  for (int i = 0; i < 3; ++i) {
    if ((i == 0 && !with_stdin) || (i == 2 && terminal)) continue;
    const std::string path = absl::StrCat(directory, "/", kNames[i]);
    if (::mkfifo(path.c_str(), 0600) != 0) return sys::ErrnoStatus("mkfifo", path);
    set->paths_[i] = path;
    // A reading end opens at once. A writing end would wait for a reader: opened for both, it doesn't, and the
    // process still sees the end of its input when this, the only writing descriptor, is closed.
    const int flags = (i == 0 ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_CLOEXEC;
    set->fds_[i].reset(::open(path.c_str(), flags));
    if (!set->fds_[i]) return sys::ErrnoStatus("open", path);
  }
  return set;
}

FifoSet::~FifoSet() {
  for (const std::string& path : paths_) {
    if (!path.empty()) ::unlink(path.c_str());
  }
  ::rmdir(directory_.c_str());
}

}  // namespace gantry::cli
