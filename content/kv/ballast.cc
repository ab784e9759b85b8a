#include "content/kv/ballast.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::kv {

Ballast::Ballast(absl::string_view directory)
    : path_(absl::StrCat(directory, "/ballast")), held_(access(path_.c_str(), F_OK) == 0) {}

bool Ballast::Release() {
  held_ = false;
  return unlink(path_.c_str()) == 0;
}

void Ballast::Restore() {
  if (held_.load() || FreeBytes(path_.substr(0, path_.rfind('/'))) < 2 * kBytes) return;
  if (held_.exchange(true)) return;
  const sys::UniqueFd fd(open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (fd.valid() && posix_fallocate(fd.get(), 0, kBytes) == 0) return;
  Release();
}

uint64_t FreeBytes(const std::string& path) {
  struct statvfs fs;
  if (statvfs(path.c_str(), &fs) != 0) return 0;
  return static_cast<uint64_t>(fs.f_bfree) * fs.f_frsize;
}

}  // namespace gantry::kv
