#include "daemon/tasks/unfinished.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/log.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::tasks {
namespace {

constexpr char kSockets[] = "/run/containerd/s/";  // of shims made with containerd's library
constexpr size_t kSmallFile = 4096;
constexpr absl::Duration kLookAgain = absl::Milliseconds(20);

bool WorksIn(pid_t pid, const std::string& directory) {
  char path[PATH_MAX];
  const ssize_t size = readlink(absl::StrCat("/proc/", pid, "/cwd").c_str(), path, sizeof(path));
  return size > 0 && absl::string_view(path, static_cast<size_t>(size)) == directory;
}

bool Runs(pid_t pid, const struct stat& program) {
  struct stat own;
  return stat(absl::StrCat("/proc/", pid, "/exe").c_str(), &own) == 0 && own.st_dev == program.st_dev &&
         own.st_ino == program.st_ino;
}

struct Process {
  sys::PidFd pidfd;
  bool is_shim;
};

std::vector<Process> ProcessesIn(const std::string& directory, const struct stat& shim) {
  std::vector<Process> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir("/proc"), closedir);
  while (const dirent* entry = dir == nullptr ? nullptr : readdir(dir.get())) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry->d_name, &pid) || !WorksIn(pid, directory)) continue;
    absl::StatusOr<sys::PidFd> pidfd = sys::PidFd::Open(pid);
    // Looked at again: now the number cannot pass to another process any more.
    if (pidfd.ok() && WorksIn(pid, directory)) found.push_back({*std::move(pidfd), Runs(pid, shim)});
  }
  return found;
}

void RemoveUnserved(const std::string& path) {
  const absl::Status connected = sys::ConnectUnix(path, SOCK_STREAM).status();
  if (sys::ErrnoOf(connected) == ECONNREFUSED) unlink(path.c_str());
}

}  // namespace

void EndUnfinished(const Unfinished& what, absl::Duration patience) {
  struct stat shim = {};
  if (stat(what.shim.c_str(), &shim) != 0) shim = {};  // no process runs it then
  const sys::Deadline runtime = sys::Deadline::After(patience);
  const sys::Deadline last = sys::Deadline::After(2 * patience);
  // Again and again: what is killed may just have made another one.
  std::vector<Process> processes = ProcessesIn(what.bundle, shim);
  while (!processes.empty() && !last.Passed()) {
    for (const Process& process : processes) {
      if (process.is_shim || runtime.Passed()) process.pidfd.Signal(SIGKILL).IgnoreError();
    }
    const sys::Deadline next = sys::Deadline::After(kLookAgain);
    for (const Process& process : processes) process.pidfd.WaitExited(next.Left());
    processes = ProcessesIn(what.bundle, shim);
  }
  if (!processes.empty()) log::Warn("processes of an unfinished shim do not end", {{"bundle", what.bundle}});
  RemoveUnserved(absl::StrCat(kSockets, Bundles::SocketName(what.key, what.grpc_address)));
  const absl::StatusOr<std::string> address =
      sys::ReadFileAt(AT_FDCWD, absl::StrCat(what.bundle, "/address"), kSmallFile, O_NOFOLLOW);
  if (!address.ok()) return;
  absl::string_view path = *address;
  if (absl::ConsumePrefix(&path, "unix://")) RemoveUnserved(std::string(path));
}

}  // namespace gantry::tasks
