// close_range(2), also where the kernel lacks it (before Linux 5.9). Async-signal-safe; thread-safe.
#ifndef GANTRY_RUNTIME_SYS_CLOSE_RANGE_H_
#define GANTRY_RUNTIME_SYS_CLOSE_RANGE_H_

namespace gantry::sys {

// Closes the descriptors `first` to `last`, or makes them close-on-exec with CLOSE_RANGE_CLOEXEC in `flags`. 0, or -1
// with errno.
int CloseRange(unsigned first, unsigned last, unsigned flags);

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_CLOSE_RANGE_H_
