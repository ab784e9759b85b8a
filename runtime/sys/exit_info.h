// Whether the kernel tells how a process ended that is not our child: see PidFd::ExitInfo. Thread-safe.
#ifndef GANTRY_RUNTIME_SYS_EXIT_INFO_H_
#define GANTRY_RUNTIME_SYS_EXIT_INFO_H_

namespace gantry::sys {

// Linux 6.15 and later. The ioctl itself came two releases before, and does not say what it knows.
bool KernelKeepsExitInfo();

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_EXIT_INFO_H_
