#include "daemon/server/identifier.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace gantry::server {
namespace {

bool IsSeparator(char c) { return c == '.' || c == '_' || c == '-'; }

}  // namespace

absl::Status ValidateIdentifier(absl::string_view what, absl::string_view identifier) {
  if (identifier.empty()) return absl::InvalidArgumentError(absl::StrCat(what, " must not be empty"));
  if (identifier.size() > kMaxIdentifierLength) {
    return absl::InvalidArgumentError(absl::StrCat("invalid ", what, " \"",
                                                   absl::CHexEscape(identifier.substr(0, 100)),
                                                   "\": longer than ", kMaxIdentifierLength, " characters"));
  }
  bool after_separator = true;
  bool valid = true;
  for (char c : identifier) {
    const bool separator = IsSeparator(c);
    valid = valid && (separator ? !after_separator : absl::ascii_isalnum(static_cast<unsigned char>(c)));
    after_separator = separator;
  }
  if (valid && !after_separator) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("invalid ", what, " \"", absl::CHexEscape(identifier),
                   "\": it must be letters and digits, with single '.', '_' or '-' between them"));
}

}  // namespace gantry::server
