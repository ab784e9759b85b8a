// Text for a terminal: what may be printed, how wide it is, sizes and ages for people, and the other way
// round.
//
// What comes from images, labels and daemons is data: control characters never reach the terminal.
// Thread-safe: plain functions.
#ifndef GANTRY_CMD_GANTRY_UI_TEXT_H_
#define GANTRY_CMD_GANTRY_UI_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace gantry::cli {

// `text` with line breaks and tabs as single spaces, and other control characters and bytes that are no UTF-8
// as "?".
std::string OneLine(absl::string_view text);

// Columns that `text` takes, one per code point.
size_t DisplayWidth(absl::string_view text);

// At most `width` columns of `text`, the last being "…" if something was cut. Width 0 gives "".
std::string Truncate(absl::string_view text, size_t width);

// "0 B", "812 B", "4.2 MB", "1.3 GB": powers of 1000, as disks and Docker count.
std::string HumanSize(uint64_t bytes);

// "3 seconds", "2 minutes", "5 hours", "4 days": the largest unit alone. A negative age is "0 seconds".
std::string HumanAge(absl::Duration age);

// Now, by the wall clock, to tell ages; nothing decides by it.
absl::Time WallClock();

// Bytes of "512", "512b", "64k", "512m", "2g" (powers of 1024, either case, "kb" and "kib" too). Errors name
// the text and the rule.
absl::StatusOr<int64_t> ParseSize(absl::string_view text);

// Microseconds of CPU time in each 100,000 of "1.5" (150000). At least 0.01.
absl::StatusOr<int64_t> ParseCpus(absl::string_view text);

// A signal's number of "TERM", "SIGTERM", "term", "15", "RTMIN+3" (signal(7)).
absl::StatusOr<int> ParseSignal(absl::string_view text);

// The first `n` characters, for identifiers and digests without their algorithm: "sha256:abcdef…" ->
// "abcdef".
std::string ShortDigest(absl::string_view digest, size_t n = 12);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_UI_TEXT_H_
