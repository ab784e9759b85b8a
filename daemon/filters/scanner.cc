#include "daemon/filters/scanner.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"

namespace gantry::filters {
namespace {

bool IsField(char c) { return c == '_' || absl::ascii_isalnum(static_cast<unsigned char>(c)); }
bool IsOperator(char c) { return c == '=' || c == '!' || c == '~'; }
bool IsQuote(char c) { return c == '"' || c == '/' || c == '|'; }
bool IsSpace(char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); }

void AppendUtf8(uint32_t rune, std::string* out) {
  if (rune < 0x80) {
    out->push_back(static_cast<char>(rune));
  } else if (rune < 0x800) {
    out->push_back(static_cast<char>(0xc0 | rune >> 6));
    out->push_back(static_cast<char>(0x80 | (rune & 0x3f)));
  } else if (rune < 0x10000) {
    out->push_back(static_cast<char>(0xe0 | rune >> 12));
    out->push_back(static_cast<char>(0x80 | (rune >> 6 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (rune & 0x3f)));
  } else {
    out->push_back(static_cast<char>(0xf0 | rune >> 18));
    out->push_back(static_cast<char>(0x80 | (rune >> 12 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (rune >> 6 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (rune & 0x3f)));
  }
}

absl::Status BadEscape() { return absl::InvalidArgumentError("illegal escape sequence"); }

// Takes exactly `count` digits of `base` from `rest`.
bool TakeDigits(absl::string_view* rest, int count, int base, uint32_t* value) {
  if (rest->size() < static_cast<size_t>(count)) return false;
  *value = 0;
  for (int i = 0; i < count; ++i) {
    const unsigned char c = static_cast<unsigned char>((*rest)[static_cast<size_t>(i)]);
    if (!absl::ascii_isxdigit(c)) return false;
    const int digit = absl::ascii_isdigit(c) ? c - '0' : absl::ascii_tolower(c) - 'a' + 10;
    if (digit >= base) return false;
    *value = *value * static_cast<uint32_t>(base) + static_cast<uint32_t>(digit);
  }
  rest->remove_prefix(static_cast<size_t>(count));
  return true;
}

// `rest` stands after the backslash.
absl::Status AppendEscape(char quote, absl::string_view* rest, std::string* out) {
  static constexpr absl::string_view kNames = "abfnrtv\\";
  static constexpr absl::string_view kValues = "\a\b\f\n\r\t\v\\";
  if (rest->empty()) return BadEscape();
  const char c = rest->front();
  uint32_t value = 0;
  if (c >= '0' && c <= '7') {
    if (!TakeDigits(rest, 3, 8, &value) || value > 0xff) return BadEscape();
    out->push_back(static_cast<char>(value));
    return absl::OkStatus();
  }
  rest->remove_prefix(1);
  if (const size_t at = kNames.find(c); at != absl::string_view::npos) {
    out->push_back(kValues[at]);
  } else if (c == quote) {
    out->push_back(c);
  } else if (c == 'x') {
    if (!TakeDigits(rest, 2, 16, &value)) return BadEscape();
    out->push_back(static_cast<char>(value));
  } else if (c == 'u' || c == 'U') {
    if (!TakeDigits(rest, c == 'u' ? 4 : 8, 16, &value) || value > 0x10ffff) return BadEscape();
    AppendUtf8(value, out);
  } else {
    return BadEscape();
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> Unquote(absl::string_view quoted) {
  const char quote = quoted.front();
  absl::string_view rest = quoted.substr(1, quoted.size() - 2);
  std::string out;
  while (!rest.empty()) {
    const char c = rest.front();
    rest.remove_prefix(1);
    if (c != '\\') {
      out.push_back(c);
    } else if (absl::Status status = AppendEscape(quote, &rest, &out); !status.ok()) {
      return status;
    }
  }
  return out;
}

size_t Scanner::CharacterSize() const {
  const unsigned char lead = static_cast<unsigned char>(text_[position_]);
  if (lead < 0x80) return lead == 0 ? 0 : 1;
  const size_t size = lead >= 0xf0 && lead < 0xf5 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0;
  if (size == 0 || lead >= 0xf5 || position_ + size > text_.size()) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((static_cast<unsigned char>(text_[position_ + i]) & 0xc0) != 0x80) return 0;
  }
  return size;
}

Token Scanner::Illegal(size_t begin, absl::string_view problem) {
  return {TokenKind::kIllegal, text_.substr(begin, position_ - begin), begin, problem};
}

Token Scanner::Quoted(char quote) {
  const size_t begin = position_++;
  while (position_ < text_.size() && text_[position_] != '\n') {
    const char c = text_[position_];
    if (c == quote) {
      ++position_;
      return Take(TokenKind::kQuoted, begin);
    }
    const size_t size = CharacterSize();
    if (size == 0) return Illegal(begin, "not valid UTF-8");
    position_ += size;
    // Whatever is escaped does not end the literal; Unquote judges it.
    if (c == '\\' && position_ < text_.size() && text_[position_] != '\n') ++position_;
  }
  return Illegal(begin, "quoted literal not terminated");
}

Token Scanner::Next() {
  while (!AtEnd() && IsSpace(Peek())) ++position_;
  const size_t begin = position_;
  if (AtEnd()) return {TokenKind::kEnd, {}, begin, {}};
  const char c = Peek();
  if (IsQuote(c)) {
    value_next_ = false;
    return Quoted(c);
  }
  if (c == ',' || c == '.') {
    ++position_;
    value_next_ = false;
    return Take(TokenKind::kSeparator, begin);
  }
  if (IsOperator(c)) {
    while (!AtEnd() && IsOperator(Peek())) ++position_;
    value_next_ = true;
    return Take(TokenKind::kOperator, begin);
  }
  if (value_next_) {
    value_next_ = false;
    while (!AtEnd() && Peek() != ',' && !IsSpace(Peek())) {
      const size_t size = CharacterSize();
      if (size == 0) return Illegal(begin, "not valid UTF-8");
      position_ += size;
    }
    return Take(TokenKind::kValue, begin);
  }
  while (!AtEnd() && IsField(Peek())) ++position_;
  if (position_ == begin) return Illegal(begin, "unexpected character");
  return Take(TokenKind::kField, begin);
}

}  // namespace gantry::filters
