#include "cmd/gantry-oci/args.h"

#include <algorithm>
#include <csignal>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "runtime/sys/status.h"

namespace gantry::oci_cli {
namespace {

const Option* FindOption(Options options, absl::string_view name) {
  for (; options->name != nullptr; ++options) {
    if (name == options->name || (name.size() == 1 && name[0] == options->letter)) return options;
  }
  return nullptr;
}

absl::Status Bad(absl::string_view what, absl::string_view text, absl::string_view rule) {
  return absl::InvalidArgumentError(
      absl::StrCat(what, " \"", absl::CHexEscape(text.substr(0, 100)), "\": ", rule));
}

}  // namespace

absl::StatusOr<Arguments> Arguments::Parse(const char* const* begin, const char* const* end, Options options,
                                           Order order) {
  Arguments result;
  const char* const* arg = begin;
  for (; arg != end; ++arg) {
    absl::string_view text = *arg;
    if (text == "--") {
      ++arg;
      break;
    }
    if (text.size() < 2 || text[0] != '-') {
      if (order == Order::kOptionsFirst) break;
      result.positional_.emplace_back(text);
      continue;
    }
    absl::string_view name = text.substr(text[1] == '-' ? 2 : 1);
    std::optional<absl::string_view> value;
    if (const size_t equals = name.find('='); equals != absl::string_view::npos) {
      value = name.substr(equals + 1);
      name = name.substr(0, equals);
    }
    const Option* option = FindOption(options, name);
    if (option == nullptr) return Bad("unknown option", text, "see --help");
    if (option->value != nullptr && !value.has_value()) {
      if (arg + 1 == end) return Bad("the option", text, absl::StrCat("needs a value: ", option->value));
      value = *++arg;
    }
    if (option->value == nullptr && value.has_value()) {
      if (*value != "true" && *value != "false") return Bad("the option", text, "takes true or false");
      if (*value == "false") continue;
    }
    result.given_.emplace_back(option, std::string(value.value_or("")));
  }
  result.rest_ = arg;
  for (; arg != end; ++arg) result.positional_.emplace_back(*arg);
  return result;
}

bool Arguments::Has(absl::string_view name) const { return Find(name).has_value(); }

std::optional<std::string> Arguments::Find(absl::string_view name) const {
  for (size_t i = given_.size(); i-- > 0;) {
    if (name == given_[i].first->name) return given_[i].second;
  }
  return std::nullopt;
}

std::string Arguments::Get(absl::string_view name) const { return Find(name).value_or(""); }

std::vector<std::string> Arguments::All(absl::string_view name) const {
  std::vector<std::string> values;
  for (const auto& [option, value] : given_) {
    if (name == option->name) values.push_back(value);
  }
  return values;
}

absl::StatusOr<std::optional<int64_t>> Arguments::Number(absl::string_view name) const {
  const std::optional<std::string> text = Find(name);
  if (!text.has_value()) return std::optional<int64_t>();
  int64_t number = 0;
  if (!absl::SimpleAtoi(*text, &number))
    return Bad(absl::StrCat("--", name), *text, "must be a whole number");
  return std::optional<int64_t>(number);
}

std::string DescribeOptions(Options options) {
  std::string text;
  for (; options->name != nullptr; ++options) {
    std::string left = absl::StrCat("--", options->name);
    if (options->letter != 0) absl::StrAppend(&left, ", -", std::string(1, options->letter));
    if (options->value != nullptr) absl::StrAppend(&left, " ", options->value);
    absl::StrAppendFormat(&text, "  %-28s %s\n", left, options->help);
  }
  return text;
}

absl::StatusOr<int64_t> ParseBytes(absl::string_view text) {
  constexpr absl::string_view kRule = "must be a number of bytes such as 67108864 or 64m, or -1 for no limit";
  if (text == "-1") return -1;
  absl::string_view rest = text;
  const size_t digits = std::min(rest.find_first_not_of("0123456789."), rest.size());
  double number = 0;
  if (digits == 0 || !absl::SimpleAtod(rest.substr(0, digits), &number)) return Bad("the size", text, kRule);
  const std::string unit = absl::AsciiStrToLower(absl::StripAsciiWhitespace(rest.substr(digits)));
  static constexpr absl::string_view kLetters = "kmgtp";
  double factor = 1;
  if (!unit.empty() && unit != "b") {
    const size_t power = kLetters.find(unit[0]);
    const absl::string_view tail = absl::string_view(unit).substr(1);
    if (power == absl::string_view::npos || (!tail.empty() && tail != "b" && tail != "ib"))
      return Bad("the size", text, kRule);
    for (size_t i = 0; i <= power; ++i) factor *= 1024;
  }
  // The exact integer where there is one: a double loses bits beyond 2^53.
  uint64_t whole = 0;
  if (factor == 1 && absl::SimpleAtoi(rest.substr(0, digits), &whole)) {
    if (whole > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      return Bad("the size", text, "is too large");
    return static_cast<int64_t>(whole);
  }
  if (number * factor >= 9.2e18) return Bad("the size", text, "is too large");
  return static_cast<int64_t>(number * factor);
}

absl::StatusOr<int64_t> ParseMilliseconds(absl::string_view text) {
  absl::Duration duration;
  int64_t seconds = 0;
  if (absl::SimpleAtoi(text, &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    return Bad("the interval", text, "must be a duration such as 5s or 500ms");
  }
  const int64_t milliseconds = absl::ToInt64Milliseconds(duration);
  if (milliseconds < 1 || milliseconds > std::numeric_limits<int>::max()) {
    return Bad("the interval", text, "must be more than zero, and at most some days");
  }
  return milliseconds;
}

absl::StatusOr<int> ParseSignal(absl::string_view text) {
  constexpr absl::string_view kRule =
      "must be the name or the number of a signal, such as TERM, SIGKILL or 9";
  int number = 0;
  if (!text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit)) {
    if (!absl::SimpleAtoi(text, &number) || number > SIGRTMAX) return Bad("the signal", text, kRule);
    return number;
  }
  const std::string upper = absl::AsciiStrToUpper(text);
  absl::string_view name = upper;
  absl::ConsumePrefix(&name, "SIG");
  for (int signal = 1; signal < NSIG; ++signal) {
    const char* known = sigabbrev_np(signal);
    if (known != nullptr && name == known) return signal;
  }
  if (name == "IOT") return SIGABRT;
  if (name == "CLD") return SIGCHLD;
  absl::string_view offset = name;
  int signal = 0, sign = 0;
  if (absl::ConsumePrefix(&offset, "RTMIN")) {
    signal = SIGRTMIN;
    sign = 1;
  } else if (absl::ConsumePrefix(&offset, "RTMAX")) {
    signal = SIGRTMAX;
    sign = -1;
  }
  if (signal != 0 && offset.empty()) return signal;
  if (signal != 0 && absl::ConsumePrefix(&offset, sign > 0 ? "+" : "-") &&
      absl::SimpleAtoi(offset, &number) && number >= 0 && number <= SIGRTMAX - SIGRTMIN) {
    return signal + sign * number;
  }
  return Bad("the signal", text, kRule);
}

absl::StatusOr<std::pair<uint32_t, std::optional<uint32_t>>> ParseUser(absl::string_view text) {
  constexpr absl::string_view kRule =
      "must be UID or UID:GID, numbers from 0 to 4294967294 (names are not looked up)";
  const auto id = [](absl::string_view digits, uint32_t* value) {
    return !digits.empty() && std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) &&
           absl::SimpleAtoi(digits, value) && *value != std::numeric_limits<uint32_t>::max();
  };
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  uint32_t uid = 0, gid = 0;
  if (!id(parts.first, &uid)) return Bad("the user", text, kRule);
  if (text.find(':') == absl::string_view::npos) return std::make_pair(uid, std::optional<uint32_t>());
  if (!id(parts.second, &gid)) return Bad("the user", text, kRule);
  return std::make_pair(uid, std::optional<uint32_t>(gid));
}

}  // namespace gantry::oci_cli
