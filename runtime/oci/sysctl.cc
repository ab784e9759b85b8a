#include "runtime/oci/sysctl.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gantry::oci {

absl::StatusOr<std::string> SysctlPath(absl::string_view name) {
  std::string path(name);
  const size_t first = path.find_first_of("./");
  if (first != std::string::npos && path[first] == '.') {
    for (char& c : path) c = c == '.' ? '/' : (c == '/' ? '.' : c);
  }
  int components = 0;
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    ++components;
    const bool odd = std::any_of(part.begin(), part.end(), [](char c) { return c <= ' ' || c == 0x7f; });
    if (part.empty() || part == "." || part == ".." || odd) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", absl::CHexEscape(name.substr(0, 200)),
          "\": must be the name of a kernel parameter, without white space, empty components and \"..\""));
    }
  }
  if (components < 2) {
    return absl::InvalidArgumentError(absl::StrCat("\"", absl::CHexEscape(name.substr(0, 200)),
                                                   "\": must be the name of a kernel parameter"));
  }
  return path;
}

std::optional<NamespaceType> SysctlNamespace(absl::string_view path) {
  static constexpr const char* kIpcNames[] = {
      "kernel/msgmax",      "kernel/msgmnb",      "kernel/msgmni",      "kernel/sem",
      "kernel/shmall",      "kernel/shmmax",      "kernel/shmmni",      "kernel/shm_next_id",
      "kernel/msg_next_id", "kernel/sem_next_id", "kernel/auto_msgmni", "kernel/shm_rmid_forced"};
  for (const char* name : kIpcNames) {
    if (path == name) return NamespaceType::kIpc;
  }
  if (absl::StartsWith(path, "fs/mqueue/")) return NamespaceType::kIpc;
  if (absl::StartsWith(path, "net/")) return NamespaceType::kNetwork;
  if (path == "kernel/hostname" || path == "kernel/domainname") return NamespaceType::kUts;
  if (absl::StartsWith(path, "user/")) return NamespaceType::kUser;
  return std::nullopt;
}

}  // namespace gantry::oci
