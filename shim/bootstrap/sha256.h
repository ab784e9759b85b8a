// SHA-256 (FIPS 180-4) of short texts: the shim's socket is named by one. Written here because the shim is
// static and small, and libcrypto would add more to it than all of the rest. Blobs are hashed elsewhere.
#ifndef GANTRY_SHIM_BOOTSTRAP_SHA256_H_
#define GANTRY_SHIM_BOOTSTRAP_SHA256_H_

#include <string>

#include "absl/strings/string_view.h"

namespace gantry::shim {

// 64 lower-case hexadecimal digits. Pure.
std::string Sha256Hex(absl::string_view text);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BOOTSTRAP_SHA256_H_
