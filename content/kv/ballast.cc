#include "content/kv/ballast.h"

#include <fcntl.h>
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

bool Ballast::Restore() {
  if (held_.exchange(true)) return true;
  const sys::UniqueFd fd(open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (fd.valid() && posix_fallocate(fd.get(), 0, kBytes) == 0) return true;
  Release();
  return false;
}

bool HasRoom(const std::string& directory, uint64_t bytes) {
  const std::string path = absl::StrCat(directory, "/probe");
  const sys::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return false;
  const bool room = posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes)) == 0;
  unlink(path.c_str());
  return room;
}

}  // namespace gantry::kv
