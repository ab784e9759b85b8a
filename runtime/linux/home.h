// The home directory that a container's /etc/passwd gives a user, read with suspicion: an image may make the
// file endless, a FIFO or a device.
#ifndef GANTRY_RUNTIME_LINUX_HOME_H_
#define GANTRY_RUNTIME_LINUX_HOME_H_

#include <cstddef>
#include <cstdint>

namespace gantry::linux {

// Puts the home of `uid` into `buffer` (with its terminator), or "/" when there is none: no such user, no
// regular file, nothing within its first 10 MiB, or too long a path. Async-signal-safe: for the child after
// clone3.
void FindHomeInPasswd(int root, uint32_t uid, char* buffer, size_t size);

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_HOME_H_
