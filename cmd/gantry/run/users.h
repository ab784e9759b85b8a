// A user as people write it ("", "1000", "1000:100", "www-data", "www-data:adm") into numbers, by the image's
// own /etc/passwd and /etc/group (passwd(5), group(5)).
//
// Numbers are at most 2^31-1, and a text that starts with a digit or a sign is never taken for a name. With no
// group asked for, the user's own and supplementary groups are used; with one, it alone. The primary group is in
// the supplementary set, too.
// Thread-safe: plain functions.
#ifndef GANTRY_CMD_GANTRY_RUN_USERS_H_
#define GANTRY_CMD_GANTRY_RUN_USERS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/oci/spec.h"

namespace gantry::cli {

inline constexpr size_t kMaxUserFileBytes = 10 << 20;

struct ResolvedUser {
  oci::User user;
  std::string home = "/";
};

// `passwd` and `group` are the files' texts; empty if the image has none. INVALID_ARGUMENT names the part that
// is wrong or unknown.
absl::StatusOr<ResolvedUser> ResolveUser(absl::string_view typed, absl::string_view passwd,
                                         absl::string_view group);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_RUN_USERS_H_
