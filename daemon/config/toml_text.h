// What a TOML text may hold where, before toml++ reads it.
#ifndef GANTRY_DAEMON_CONFIG_TOML_TEXT_H_
#define GANTRY_DAEMON_CONFIG_TOML_TEXT_H_

#include "absl/strings/string_view.h"

namespace gantry::config {

// The line (from 1) of the first byte beyond ASCII outside of strings and comments, where TOML 1.0 allows none; 0: there is
// none. toml++ 3.3 runs into undefined behaviour on some of these. Of a text that is no TOML for another reason, the line is
// found as if each string ended where it could end first. Thread-safe.
int LineOfStrayUnicode(absl::string_view text);

}  // namespace gantry::config

#endif  // GANTRY_DAEMON_CONFIG_TOML_TEXT_H_
