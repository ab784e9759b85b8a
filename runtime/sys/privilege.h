// Whether this process is the machine's root. Async-signal-safe and thread-safe.
#ifndef GANTRY_RUNTIME_SYS_PRIVILEGE_H_
#define GANTRY_RUNTIME_SYS_PRIVILEGE_H_

namespace gantry::sys {

// Effective user id 0 in the machine's first user namespace; false for an ordinary user, and for the root of another
// user namespace, such as the one that podman makes for an ordinary user. user_namespaces(7). False if /proc is not
// there to tell.
bool IsRoot();

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_PRIVILEGE_H_
