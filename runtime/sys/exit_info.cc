#include "runtime/sys/exit_info.h"

#include <sys/utsname.h>

#include <cstdio>

namespace gantry::sys {

bool KernelKeepsExitInfo() {
  utsname names;
  int major = 0, minor = 0;
  if (uname(&names) != 0 || sscanf(names.release, "%d.%d", &major, &minor) != 2) return false;
  return major > 6 || (major == 6 && minor >= 15);
}

}  // namespace gantry::sys
