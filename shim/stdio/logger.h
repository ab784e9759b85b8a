// A logger: the program of a binary:// URI, which reads a process's output.
//
// It gets stdout on descriptor 3, stderr on 4, and closes 5 when it is ready; its environment is CONTAINER_ID and
// CONTAINER_NAMESPACE. The end of its input is the end of the process's output: nobody else holds the pipes, and
// nobody ends a logger that still writes.
#ifndef GANTRY_SHIM_STDIO_LOGGER_H_
#define GANTRY_SHIM_STDIO_LOGGER_H_

#include <string>

#include "absl/status/statusor.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unique_fd.h"
#include "shim/stdio/uri.h"

namespace gantry::shim {

struct Logger {
  pid_t pid = 0;
  sys::PidFd pidfd;
  sys::UniqueFd out;  // write ends of its pipes
  sys::UniqueFd err;
  sys::UniqueFd ready;  // O_NONBLOCK; a byte or end of file: it is ready
};

// Starts the program. `id` is the container's.
absl::StatusOr<Logger> StartLogger(const StreamTarget& target, const std::string& id,
                                   const std::string& namespace_name);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_STDIO_LOGGER_H_
