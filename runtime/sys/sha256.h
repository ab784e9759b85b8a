// SHA-256 (FIPS 180-4) of short texts: names of sockets and of cached filters. Written here because the programs
// that use it are static and small, and libcrypto would add more to them than all of the rest. Blobs are hashed
// elsewhere.
#ifndef GANTRY_RUNTIME_SYS_SHA256_H_
#define GANTRY_RUNTIME_SYS_SHA256_H_

#include <string>

#include "absl/strings/string_view.h"

namespace gantry::sys {

// 64 lower-case hexadecimal digits. Pure.
std::string Sha256Hex(absl::string_view text);

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_SHA256_H_
