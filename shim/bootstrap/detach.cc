#include "shim/bootstrap/detach.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"
#include "shim/builder/fork.h"

namespace gantry::shim {
namespace {

constexpr int kMaxOomScoreAdj = 1000;  // proc(5)

// Under pressure the kernel takes the shim before the daemon, from which it has its score.
absl::Status AdjustOomScore() {
  constexpr char kPath[] = "/proc/self/oom_score_adj";
  GANTRY_ASSIGN_OR_RETURN(const std::string text, sys::ReadFileAt(AT_FDCWD, kPath, 64));
  int score = 0;
  if (!absl::SimpleAtoi(text, &score)) return absl::DataLossError("oom_score_adj is no number");
  return sys::WriteControlFile(AT_FDCWD, kPath, absl::StrCat(std::min(score + 1, kMaxOomScoreAdj)));
}

// The descriptor stays open for the process's life; -1: no log.
int OpenLog(const std::string& path) {
  struct stat info;
  if (path.empty() || stat(path.c_str(), &info) != 0 || !S_ISFIFO(info.st_mode)) return -1;
  // Both ways: readers come and go, and a full FIFO drops lines rather than stop the shim.
  return open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

void BecomeShim(const std::string& log_path) {
  const int log_fd = OpenLog(log_path);
  const int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
  if (null > 2) close(null);
  log::Configure(log::Enabled(log::Level::kDebug) ? log::Level::kDebug : log::Level::kInfo,
                 log::Format::kLogfmt, log_fd >= 0 ? log_fd : 1);
  // The bundle must be free to go.
  if (chdir("/") != 0) log::Warn("chdir / failed");
  if (absl::Status adjusted = AdjustOomScore(); !adjusted.ok()) {
    log::Warn("oom_score_adj stays as it is", {{"error", std::string(adjusted.message())}});
  }
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) log::Warn("PR_SET_CHILD_SUBREAPER failed");
}

}  // namespace

absl::Status Detach(const std::string& log_path, absl::FunctionRef<void()> serve) {
  if (getsid(0) != getpid()) {
    GANTRY_ASSIGN_OR_RETURN(const pid_t pid, Fork());
    if (pid != 0) return absl::OkStatus();
    setsid();
  }
  BecomeShim(log_path);
  serve();
  _exit(0);
}

}  // namespace gantry::shim
