// state, list and ps.
#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "cmd/gantry-oci/context.h"
#include "runtime/oci/json_writer.h"
#include "runtime/sys/file.h"
#include "runtime/sys/spawn.h"
#include "runtime/sys/status.h"

namespace gantry::oci_cli {
namespace {

// Names of users are not looked up: in a static program that would load libraries.
std::string OwnerOf(const Loaded& container) {
  struct stat st;
  if (stat(container.dir.path().c_str(), &st) != 0) return "";
  return st.st_uid == 0 ? "root" : absl::StrCat("#", st.st_uid);
}

int PidOf(const Loaded& container) {
  return container.status == oci::Status::kStopped ? 0 : container.saved.pid;
}

void WriteContainer(oci::JsonWriter* json, const Loaded& container) {
  json->StartObject();
  json->Member("ociVersion", container.saved.oci_version);
  json->Member("id", container.saved.id);
  json->Member("pid", PidOf(container));
  json->Member("status", oci::StatusName(container.status));
  json->Member("bundle", container.saved.bundle);
  json->Member("rootfs", container.saved.rootfs);
  json->Member("created", container.saved.created);
  json->Some("annotations", container.saved.annotations);
  json->Member("owner", OwnerOf(container));
  json->EndObject();
}

using Rows = std::vector<std::vector<std::string>>;

// Columns as wide as their widest cell; the last one is not filled up.
std::string Table(const Rows& rows) {
  constexpr size_t kGap = 3;
  std::vector<size_t> widths(rows[0].size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&text, row[i]);
      if (i + 1 < row.size()) text.append(widths[i] + kGap - row[i].size(), ' ');
    }
    text.push_back('\n');
  }
  return text;
}

absl::Status CheckFormat(const std::string& format) {
  if (format.empty() || format == "table" || format == "json") return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--format \"", format, "\": must be table or json"));
}

// One line of `ps -ef`: UID PID PPID STIME TIME CMD, from /proc.
std::vector<std::string> ProcessRow(pid_t pid) {
  constexpr size_t kLimit = 1 << 20;
  auto stat_text = sys::ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", pid, "/stat"), kLimit);
  if (!stat_text.ok()) return {};  // it has ended
  const size_t paren = stat_text->rfind(')');
  if (paren == std::string::npos) return {};
  const std::vector<std::string> fields = absl::StrSplit(stat_text->substr(paren + 2), ' ');
  constexpr size_t kPpid = 1, kUtime = 11, kStime = 12;
  uint64_t utime = 0, stime = 0;
  if (fields.size() <= kStime || !absl::SimpleAtoi(fields[kUtime], &utime) ||
      !absl::SimpleAtoi(fields[kStime], &stime)) {
    return {};
  }
  struct stat st = {};
  stat(absl::StrCat("/proc/", pid).c_str(), &st);
  std::string command =
      sys::ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", pid, "/cmdline"), kLimit).value_or("");
  std::replace(command.begin(), command.end(), '\0', ' ');
  std::replace(command.begin(), command.end(), '\n', ' ');
  while (!command.empty() && command.back() == ' ') command.pop_back();
  if (command.empty()) {
    command =
        absl::StrCat("[", stat_text->substr(stat_text->find('(') + 1, paren - stat_text->find('(') - 1), "]");
  }
  const uint64_t seconds = (utime + stime) / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  return {st.st_uid == 0 ? "root" : absl::StrCat(st.st_uid), absl::StrCat(pid), fields[kPpid],
          absl::StrFormat("%02d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60), command};
}

// The host's ps with the caller's options, of which only the lines of the container are shown.
absl::StatusOr<std::string> HostPs(const std::vector<std::string>& options, const std::vector<pid_t>& pids) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return sys::ErrnoStatus("pipe2", "");
  const sys::UniqueFd out(ends[0]);
  sys::UniqueFd in(ends[1]);
  sys::SpawnOptions spawn;
  spawn.path = "/bin/ps";
  spawn.argv = {"ps"};
  spawn.argv.insert(spawn.argv.end(), options.begin(), options.end());
  spawn.env = {"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"};
  spawn.fds = {{in.get(), 1}, {STDERR_FILENO, 2}};
  GANTRY_ASSIGN_OR_RETURN(const sys::Spawned ps, sys::Spawn(spawn));
  in.reset();
  constexpr size_t kLimit = 64 << 20;
  auto text = sys::ReadAll(out.get(), kLimit);
  GANTRY_ASSIGN_OR_RETURN(const auto status, ps.pidfd.Reap(sys::PidFd::Block::kWait));
  GANTRY_RETURN_IF_ERROR(text.status());
  if (status->Code() != 0) return absl::InternalError(absl::StrCat("ps: exit status ", status->Code()));
  const std::vector<absl::string_view> lines = absl::StrSplit(*text, '\n', absl::SkipEmpty());
  if (lines.empty()) return absl::InternalError("ps: printed nothing");
  const std::vector<absl::string_view> titles = absl::StrSplit(lines[0], ' ', absl::SkipEmpty());
  const size_t column = static_cast<size_t>(std::find(titles.begin(), titles.end(), "PID") - titles.begin());
  if (column == titles.size()) return absl::InvalidArgumentError("ps: these options print no PID column");
  std::string shown = absl::StrCat(lines[0], "\n");
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<absl::string_view> fields = absl::StrSplit(lines[i], ' ', absl::SkipEmpty());
    pid_t pid = 0;
    if (column < fields.size() && absl::SimpleAtoi(fields[column], &pid) &&
        std::find(pids.begin(), pids.end(), pid) != pids.end()) {
      absl::StrAppend(&shown, lines[i], "\n");
    }
  }
  return shown;
}

}  // namespace

Result State(const Context& context, const Arguments& arguments) {
  GANTRY_ASSIGN_OR_RETURN(const Loaded container, Load(context, arguments.positional()[0]));
  oci::JsonWriter json(true);
  WriteContainer(&json, container);
  GANTRY_RETURN_IF_ERROR(Print(json.Take() + "\n"));
  return 0;
}

Result List(const Context& context, const Arguments& arguments) {
  const std::string format = arguments.Get("format");
  GANTRY_RETURN_IF_ERROR(CheckFormat(format));
  GANTRY_ASSIGN_OR_RETURN(const std::vector<std::string> ids, container::StateDir::List(context.root));
  oci::JsonWriter json(false);
  json.StartArray();
  Rows rows = {{"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"}};
  std::string quiet;
  for (const std::string& id : ids) {
    auto container = Load(context, id);
    if (!container.ok()) {
      // One that is being made or removed at this moment is not listed; a broken one is told.
      if (!absl::IsNotFound(container.status())) context.Warn(container.status().message());
      continue;
    }
    absl::StrAppend(&quiet, id, "\n");
    rows.push_back({id, absl::StrCat(PidOf(*container)), std::string(oci::StatusName(container->status)),
                    container->saved.bundle, container->saved.created, OwnerOf(*container)});
    WriteContainer(&json, *container);
  }
  json.EndArray();
  GANTRY_RETURN_IF_ERROR(
      Print(arguments.Has("quiet") ? quiet : (format == "json" ? json.Take() + "\n" : Table(rows))));
  return 0;
}

Result Ps(const Context& context, const Arguments& arguments) {
  const std::string format = arguments.Get("format");
  GANTRY_RETURN_IF_ERROR(CheckFormat(format));
  const std::vector<std::string>& positional = arguments.positional();
  GANTRY_ASSIGN_OR_RETURN(const Loaded container, Load(context, positional[0]));
  GANTRY_ASSIGN_OR_RETURN(std::vector<pid_t> pids, container.group().Pids());
  // An ordinary user's container may have no cgroup.
  if (container.group().empty() && container.saved.pid > 0) pids.push_back(container.saved.pid);
  std::sort(pids.begin(), pids.end());
  if (format == "json") {
    GANTRY_RETURN_IF_ERROR(Print(absl::StrCat("[", absl::StrJoin(pids, ","), "]\n")));
    return 0;
  }
  if (positional.size() > 1) {
    GANTRY_ASSIGN_OR_RETURN(const std::string text,
                            HostPs(std::vector<std::string>(positional.begin() + 1, positional.end()), pids));
    GANTRY_RETURN_IF_ERROR(Print(text));
    return 0;
  }
  Rows rows = {{"UID", "PID", "PPID", "TIME", "CMD"}};
  for (const pid_t pid : pids) {
    std::vector<std::string> row = ProcessRow(pid);
    if (!row.empty()) rows.push_back(std::move(row));
  }
  GANTRY_RETURN_IF_ERROR(Print(Table(rows)));
  return 0;
}

}  // namespace gantry::oci_cli
