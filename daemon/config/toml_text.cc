#include "daemon/config/toml_text.h"

#include <algorithm>

#include "absl/strings/match.h"

namespace gantry::config {
namespace {

// The length of the string that `text` begins with, its quotes included; a line's end closes those of one line.
size_t StringLength(absl::string_view text) {
  const char quote = text[0];
  const absl::string_view three = quote == '"' ? "\"\"\"" : "'''";
  const bool long_form = absl::StartsWith(text, three);
  size_t at = long_form ? 3 : 1;
  while (at < text.size()) {
    if (text[at] == '\\' && quote == '"') {
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
    if (static_cast<unsigned char>(c) >= 0x80) {
      return 1 + static_cast<int>(std::count(text.begin(), text.begin() + at, '\n'));
    }
    if (c == '"' || c == '\'') {
      at += StringLength(text.substr(at));
    } else if (c == '#') {
      at = std::min(text.find('\n', at), text.size());
    } else {
      at++;
    }
  }
  return 0;
}

}  // namespace gantry::config
