#include "runtime/sys/log.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <ctime>

#include "absl/strings/str_cat.h"

namespace gantry::log {
namespace {

std::atomic<Level> g_level{Level::kInfo};
std::atomic<Format> g_format{Format::kLogfmt};
std::atomic<int> g_fd{2};

absl::string_view Name(Level level) {
  switch (level) {
    case Level::kDebug:
      return "debug";
    case Level::kInfo:
      return "info";
    case Level::kWarn:
      return "warning";
    case Level::kError:
      return "error";
  }
  return "info";
}

// A JSON string; logfmt uses the same quoting. Bytes that are no UTF-8 text pass through as they are.
void AppendQuoted(std::string* out, absl::string_view text) {
  out->push_back('"');
  for (const char c : text) {
    switch (c) {
      case '"':
        out->append("\\\"");
        break;
      case '\\':
        out->append("\\\\");
        break;
      case '\n':
        out->append("\\n");
        break;
      case '\r':
        out->append("\\r");
        break;
      case '\t':
        out->append("\\t");
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          char buffer[8];
          snprintf(buffer, sizeof buffer, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
          out->append(buffer);
        } else {
          out->push_back(c);
        }
    }
  }
  out->push_back('"');
}

bool NeedsQuotes(absl::string_view text) {
  if (text.empty()) return true;
  for (const char c : text) {
    if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f) return true;
  }
  return false;
}

std::string Now() {
  timespec ts = {};
  clock_gettime(CLOCK_REALTIME, &ts);
  tm parts = {};
  gmtime_r(&ts.tv_sec, &parts);
  char seconds[32];
  strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &parts);
  char text[64];
  snprintf(text, sizeof text, "%s.%09ldZ", seconds, ts.tv_nsec);
  return text;
}

}  // namespace

void Configure(Level level, Format format, int fd) {
  g_level = level;
  g_format = format;
  g_fd = fd;
}

bool Enabled(Level level) { return level >= g_level.load(std::memory_order_relaxed); }

bool ParseLevel(absl::string_view text, Level* level) {
  if (text == "trace" || text == "debug") {
    *level = Level::kDebug;
  } else if (text == "info") {
    *level = Level::kInfo;
  } else if (text == "warn" || text == "warning") {
    *level = Level::kWarn;
  } else if (text == "error" || text == "fatal" || text == "panic") {
    *level = Level::kError;
  } else {
    return false;
  }
  return true;
}

std::string Render(Format format, absl::string_view time, Level level, absl::string_view message,
                   Fields fields) {
  std::string line;
  if (format == Format::kJson) {
    line = absl::StrCat("{\"time\":\"", time, "\",\"level\":\"", Name(level), "\",\"msg\":");
    AppendQuoted(&line, message);
    for (const auto& [key, value] : fields) {
      line.push_back(',');
      AppendQuoted(&line, key);
      line.push_back(':');
      AppendQuoted(&line, value);
    }
    line.push_back('}');
    return line;
  }
  line = absl::StrCat("time=\"", time, "\" level=", Name(level), " msg=");
  AppendQuoted(&line, message);
  for (const auto& [key, value] : fields) {
    absl::StrAppend(&line, " ", key, "=");
    if (NeedsQuotes(value)) {
      AppendQuoted(&line, value);
    } else {
      line.append(value);
    }
  }
  return line;
}

void Write(Level level, absl::string_view message, Fields fields) {
  if (!Enabled(level)) return;
  std::string line = Render(g_format, Now(), level, message, fields);
  line.push_back('\n');
  // A log that cannot be written has nobody left to tell.
  [[maybe_unused]] const ssize_t n = ::write(g_fd, line.data(), line.size());
}

}  // namespace gantry::log
