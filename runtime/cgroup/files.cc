#include "runtime/cgroup/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <limits>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::cgroup::internal {
namespace {

constexpr size_t kMaxBytes = 64 << 20;  // cgroup.procs of a host full of processes
constexpr int kMaxDepth = 256;

struct DirCloser {
  void operator()(DIR* dir) const { closedir(dir); }
};

absl::Status Collect(const std::string& path, int depth, std::vector<pid_t>* pids) {
  if (depth > kMaxDepth)
    return absl::ResourceExhaustedError(absl::StrCat(path, ": cgroups nested too deeply"));
  auto text = ReadControl(path + "/cgroup.procs");
  if (!text.ok()) {
    const int error = sys::ErrnoOf(text.status());
    // EOPNOTSUPP: a threaded v2 cgroup, whose processes are listed by its domain.
    if (error != ENOENT && error != ENODEV && error != EOPNOTSUPP) return text.status();
    if (error == ENOENT || error == ENODEV) return absl::OkStatus();
  } else {
    for (absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
      pid_t pid = 0;
      if (absl::SimpleAtoi(line, &pid) && pid > 0) pids->push_back(pid);
    }
  }
  for (const std::string& child : Children(path)) {
    GANTRY_RETURN_IF_ERROR(Collect(absl::StrCat(path, "/", child), depth + 1, pids));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadControl(const std::string& path) {
  return sys::ReadFileAt(AT_FDCWD, path, kMaxBytes);
}

std::string ReadOrEmpty(const std::string& path) {
  auto text = ReadControl(path);
  return text.ok() ? *std::move(text) : std::string();
}

absl::Status WriteControl(const std::string& path, absl::string_view value) {
  return sys::WriteControlFile(AT_FDCWD, path, value);
}

uint64_t ParseLimit(absl::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  if (text == "max" || text == "-1") return std::numeric_limits<uint64_t>::max();
  uint64_t value = 0;
  return absl::SimpleAtoi(text, &value) ? value : 0;
}

uint64_t ReadNumber(const std::string& path) { return ParseLimit(ReadOrEmpty(path)); }

uint64_t KeyedNumber(absl::string_view text, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    if (pair.first == key) return ParseLimit(pair.second);
  }
  return 0;
}

std::vector<std::string> Children(const std::string& path) {
  std::vector<std::string> names;
  struct stat st;
  // kernfs counts a link for each directory below.
  if (stat(path.c_str(), &st) != 0 || st.st_nlink == 2) return names;
  const std::unique_ptr<DIR, DirCloser> dir(opendir(path.c_str()));
  if (dir == nullptr) return names;
  while (const dirent* entry = readdir(dir.get())) {
    const absl::string_view name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

absl::Status CollectPids(const std::string& path, std::vector<pid_t>* pids) { return Collect(path, 0, pids); }

void Pause(int milliseconds) { poll(nullptr, 0, milliseconds); }

}  // namespace gantry::cgroup::internal
