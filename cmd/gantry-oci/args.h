// The command line: options and positional arguments, parsed against a table. Made for a program that starts a
// thousand times a minute: no allocation before an option is given, no global constructors.
//
// Accepted forms: --name value, --name=value, -n value, -n=value, -name (as Go's flag packages do), --flag,
// --flag=false; "--" ends the options. Pure and thread-safe.
#ifndef GANTRY_CMD_GANTRY_OCI_ARGS_H_
#define GANTRY_CMD_GANTRY_OCI_ARGS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::oci_cli {

struct Option {
  const char* name;   // without dashes
  char letter;        // 0: none
  const char* value;  // what the help calls the value; null: a flag that takes none
  const char* help;
};

// A table ends with an Option whose name is null.
using Options = const Option*;

enum class Order {
  kAnywhere,      // options may follow positional arguments
  kOptionsFirst,  // the first positional argument ends the options: the rest belongs to someone else
};

class Arguments {
 public:
  // Reads arguments until the options end; INVALID_ARGUMENT names what is wrong.
  static absl::StatusOr<Arguments> Parse(const char* const* begin, const char* const* end, Options options,
                                         Order order);

  bool Has(absl::string_view name) const;
  // The last value given; empty if none.
  std::string Get(absl::string_view name) const;
  std::optional<std::string> Find(absl::string_view name) const;
  std::vector<std::string> All(absl::string_view name) const;
  // The value as a number; nothing if it was not given.
  absl::StatusOr<std::optional<int64_t>> Number(absl::string_view name) const;

  const std::vector<std::string>& positional() const { return positional_; }
  // With kOptionsFirst: where the positional arguments begin.
  const char* const* rest() const { return rest_; }

 private:
  std::vector<std::pair<const Option*, std::string>> given_;
  std::vector<std::string> positional_;
  const char* const* rest_ = nullptr;
};

// "  --bundle, -b DIR   help", a line for each.
std::string DescribeOptions(Options options);

// "64", "64k", "1.5g", "10MiB": a number of bytes, in powers of 1024, as Docker's tools read it; -1: no limit.
absl::StatusOr<int64_t> ParseBytes(absl::string_view text);
// "5s", "100ms", "1m30s", as Go prints durations; also a bare number of seconds. Milliseconds, more than 0.
absl::StatusOr<int64_t> ParseMilliseconds(absl::string_view text);
// "KILL", "SIGKILL", "sigkill", "9", "RTMIN+3". 0 to 64.
absl::StatusOr<int> ParseSignal(absl::string_view text);
// "1000", "1000:1001". No names: they would have to be looked up in the container.
absl::StatusOr<std::pair<uint32_t, std::optional<uint32_t>>> ParseUser(absl::string_view text);

}  // namespace gantry::oci_cli

#endif  // GANTRY_CMD_GANTRY_OCI_ARGS_H_
