#include "daemon/config/toml_text.h"

#include <algorithm>

#include "absl/strings/match.h"

namespace gantry::config {
namespace {

bool BeyondAscii(char c) { return static_cast<unsigned char>(c) >= 0x80; }

// Where the string that begins at `at` ends, its quotes included (a line's end closes one of one line), or where a backslash
// and white space in it lead to a byte beyond ASCII, if that comes first.
size_t EndOfString(absl::string_view text, size_t at) {
  const char quote = text[at];
  const absl::string_view three = quote == '"' ? "\"\"\"" : "'''";
  const bool long_form = absl::StartsWith(text.substr(at), three);
  at += long_form ? 3 : 1;
  while (at < text.size()) {
    if (text[at] == '\\' && quote == '"') {
      const size_t next = std::min(text.find_first_not_of(" \t\r\n", at + 1), text.size());
      if (next < text.size() && BeyondAscii(text[next])) return next;
      at += 2;
    } else if (long_form && absl::StartsWith(text.substr(at), three)) {
      return at + 3;
    } else if (!long_form && text[at] == quote) {
      return at + 1;
    } else if (!long_form && text[at] == '\n') {
      return at;
    } else {
      at++;
    }
  }
  return text.size();
}

}  // namespace

int LineOfStrayUnicode(absl::string_view text) {
  size_t at = absl::StartsWith(text, "\xEF\xBB\xBF") ? 3 : 0;  // a byte order mark
  while (at < text.size()) {
    const char c = text[at];
    if (BeyondAscii(c)) {
      return 1 + static_cast<int>(std::count(text.begin(), text.begin() + at, '\n'));
    }
    if (c == '"' || c == '\'') {
      at = EndOfString(text, at);
    } else if (c == '#') {
      at = std::min(text.find('\n', at), text.size());
    } else {
      at++;
    }
  }
  return 0;
}

}  // namespace gantry::config
