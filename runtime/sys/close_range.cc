#include "runtime/sys/close_range.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace gantry::sys {

int CloseRange(unsigned first, unsigned last, unsigned flags) {
  const long result = syscall(SYS_close_range, first, last, flags);
  if (result == 0 || errno != ENOSYS) return static_cast<int>(result);
  // One by one. /proc may not be there, or not be the kernel's: as far as descriptors can go.
  constexpr rlim_t kHighest = 1 << 20;  // fs.nr_open
  struct rlimit limit = {kHighest, kHighest};
  getrlimit(RLIMIT_NOFILE, &limit);
  const unsigned end = static_cast<unsigned>(std::min({limit.rlim_max, kHighest, rlim_t{last} + 1}));
  for (unsigned fd = first; fd < end; fd++) {
    if ((flags & CLOSE_RANGE_CLOEXEC) != 0) {
      fcntl(static_cast<int>(fd), F_SETFD, FD_CLOEXEC);
    } else {
      close(static_cast<int>(fd));
    }
  }
  return 0;
}

}  // namespace gantry::sys
