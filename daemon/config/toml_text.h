// What a TOML text may hold where, before toml++ reads it.
#ifndef GANTRY_DAEMON_CONFIG_TOML_TEXT_H_
#define GANTRY_DAEMON_CONFIG_TOML_TEXT_H_

#include "absl/strings/string_view.h"

namespace gantry::config {

// The line (from 1) of the first byte beyond ASCII outside of strings and comments, where TOML 1.0 allows none, or after a
// backslash; 0: there is none. toml++ 3.3 runs into undefined behaviour on some of these. (After the backslash that joins two
// lines of a string TOML would allow one.) Thread-safe.
int LineOfStrayUnicode(absl::string_view text);

}  // namespace gantry::config

#endif  // GANTRY_DAEMON_CONFIG_TOML_TEXT_H_
