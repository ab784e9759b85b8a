// sys::RunFromReadOnlyMount (self_exe.h) before the C library has begun: nothing has been written to the program's
// data yet, nor has most of it been touched. So its file is mapped anew without copying anything, and no page
// is faulted in twice.
//
// A program that links gantry::early_mount starts at gantry_entry instead of _start (see CMakeLists.txt), and defines
// gantry_moving_commands. Where something refuses (an ordinary user, a kernel before 5.12, a sanitizer, a processor
// other than x86-64) the program starts as any other, and RunFromReadOnlyMount does the work.
#ifndef GANTRY_RUNTIME_SYS_EARLY_MOUNT_H_
#define GANTRY_RUNTIME_SYS_EARLY_MOUNT_H_

#include "runtime/sys/unique_fd.h"

// The words, ended by an empty one, of which one must be among the arguments for anything to be done. No
// pointers: it is read before they could be relocated.
extern "C" const char gantry_moving_commands[][8];

namespace gantry::sys {

// The descriptor of the read-only mount that this program has moved to, once; or none: it has not moved. It is
// needed no more, as that of RunFromReadOnlyMount.
UniqueFd TakeEarlyMount();

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_EARLY_MOUNT_H_
