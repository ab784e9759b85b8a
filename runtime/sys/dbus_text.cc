// GVariant's text form of values; see "GVariant Text Format" in GLib's manual.
#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/sys/dbus_value.h"
#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

struct NumberType {
  const char* name;
  const char* signature;
  int64_t min;
  uint64_t max;
};
constexpr NumberType kNumberTypes[] = {{"byte", "y", 0, 0xff},         {"int16", "n", INT16_MIN, INT16_MAX},
                                       {"uint16", "q", 0, UINT16_MAX}, {"int32", "i", INT32_MIN, INT32_MAX},
                                       {"uint32", "u", 0, UINT32_MAX}, {"int64", "x", INT64_MIN, INT64_MAX},
                                       {"uint64", "t", 0, UINT64_MAX}, {"double", "d", 0, 0}};

class TextParser {
 public:
  explicit TextParser(absl::string_view text) : text_(text) {}

  absl::StatusOr<DBusValue> Parse() {
    GANTRY_ASSIGN_OR_RETURN(DBusValue value, Value(0));
    Blanks();
    if (!text_.empty()) return Wrong("something follows the value");
    return value;
  }

 private:
  absl::Status Wrong(absl::string_view why) const {
    return absl::InvalidArgumentError(absl::StrCat("no value in GVariant's text form: ", why));
  }
  void Blanks() { text_ = absl::StripLeadingAsciiWhitespace(text_); }

  absl::StatusOr<DBusValue> Value(int depth) {
    Blanks();
    if (text_.empty()) return Wrong("nothing is there");
    if (text_[0] == '\'' || text_[0] == '"') return String("s");
    if (text_[0] == '[') return Array(depth);
    const absl::string_view word = Word();
    if (word == "true" || word == "false") return DBusValue::Bool(word == "true");
    if (word == "objectpath") {
      Blanks();
      return String("o");
    }
    for (const NumberType& type : kNumberTypes) {
      if (word != type.name) continue;
      Blanks();
      return Number(Word(), type);
    }
    const bool real = absl::StrContains(word, '.');
    return Number(word, kNumberTypes[real ? 7 : 3]);
  }

  absl::string_view Word() {
    const auto end = std::find_if(text_.begin(), text_.end(), [](unsigned char c) {
      return !absl::ascii_isalnum(c) && c != '-' && c != '+' && c != '.';
    });
    const absl::string_view word = text_.substr(0, static_cast<size_t>(end - text_.begin()));
    text_.remove_prefix(word.size());
    return word;
  }

  absl::StatusOr<DBusValue> Number(absl::string_view word, const NumberType& type) const {
    DBusValue value;
    value.signature = type.signature;
    if (value.signature == "d") {
      if (absl::SimpleAtod(word, &value.real) && std::isfinite(value.real)) return value;
      return Wrong(absl::StrCat("\"", word, "\" is no number"));
    }
    int64_t small = 0;
    const bool fits = absl::SimpleAtoi(word, &small)
                          ? small >= type.min && (small < 0 || static_cast<uint64_t>(small) <= type.max)
                          : absl::SimpleAtoi(word, &value.number) && value.number <= type.max;
    if (!fits) return Wrong(absl::StrCat("\"", word, "\" is no ", type.name));
    if (value.number == 0) value.number = static_cast<uint64_t>(small);
    return value;
  }

  absl::StatusOr<DBusValue> String(const char* signature) {
    if (text_.empty() || (text_[0] != '\'' && text_[0] != '"')) return Wrong("a quoted string must follow");
    const char quote = text_[0];
    DBusValue value;
    value.signature = signature;
    for (size_t i = 1; i < text_.size(); ++i) {
      char c = text_[i];
      if (c == quote) {
        text_.remove_prefix(i + 1);
        return value;
      }
      if (c == '\\') {
        if (++i == text_.size()) break;
        c = text_[i];
        if (c != '\\' && c != '\'' && c != '"') return Wrong("of escapes only \\\\, \\' and \\\" are read");
      }
      if (static_cast<unsigned char>(c) < ' ') return Wrong("a control character in a string");
      value.text.push_back(c);
    }
    return Wrong("a string does not end");
  }

  absl::StatusOr<DBusValue> Array(int depth) {
    constexpr int kMaxDepth = 8;
    if (depth == kMaxDepth) return Wrong("nested too deeply");
    text_.remove_prefix(1);
    std::vector<DBusValue> items;
    for (;;) {
      GANTRY_ASSIGN_OR_RETURN(DBusValue item, Value(depth + 1));
      items.push_back(std::move(item));
      if (items.back().signature != items[0].signature)
        return Wrong("the elements of an array differ in type");
      Blanks();
      if (text_.empty() || (text_[0] != ',' && text_[0] != ']')) return Wrong("an array does not end");
      const char next = text_[0];
      text_.remove_prefix(1);
      if (next == ']') break;
    }
    std::string element = items[0].signature;
    return DBusValue::Array(element, std::move(items));
  }

  absl::string_view text_;
};

std::string Quote(absl::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') quoted.push_back('\\');
    quoted.push_back(c);
  }
  return quoted + "'";
}

std::string Joined(const std::vector<DBusValue>& items) {
  return absl::StrJoin(items, ", ", [](std::string* out, const DBusValue& item) { *out += ToText(item); });
}

}  // namespace

std::string ToText(const DBusValue& value) {
  const char type = value.signature.empty() ? ' ' : value.signature[0];
  if (type == 'b') return value.number != 0 ? "true" : "false";
  if (type == 's' || type == 'g') return Quote(value.text);
  if (type == 'o') return absl::StrCat("objectpath ", Quote(value.text));
  if (type == 'a') return absl::StrCat("[", Joined(value.items), "]");
  if (type == '(' || type == '{') return absl::StrCat("(", Joined(value.items), ")");
  if (type == 'v') return absl::StrCat("<", Joined(value.items), ">");
  if (type == 'd') return absl::StrCat("double ", value.real);
  const bool negative = static_cast<int64_t>(value.number) < 0 && absl::StrContains("nix", type);
  const std::string digits =
      negative ? absl::StrCat(static_cast<int64_t>(value.number)) : absl::StrCat(value.number);
  if (type == 'i') return digits;
  for (const NumberType& number : kNumberTypes) {
    if (value.signature == number.signature) return absl::StrCat(number.name, " ", digits);
  }
  return "?";
}

absl::StatusOr<DBusValue> ParseDBusText(absl::string_view text) {
  constexpr size_t kMaxText = 64 << 10;
  if (text.size() > kMaxText) return absl::InvalidArgumentError("a value of more than 64 KiB");
  return TextParser(text).Parse();
}

}  // namespace gantry::sys
