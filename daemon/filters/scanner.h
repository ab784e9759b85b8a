// The tokens of a filter. Private to daemon/filters.
#ifndef GANTRY_DAEMON_FILTERS_SCANNER_H_
#define GANTRY_DAEMON_FILTERS_SCANNER_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::filters {

enum class TokenKind { kEnd, kField, kQuoted, kValue, kSeparator, kOperator, kIllegal };

struct Token {
  TokenKind kind = TokenKind::kEnd;
  absl::string_view text;     // as written
  size_t position = 0;        // of its first byte
  absl::string_view problem;  // of kIllegal
};

// One thread's. The text must outlive it.
class Scanner {
 public:
  explicit Scanner(absl::string_view text) : text_(text) {}

  // The next token, after white space. After an operator what follows is a value, not a field.
  Token Next();
  // The next character, white space too; 0 at the end.
  char Peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }
  bool AtEnd() const { return position_ >= text_.size(); }
  size_t position() const { return position_; }

 private:
  Token Take(TokenKind kind, size_t begin) const {
    return {kind, text_.substr(begin, position_ - begin), begin, {}};
  }
  Token Illegal(size_t begin, absl::string_view problem);
  Token Quoted(char quote);
  // The bytes of the UTF-8 character at position_; 0 if there is none.
  size_t CharacterSize() const;

  const absl::string_view text_;
  size_t position_ = 0;
  bool value_next_ = false;
};

// The content of a kQuoted token, its escapes replaced. INVALID_ARGUMENT, without a position, for a bad one.
absl::StatusOr<std::string> Unquote(absl::string_view quoted);

}  // namespace gantry::filters

#endif  // GANTRY_DAEMON_FILTERS_SCANNER_H_
