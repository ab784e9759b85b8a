#include "shim/stdio/uri.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

// RFC 3986, 2.1; in a query "+" is a space.
absl::StatusOr<std::string> Unescape(absl::string_view text, bool query) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && query) {
      result.push_back(' ');
    } else if (text[i] != '%') {
      result.push_back(text[i]);
    } else if (i + 2 < text.size() && absl::ascii_isxdigit(text[i + 1]) &&
               absl::ascii_isxdigit(text[i + 2])) {
      result += absl::HexStringToBytes(text.substr(i + 1, 2));
      i += 2;
    } else {
      return absl::InvalidArgumentError(absl::StrCat("\"", text, "\": % is followed by two hex digits"));
    }
  }
  if (result.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" holds a NUL"));
  }
  return result;
}

absl::Status ReadQuery(absl::string_view query, StreamTarget* target) {
  for (absl::string_view pair : absl::StrSplit(query, '&', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(pair, absl::MaxSplits('=', 1));
    GANTRY_ASSIGN_OR_RETURN(std::string key, Unescape(parts.first, true));
    GANTRY_ASSIGN_OR_RETURN(std::string value, Unescape(parts.second, true));
    target->arguments.push_back(std::move(key));
    target->arguments.push_back(std::move(value));
  }
  return absl::OkStatus();
}

absl::Status TakeStreamId(absl::string_view text, StreamTarget* target) {
  for (size_t i = 0; i + 1 < target->arguments.size(); i += 2) {
    if (target->arguments[i] == "streaming_id") target->stream_id = target->arguments[i + 1];
  }
  target->arguments.clear();
  if (!target->stream_id.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(text, ": a stream is named by ?streaming_id="));
}

}  // namespace

absl::StatusOr<StreamTarget> ParseStreamTarget(absl::string_view text) {
  StreamTarget target;
  if (text.empty()) return target;
  const size_t separator = text.find("://");
  if (separator == absl::string_view::npos) {
    target.kind = StreamKind::kPath;
    target.path = std::string(text);
    return target;
  }
  const absl::string_view scheme = text.substr(0, separator);
  if (scheme == "fifo") {
    target.kind = StreamKind::kPath;
  } else if (scheme == "file") {
    target.kind = StreamKind::kFile;
  } else if (scheme == "binary" || scheme == "binary-v2") {
    target.kind = StreamKind::kBinary;
    target.strict_ready = scheme == "binary-v2";
  } else if (scheme == "ttrpc+unix") {
    target.kind = StreamKind::kStream;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown stdio scheme \"", scheme, "\" in ", text,
                     "; fifo, file, binary, binary-v2 and ttrpc+unix are known"));
  }
  absl::string_view rest = text.substr(separator + 3);
  rest = rest.substr(0, rest.find('#'));
  const size_t question = rest.find('?');
  GANTRY_ASSIGN_OR_RETURN(target.path, Unescape(rest.substr(0, question), false));
  if (target.path.empty() || target.path[0] != '/') {
    return absl::InvalidArgumentError(absl::StrCat(text, ": an absolute path follows ", scheme, "://"));
  }
  if (question != absl::string_view::npos) {
    GANTRY_RETURN_IF_ERROR(ReadQuery(rest.substr(question + 1), &target));
  }
  if (target.kind == StreamKind::kStream) GANTRY_RETURN_IF_ERROR(TakeStreamId(text, &target));
  return target;
}

}  // namespace gantry::shim
