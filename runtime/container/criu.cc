#include "runtime/container/criu.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/spawn.h"
#include "runtime/sys/status.h"

namespace gantry::container {
namespace {

constexpr size_t kMaxAnswer = 64 * 1024;
constexpr size_t kMaxLog = 64 << 20;
constexpr int kSocketInCriu = 3;

absl::StatusOr<std::string> FindCriu(const std::string& program) {
  if (absl::StrContains(program, '/')) return program;
  const char* path = getenv("PATH");
  // sbin is where distributions put it, and seldom in an ordinary PATH.
  for (absl::string_view directory :
       absl::StrSplit(absl::StrCat(path == nullptr ? "" : path, ":/usr/local/sbin:/usr/sbin:/sbin"), ':')) {
    if (directory.empty() || directory[0] != '/') continue;
    std::string candidate = absl::StrCat(directory, "/", program);
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return absl::NotFoundError(absl::StrCat("the program ", program,
                                          " is not installed: checkpoint and restore need it (Debian: "
                                          "package criu; --criu PATH names another one)"));
}

// The last line of the log that tells of an error.
std::string LastError(const std::string& log_path) {
  auto text =
      log_path.empty() ? absl::StatusOr<std::string>("") : sys::ReadFileAt(AT_FDCWD, log_path, kMaxLog);
  if (!text.ok()) return "";
  std::string last;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (absl::StrContains(line, "Error")) last = std::string(line);
  }
  return last;
}

absl::Status Failed(const CriuCall& call, absl::string_view how) {
  const std::string words = LastError(call.log_path);
  return absl::InternalError(
      absl::StrCat("criu ", how, words.empty() ? "" : absl::StrCat("; its log: ", words),
                   call.log_path.empty() ? "" : absl::StrCat(" (", call.log_path, ")")));
}

absl::Status SendRequest(int socket, const CriuRequest& request) {
  return sys::SendWithFds(socket, EncodeCriuRequest(request), {});
}

absl::StatusOr<CriuResponse> Converse(const CriuCall& call, int socket, CriuRequest request) {
  // One that ended at once is told by what it (did not) answer.
  if (absl::Status sent = SendRequest(socket, request); !sent.ok() && sys::ErrnoOf(sent) != EPIPE)
    return sent;
  for (;;) {
    auto message = sys::ReceiveWithFds(socket, kMaxAnswer);
    if (sys::ErrnoOf(message.status()) == ECONNRESET || (message.ok() && message->data.empty())) {
      return Failed(call, "ended without an answer");
    }
    GANTRY_RETURN_IF_ERROR(message.status());
    GANTRY_ASSIGN_OR_RETURN(CriuResponse response, DecodeCriuResponse(message->data));
    if (!response.success) {
      const std::string error = response.cr_errno == 0 ? ""
                                                       : absl::StrCat(": errno ", response.cr_errno, ", ",
                                                                      strerror(response.cr_errno));
      return Failed(call,
                    absl::StrCat("failed", error, response.message.empty() ? "" : ": ", response.message));
    }
    if (response.type != static_cast<uint32_t>(CriuRequestType::kNotify)) return response;
    if (call.notify) GANTRY_RETURN_IF_ERROR(call.notify(response, std::move(message->fds)));
    CriuRequest answer;
    answer.type = CriuRequestType::kNotify;
    GANTRY_RETURN_IF_ERROR(SendRequest(socket, answer));
  }
}

}  // namespace

absl::StatusOr<CriuCgroupMode> ParseCriuCgroupMode(absl::string_view text) {
  if (text.empty()) return CriuCgroupMode::kDefault;
  if (text == "soft") return CriuCgroupMode::kSoft;
  if (text == "full") return CriuCgroupMode::kFull;
  if (text == "strict") return CriuCgroupMode::kStrict;
  if (text == "ignore") return CriuCgroupMode::kIgnore;
  return absl::InvalidArgumentError(
      absl::StrCat("--manage-cgroups-mode \"", text, "\": must be soft, full, strict or ignore"));
}

absl::StatusOr<CriuResponse> CallCriu(const CriuCall& call) {
  GANTRY_ASSIGN_OR_RETURN(const std::string path, FindCriu(call.program));
  GANTRY_ASSIGN_OR_RETURN(sys::SocketPair pair, sys::MakeSocketPair(SOCK_SEQPACKET));
  sys::SpawnOptions options;
  options.path = path;
  options.argv = {"criu", "swrk", absl::StrCat(kSocketInCriu)};
  const char* search = getenv("PATH");
  // It runs iptables, tar and ip.
  options.env = {absl::StrCat("PATH=", search == nullptr ? "" : search, ":/usr/sbin:/usr/bin:/sbin:/bin")};
  options.fds = call.fds;
  options.fds.emplace_back(pair.second.get(), kSocketInCriu);
  GANTRY_ASSIGN_OR_RETURN(const sys::Spawned criu, sys::Spawn(options));
  pair.second.reset();
  CriuRequest request = call.request;
  absl::Status ready = call.spawned ? call.spawned(criu.pid, request) : absl::OkStatus();
  auto response =
      ready.ok() ? Converse(call, pair.first.get(), std::move(request)) : absl::StatusOr<CriuResponse>(ready);
  // With its line closed it lets go of the processes and ends: given time, as half a dump would leave them stopped.
  pair.first.reset();
  if (!response.ok() && !criu.pidfd.WaitExited(absl::Seconds(10))) criu.pidfd.Signal(SIGKILL).IgnoreError();
  GANTRY_ASSIGN_OR_RETURN(const auto status, criu.pidfd.Reap(sys::PidFd::Block::kWait));
  GANTRY_RETURN_IF_ERROR(response.status());
  // After a pre-dump it waits for the next one, and complains that none comes.
  const bool may_fail = call.request.type == CriuRequestType::kPreDump;
  if (status->Code() != 0 && !may_fail)
    return Failed(call, absl::StrCat("ended with status ", status->Code()));
  return response;
}

absl::StatusOr<int> CriuVersion(const std::string& program) {
  CriuCall call;
  call.program = program;
  call.request.type = CriuRequestType::kVersion;
  GANTRY_ASSIGN_OR_RETURN(const CriuResponse response, CallCriu(call));
  constexpr int kFirst = 30000;
  if (response.version < kFirst) {
    return absl::FailedPreconditionError(absl::StrCat("criu is too old: version 3.0 is needed, found ",
                                                      response.version / 10000, ".",
                                                      response.version / 100 % 100));
  }
  return response.version;
}

}  // namespace gantry::container
