#include "cmd/gantry/ui/text.h"

#include <signal.h>
#include <string.h>

#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "runtime/sys/clock.h"

namespace gantry::cli {
namespace {

// Length of the well-formed UTF-8 sequence at the start of `text`; 0 if there is none (RFC 3629).
size_t SequenceLength(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  size_t length = 0;
  if (first >= 0xC2 && first <= 0xDF) length = 2;
  if (first >= 0xE0 && first <= 0xEF) length = 3;
  if (first >= 0xF0 && first <= 0xF4) length = 4;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (first == 0xE0 && byte(1) < 0xA0) return 0;
  if (first == 0xED && byte(1) > 0x9F) return 0;
  if (first == 0xF0 && byte(1) < 0x90) return 0;
  if (first == 0xF4 && byte(1) > 0x8F) return 0;
  return length;
}

// U+0080 to U+009F are control characters too: 0x9B alone can start a terminal command.
bool IsControl(absl::string_view sequence) {
  const auto first = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() == 1) return first < 0x20 || first == 0x7F;
  return first == 0xC2 && static_cast<unsigned char>(sequence[1]) < 0xA0;
}

}  // namespace

std::string OneLine(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    const absl::string_view sequence = text.substr(0, length == 0 ? 1 : length);
    if (sequence == "\n" || sequence == "\t" || sequence == "\r") {
      out.push_back(' ');
    } else if (length == 0 || IsControl(sequence)) {
      out.push_back('?');
    } else {
      absl::StrAppend(&out, sequence);
    }
    text.remove_prefix(sequence.size());
  }
  return out;
}

size_t DisplayWidth(absl::string_view text) {
  size_t width = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) ++width;
  }
  return width;
}

std::string Truncate(absl::string_view text, size_t width) {
  if (DisplayWidth(text) <= width) return std::string(text);
  if (width == 0) return "";
  size_t kept = 0;
  size_t columns = 0;
  while (kept < text.size()) {
    const bool starts = (static_cast<unsigned char>(text[kept]) & 0xC0) != 0x80;
    if (starts && columns == width - 1) break;
    if (starts) ++columns;
    ++kept;
  }
  return absl::StrCat(text.substr(0, kept), "…");
}

std::string HumanSize(uint64_t bytes) {
  if (bytes < 1000) return absl::StrCat(bytes, " B");
  static constexpr const char* kUnits[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  while (value >= 999.95 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return value < 99.95 ? absl::StrFormat("%.1f %s", value, kUnits[unit])
                       : absl::StrFormat("%.0f %s", value, kUnits[unit]);
}

std::string HumanAge(absl::Duration age) {
  struct Unit {
    absl::Duration length;
    const char* name;
  };
  static constexpr Unit kUnits[] = {{absl::Hours(24 * 365), "year"}, {absl::Hours(24 * 30), "month"},
                                    {absl::Hours(24), "day"},        {absl::Hours(1), "hour"},
                                    {absl::Minutes(1), "minute"},    {absl::Seconds(1), "second"}};
  for (const Unit& unit : kUnits) {
    if (age < unit.length) continue;
    const int64_t count = age / unit.length;
    return absl::StrCat(count, " ", unit.name, count == 1 ? "" : "s");
  }
  return "0 seconds";
}

absl::Time WallClock() { return sys::WallNow(); }

absl::StatusOr<int64_t> ParseSize(absl::string_view text) {
  const std::string lower = absl::AsciiStrToLower(text);
  absl::string_view rest = lower;
  size_t digits = 0;
  while (digits < rest.size() && (absl::ascii_isdigit(rest[digits]) || rest[digits] == '.')) ++digits;
  double number = 0;
  int shift = 0;
  absl::string_view unit = rest.substr(digits);
  bool known = absl::SimpleAtod(rest.substr(0, digits), &number) && std::isfinite(number);
  if (unit.empty() || unit == "b") {
    shift = 0;
  } else {
    const absl::string_view tail = unit.substr(1);
    const size_t place = absl::string_view("kmgtp").find(unit[0]);
    known = known && place != absl::string_view::npos && (tail.empty() || tail == "b" || tail == "ib");
    shift = 10 * (static_cast<int>(place) + 1);
  }
  if (!known) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", text, "\" is no size: a size is a number and one of the units b, k, m, g, t, such as 512m"));
  }
  const double bytes = std::ldexp(number, shift);
  if (bytes >= std::ldexp(1.0, 62)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is more than any machine has"));
  }
  return static_cast<int64_t>(bytes);
}

absl::StatusOr<int64_t> ParseCpus(absl::string_view text) {
  double number = 0;
  if (!absl::SimpleAtod(text, &number) || !std::isfinite(number) || number < 0.01 || number > 1e6) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is no number of processors: it is at least 0.01, such as 1.5"));
  }
  return static_cast<int64_t>(std::llround(number * 100000));
}

absl::StatusOr<int> ParseSignal(absl::string_view text) {
  int number = 0;
  if (absl::SimpleAtoi(text, &number)) {
    if (number >= 1 && number <= SIGRTMAX) return number;
  } else {
    const std::string upper = absl::AsciiStrToUpper(text);
    absl::string_view name = absl::StripPrefix(upper, "SIG");
    // sigabbrev_np(3) knows the names; the real-time ones are counted from SIGRTMIN as the kernel sees it
    // (34).
    for (int i = 1; i < SIGRTMIN; ++i) {
      const char* known = ::sigabbrev_np(i);
      if (known != nullptr && name == known) return i;
    }
    if (name == "CLD") return SIGCHLD;
    if (name == "IOT") return SIGABRT;
    int offset = 0;
    if (name == "RTMIN") return SIGRTMIN;
    if (name == "RTMAX") return SIGRTMAX;
    if (absl::ConsumePrefix(&name, "RTMIN+") && absl::SimpleAtoi(name, &offset) && offset >= 0 &&
        SIGRTMIN + offset <= SIGRTMAX) {
      return SIGRTMIN + offset;
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", text, "\" is no signal: a signal is a name such as TERM or a number from 1 to ", SIGRTMAX));
}

std::string ShortDigest(absl::string_view digest, size_t n) {
  const size_t colon = digest.find(':');
  if (colon != absl::string_view::npos) digest.remove_prefix(colon + 1);
  return std::string(digest.substr(0, n));
}

}  // namespace gantry::cli
