#include "runtime/sys/privilege.h"

#include <unistd.h>

#include "absl/strings/string_view.h"

namespace gantry::sys {

bool IsRoot() {
  if (geteuid() != 0) return false;
  // The inode of the first user namespace is the same on every kernel: USER_NS_INIT_INO of linux/nsfs.h.
  constexpr absl::string_view kFirst = "user:[4026531837]";
  char name[kFirst.size() + 1];
  const ssize_t size = readlink("/proc/self/ns/user", name, sizeof(name));
  return size > 0 && absl::string_view(name, static_cast<size_t>(size)) == kFirst;
}

}  // namespace gantry::sys
