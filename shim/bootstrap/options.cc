#include "shim/bootstrap/options.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace gantry::shim {
namespace {

struct Flags {
  bool info = false;
  bool version = false;
  std::string socket_fd;
  std::string init_fd;
  std::string ignored;  // known to containerd, of no use to us
};

struct TextFlag {
  absl::string_view name;
  std::string* value;
};

struct SwitchFlag {
  absl::string_view name;
  bool* value;
};

absl::Status SetSwitch(const SwitchFlag& flag, absl::string_view value, bool has_value) {
  if (!has_value) {
    *flag.value = true;
    return absl::OkStatus();
  }
  if (!absl::SimpleAtob(value, flag.value)) {
    return absl::InvalidArgumentError(
        absl::StrCat("-", flag.name, "=", value, ": a switch takes true or false"));
  }
  return absl::OkStatus();
}

// Reads the flags before the action into `options` and `flags`; the index of the first argument that is no
// flag.
absl::StatusOr<size_t> ReadFlags(const std::vector<std::string>& arguments, Options* options, Flags* flags) {
  const TextFlag texts[] = {{"namespace", &options->namespace_name}, {"id", &options->id},
                            {"address", &options->grpc_address},     {"bundle", &options->bundle},
                            {"socket-fd", &flags->socket_fd},        {"init-fd", &flags->init_fd},
                            {"publish-binary", &flags->ignored},     {"socket", &flags->ignored},
                            {"debug-socket", &flags->ignored}};
  const SwitchFlag switches[] = {{"debug", &options->debug},
                                 {"info", &flags->info},
                                 {"v", &flags->version},
                                 {"version", &flags->version}};
  size_t i = 0;
  for (; i < arguments.size() && absl::StartsWith(arguments[i], "-"); ++i) {
    absl::string_view name = absl::StripPrefix(absl::StripPrefix(arguments[i], "-"), "-");
    absl::string_view value;
    const size_t equals = name.find('=');
    const bool has_value = equals != absl::string_view::npos;
    if (has_value) {
      value = name.substr(equals + 1);
      name = name.substr(0, equals);
    }
    bool known = false;
    for (const SwitchFlag& flag : switches) {
      if (flag.name != name) continue;
      if (absl::Status status = SetSwitch(flag, value, has_value); !status.ok()) return status;
      known = true;
    }
    for (const TextFlag& flag : texts) {
      if (flag.name != name) continue;
      if (!has_value && ++i == arguments.size()) {
        return absl::InvalidArgumentError(absl::StrCat("-", name, " takes a value, and none follows it"));
      }
      *flag.value = has_value ? std::string(value) : arguments[i];
      known = true;
    }
    if (!known) {
      return absl::InvalidArgumentError(absl::StrCat("unknown flag -", name, "; see shim/README.md"));
    }
  }
  return i;
}

absl::Status SetAction(absl::string_view word, const Flags& flags, Options* options) {
  if (flags.version || flags.info) {
    options->action = flags.version ? Action::kVersion : Action::kInfo;
    return absl::OkStatus();
  }
  if (word == "start") {
    options->action = Action::kStart;
  } else if (word == "serve") {
    options->action = Action::kServe;
  } else if (word == "delete") {
    options->action = Action::kDelete;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat(word.empty() ? "no action" : absl::StrCat("unknown action \"", word, "\""),
                     "; the last argument is start, delete or serve"));
  }
  if (options->namespace_name.empty()) {
    return absl::InvalidArgumentError("shim namespace cannot be empty; give -namespace");
  }
  if (options->id.empty()) return absl::InvalidArgumentError("task id cannot be empty; give -id");
  for (absl::string_view name :
       {absl::string_view(options->id), absl::string_view(options->namespace_name)}) {
    // Both become parts of paths.
    if (name == "." || name == ".." || absl::StrContains(name, '/')) {
      return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is no identifier: it names a path"));
    }
  }
  if (options->action != Action::kServe) return absl::OkStatus();
  if (!absl::SimpleAtoi(flags.socket_fd, &options->socket_fd) || options->socket_fd < 3) {
    return absl::InvalidArgumentError(absl::StrCat(
        "-socket-fd \"", flags.socket_fd, "\": serve takes its listening socket as a descriptor from 3 on"));
  }
  if (flags.init_fd.empty()) return absl::OkStatus();
  if (!absl::SimpleAtoi(flags.init_fd, &options->init_fd) || options->init_fd < 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("-init-fd \"", flags.init_fd, "\": serve takes a pidfd as a descriptor from 3 on"));
  }
  return absl::OkStatus();
}

void ReadEnvironment(const std::vector<std::string>& environment, Options* options) {
  for (absl::string_view entry : environment) {
    if (absl::ConsumePrefix(&entry, "TTRPC_ADDRESS=")) {
      options->ttrpc_address = std::string(entry);
    } else if (absl::ConsumePrefix(&entry, "MAX_SHIM_VERSION=")) {
      int version = 0;
      if (absl::SimpleAtoi(entry, &version) && version > 0) options->max_version = version;
    }
  }
}

}  // namespace

absl::StatusOr<Options> ParseOptions(const std::vector<std::string>& arguments,
                                     const std::vector<std::string>& environment) {
  Options options;
  Flags flags;
  absl::StatusOr<size_t> next = ReadFlags(arguments, &options, &flags);
  if (!next.ok()) return next.status();
  const absl::string_view word = *next < arguments.size() ? absl::string_view(arguments[*next]) : "";
  if (absl::Status status = SetAction(word, flags, &options); !status.ok()) return status;
  ReadEnvironment(environment, &options);
  return options;
}

}  // namespace gantry::shim
