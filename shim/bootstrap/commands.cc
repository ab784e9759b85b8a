#include "shim/bootstrap/commands.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/stubs/logging.h"
#include "runtime/sys/file.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"
#include "shim/bootstrap/cleanup.h"
#include "shim/bootstrap/detach.h"
#include "shim/bootstrap/group.h"
#include "shim/bootstrap/info.h"
#include "shim/bootstrap/options.h"
#include "shim/bootstrap/protocol.h"
#include "shim/bootstrap/socket.h"
#include "shim/service/shim.h"
#include "shim/service/shim_cgroup.h"

namespace gantry::shim {
namespace {

constexpr char kProgram[] = "containerd-shim-gantry-v2";
constexpr size_t kMaxInputBytes = 10 << 20;  // containerd's own limit

absl::StatusOr<std::string> WorkingDirectory() {
  char path[PATH_MAX];
  if (getcwd(path, sizeof(path)) == nullptr) return sys::ErrnoStatus("getcwd", "");
  return std::string(path);
}

// Serves until it is over; runs in the detached process.
void Serve(const Options& options, std::string socket_path, sys::UniqueFd listening) {
  absl::StatusOr<std::unique_ptr<Shim>> shim = Shim::Create({.namespace_name = options.namespace_name,
                                                             .bundle = options.bundle,
                                                             .ttrpc_address = options.ttrpc_address,
                                                             .socket_path = std::move(socket_path),
                                                             .adopted_id = options.id,
                                                             .adopted_init = options.init_fd},
                                                            std::move(listening));
  absl::Status status = shim.status();
  if (status.ok()) status = (*shim)->Run();
  if (!status.ok()) log::Error("the shim ends", {{"error", std::string(status.message())}});
  // The kernel closes what is open, last of all a root mount, whose sync nobody waits for then.
  _exit(status.ok() ? 0 : 1);
}

absl::Status Start(Options options) {
  GANTRY_ASSIGN_OR_RETURN(const std::string input, sys::ReadAll(0, kMaxInputBytes));
  const StartInput start = ReadStartInput(input, &options);
  const std::string group = GroupOfBundle(options.bundle);
  const std::string path =
      SocketPath(start.socket_dir.empty() ? kDefaultSocketDirectory : start.socket_dir, options.grpc_address,
                 options.namespace_name, group.empty() ? options.id : group);
  const std::string address = absl::StrCat("unix://", path);
  const std::string answer = FormatStartAnswer(start.answer, address, options.max_version);
  absl::StatusOr<sys::UniqueFd> listening = ListenAt(path);
  // Another one of the group has a shim, which takes this container too.
  const bool joins = absl::IsAlreadyExists(listening.status()) && !group.empty() && IsServed(path);
  if (!joins) GANTRY_RETURN_IF_ERROR(listening.status());
  // 1.6 looks for it when it comes back.
  absl::Status status = sys::WriteFileAtomic(AT_FDCWD, "address", address, 0600, sys::Durability::kVolatile);
  if (joins) return status.ok() ? sys::WriteAll(1, answer) : status;
  if (status.ok() && !start.shim_cgroup.empty()) status = JoinShimCgroup(start.shim_cgroup);
  if (status.ok()) {
    status = Detach(options.bundle + "/log", [&] { Serve(options, path, *std::move(listening)); });
  }
  if (!status.ok()) {
    unlink(path.c_str());
    return status;
  }
  return sys::WriteAll(1, answer);
}

absl::Status ServeGiven(const Options& options) {
  int type = 0;
  socklen_t size = sizeof(type);
  int listens = 0;
  if (getsockopt(options.socket_fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM ||
      getsockopt(options.socket_fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("-socket-fd ", options.socket_fd, " is no listening stream socket"));
  }
  sys::UniqueFd listening(fcntl(options.socket_fd, F_DUPFD_CLOEXEC, 3));
  if (!listening) return sys::ErrnoStatus("fcntl", "F_DUPFD_CLOEXEC");
  close(options.socket_fd);
  if (options.init_fd >= 0 && fcntl(options.init_fd, F_SETFD, FD_CLOEXEC) != 0) {
    return sys::ErrnoStatus("fcntl", absl::StrCat("-init-fd ", options.init_fd));
  }
  // Its path belongs to the daemon, which may have bound a successor's socket there before we see our end.
  return Detach(options.bundle + "/log", [&] { Serve(options, "", std::move(listening)); });
}

absl::Status Run(Options options) {
  if (options.debug) log::Configure(log::Level::kDebug, log::Format::kLogfmt, 2);
  if (options.action == Action::kVersion) {
    return sys::WriteAll(1, absl::StrCat(kProgram, ":\n  Version:  ", GANTRY_VERSION, "\n"));
  }
  if (options.action == Action::kInfo) {
    GANTRY_ASSIGN_OR_RETURN(const std::string input, sys::ReadAll(0, kMaxInputBytes));
    GANTRY_ASSIGN_OR_RETURN(const std::string info, RuntimeInformation(input));
    return sys::WriteAll(1, info);
  }
  if (options.bundle.empty()) {
    GANTRY_ASSIGN_OR_RETURN(options.bundle, WorkingDirectory());
  } else if (options.bundle[0] != '/') {
    GANTRY_ASSIGN_OR_RETURN(const std::string directory, WorkingDirectory());
    options.bundle = absl::StrCat(directory, "/", options.bundle);
  }
  switch (options.action) {
    case Action::kStart:
      return Start(std::move(options));
    case Action::kServe:
      return ServeGiven(options);
    case Action::kDelete: {
      GANTRY_ASSIGN_OR_RETURN(const std::string response, CleanUp(options));
      return sys::WriteAll(1, response);
    }
    default:
      return absl::InternalError("unknown action");
  }
}

}  // namespace

int Main(int argc, char** argv) {
  // It writes to stderr what it cannot parse; a daemon takes that for a part of our answer.
  google::protobuf::SetLogHandler(nullptr);
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  absl::StatusOr<Options> options = ParseOptions({argv + 1, argv + argc}, environment);
  const absl::Status status = options.ok() ? Run(*std::move(options)) : options.status();
  if (status.ok()) return 0;
  sys::WriteAll(2, absl::StrCat(kProgram, ": ", status.message(), "\n")).IgnoreError();
  return 1;
}

}  // namespace gantry::shim
