// A failed system call as an absl::Status, and the two macros that pass errors on.
//
// Abseil maps errno to one of sixteen codes and loses the number; ours is kept as a payload, so that a caller
// can still ask "was it EBUSY?". Thread-safe: plain functions.
#ifndef GANTRY_RUNTIME_SYS_STATUS_H_
#define GANTRY_RUNTIME_SYS_STATUS_H_

#include <cerrno>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::sys {

// The status of the system call `call` on `subject` (a path, an address, a pid; may be empty) that failed
// with `error` (default: errno now). The message reads "openat2 /x: No such file or directory". `error` must
// not be 0.
absl::Status ErrnoStatus(absl::string_view call, absl::string_view subject, int error);
absl::Status ErrnoStatus(absl::string_view call, absl::string_view subject);

// The errno that ErrnoStatus put into `status`; 0 for an OK status or one that no system call made.
int ErrnoOf(const absl::Status& status);

// `status` with "context: " before its message; its code and payloads are kept. OK stays OK.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

}  // namespace gantry::sys

#define GANTRY_CONCAT_INNER_(a, b) a##b
#define GANTRY_CONCAT_(a, b) GANTRY_CONCAT_INNER_(a, b)

// Returns from the calling function when `expr`, an absl::Status, is an error.
#define GANTRY_RETURN_IF_ERROR(expr)                                                       \
  do {                                                                                     \
    if (absl::Status gantry_status_ = (expr); !gantry_status_.ok()) return gantry_status_; \
  } while (false)

// GANTRY_ASSIGN_OR_RETURN(auto x, Make()): x is the value, or the calling function returns the error.
#define GANTRY_ASSIGN_OR_RETURN(lhs, expr) \
  GANTRY_ASSIGN_OR_RETURN_(GANTRY_CONCAT_(gantry_statusor_, __LINE__), lhs, expr)
#define GANTRY_ASSIGN_OR_RETURN_(tmp, lhs, expr) \
  auto tmp = (expr);                             \
  if (!tmp.ok()) return std::move(tmp).status(); \
  lhs = *std::move(tmp)

#endif  // GANTRY_RUNTIME_SYS_STATUS_H_
