// The log: one line per event, logfmt (time=… level=… msg="…" key=value) or JSON, to a descriptor.
//
//   log::Info("shim started", {{"id", id}, {"pid", absl::StrCat(pid)}});
//
// A line is written by one write(2), so that lines of several processes into one file don't mix. Libraries
// return errors and only the top of a program logs them. Thread-safe.
#ifndef GANTRY_RUNTIME_SYS_LOG_H_
#define GANTRY_RUNTIME_SYS_LOG_H_

#include <initializer_list>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace gantry::log {

enum class Level { kDebug, kInfo, kWarn, kError };
enum class Format { kLogfmt, kJson };

using Field = std::pair<absl::string_view, std::string>;
using Fields = std::initializer_list<Field>;

// What is below `level` is dropped. Default: info, logfmt, descriptor 2 (which stays the caller's).
void Configure(Level level, Format format, int fd);
bool Enabled(Level level);
// "trace" and "debug", "info", "warn"/"warning", "error"/"fatal"/"panic": false, and `level` unchanged, for
// others.
bool ParseLevel(absl::string_view text, Level* level);

void Write(Level level, absl::string_view message, Fields fields = {});
inline void Debug(absl::string_view message, Fields fields = {}) { Write(Level::kDebug, message, fields); }
inline void Info(absl::string_view message, Fields fields = {}) { Write(Level::kInfo, message, fields); }
inline void Warn(absl::string_view message, Fields fields = {}) { Write(Level::kWarn, message, fields); }
inline void Error(absl::string_view message, Fields fields = {}) { Write(Level::kError, message, fields); }

// The line that Write makes, without its newline: for tests and for other sinks.
std::string Render(Format format, absl::string_view time, Level level, absl::string_view message,
                   Fields fields);

}  // namespace gantry::log

#endif  // GANTRY_RUNTIME_SYS_LOG_H_
