#include "runtime/linux/resctrl.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::linux {
namespace {

constexpr size_t kMaxMountInfo = 64 << 20;
constexpr size_t kMaxSchemata = 1 << 20;

std::string GroupPath(const std::string& root, const std::string& group) {
  return group.empty() ? root : absl::StrCat(root, "/", group);
}

std::string MonitorPath(const std::string& path, const std::string& monitor) {
  return absl::StrCat(path, "/mon_groups/", monitor);
}

// A value of one domain: hexadecimal for masks, decimal for bandwidths. Leading zeros do not count.
std::string Plain(absl::string_view value) {
  value = absl::StripAsciiWhitespace(value);
  while (value.size() > 1 && value[0] == '0') value.remove_prefix(1);
  return absl::AsciiStrToLower(value);
}

// "0=7f0;1=1f"
std::map<std::string, std::string> Domains(absl::string_view text) {
  std::map<std::string, std::string> domains;
  for (absl::string_view part : absl::StrSplit(text, ';', absl::SkipWhitespace())) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    domains[Plain(pair.first)] = Plain(pair.second);
  }
  return domains;
}

// mkdir, and what its failure means here.
absl::Status MakeGroup(const std::string& path, std::vector<std::string>* made) {
  if (mkdir(path.c_str(), 0755) == 0) {
    made->push_back(path);
    return absl::OkStatus();
  }
  absl::Status status = sys::ErrnoStatus("mkdir", path);
  if (sys::ErrnoOf(status) == ENOSPC) {
    return absl::ResourceExhaustedError(absl::StrCat("linux.intelRdt: no group is left for ", path,
                                                     ": the CPU has only so many; remove others"));
  }
  return sys::Annotate(status, "linux.intelRdt");
}

absl::Status WriteSchemata(const std::string& root, const std::string& path,
                           const std::vector<std::string>& lines) {
  const std::string text = absl::StrCat(absl::StrJoin(lines, "\n"), "\n");
  absl::Status status = sys::WriteControlFile(AT_FDCWD, absl::StrCat(path, "/schemata"), text);
  if (status.ok()) return status;
  // The kernel says there what it disliked.
  auto why = sys::ReadFileAt(AT_FDCWD, absl::StrCat(root, "/info/last_cmd_status"), kMaxSchemata);
  const absl::string_view words = why.ok() ? absl::StripAsciiWhitespace(*why) : absl::string_view();
  return sys::Annotate(status, absl::StrCat("linux.intelRdt.schemata \"", absl::StrJoin(lines, ", "), "\"",
                                            words.empty() ? "" : ": ", words));
}

absl::Status CheckSchemata(const std::string& path, const std::vector<std::string>& lines) {
  if (lines.empty()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(const std::string schemata,
                          sys::ReadFileAt(AT_FDCWD, absl::StrCat(path, "/schemata"), kMaxSchemata));
  for (const std::string& line : lines) {
    if (SchemataHold(schemata, line)) continue;
    return absl::FailedPreconditionError(absl::StrCat("linux.intelRdt: the class of service ", path,
                                                      " exists and does not have \"", line,
                                                      "\": ask for what it has, or for another closID"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> FindResctrl(absl::string_view mountinfo) {
  // mountinfo: id parent major:minor root MOUNT-POINT options fields - TYPE source options
  for (absl::string_view line : absl::StrSplit(mountinfo, '\n', absl::SkipEmpty())) {
    const size_t dash = line.find(" - ");
    if (dash == absl::string_view::npos || !absl::StartsWith(line.substr(dash + 3), "resctrl ")) continue;
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
    if (fields.size() > 4 && fields[3] == "/") return std::string(fields[4]);
  }
  return absl::FailedPreconditionError(
      "linux.intelRdt: no resctrl file system is mounted: this CPU or kernel has no resource control, or it "
      "has to "
      "be mounted first (mount -t resctrl resctrl /sys/fs/resctrl)");
}

absl::StatusOr<std::string> FindResctrl() {
  GANTRY_ASSIGN_OR_RETURN(const std::string text,
                          sys::ReadFileAt(AT_FDCWD, "/proc/self/mountinfo", kMaxMountInfo));
  return FindResctrl(text);
}

bool SchemataHold(absl::string_view schemata, absl::string_view line) {
  const std::pair<absl::string_view, absl::string_view> wanted =
      absl::StrSplit(line, absl::MaxSplits(':', 1));
  for (absl::string_view there : absl::StrSplit(schemata, '\n', absl::SkipWhitespace())) {
    const std::pair<absl::string_view, absl::string_view> has =
        absl::StrSplit(there, absl::MaxSplits(':', 1));
    if (absl::StripAsciiWhitespace(has.first) != absl::StripAsciiWhitespace(wanted.first)) continue;
    const std::map<std::string, std::string> domains = Domains(has.second);
    for (const auto& [domain, value] : Domains(wanted.second)) {
      const auto found = domains.find(domain);
      if (found == domains.end() || found->second != value) return false;
    }
    return true;
  }
  return false;
}

absl::Status OpenResctrlGroup(const std::string& root, const plan::OpenResctrlGroup& op,
                              std::vector<std::string>* made) {
  const std::string path = GroupPath(root, op.group);
  struct stat st;
  const bool existed = stat(path.c_str(), &st) == 0;
  if (existed && op.exclusive) {
    return absl::AlreadyExistsError(
        absl::StrCat("linux.intelRdt: ", path,
                     " exists already: it is the container's own by its id; remove it, or "
                     "name a closID"));
  }
  if (existed) {
    GANTRY_RETURN_IF_ERROR(CheckSchemata(path, op.must_hold));
    if (!op.schemata.empty()) GANTRY_RETURN_IF_ERROR(WriteSchemata(root, path, op.schemata));
  } else if (!op.create) {
    return absl::FailedPreconditionError(
        absl::StrCat("linux.intelRdt.closID: there is no class of service ", path,
                     ": make it first, or say what it is to have (schemata)"));
  } else {
    GANTRY_RETURN_IF_ERROR(MakeGroup(path, made));
    std::vector<std::string> lines = op.must_hold;
    lines.insert(lines.end(), op.schemata.begin(), op.schemata.end());
    if (!lines.empty()) GANTRY_RETURN_IF_ERROR(WriteSchemata(root, path, lines));
  }
  return op.monitor.empty() ? absl::OkStatus() : MakeGroup(MonitorPath(path, op.monitor), made);
}

absl::Status JoinResctrlGroup(const std::string& root, const plan::JoinResctrlGroup& op, pid_t pid) {
  std::string path = GroupPath(root, op.group);
  const std::string text = absl::StrCat(pid);
  GANTRY_RETURN_IF_ERROR(sys::WriteControlFile(AT_FDCWD, absl::StrCat(path, "/tasks"), text));
  if (op.monitor.empty()) return absl::OkStatus();
  return sys::WriteControlFile(AT_FDCWD, absl::StrCat(MonitorPath(path, op.monitor), "/tasks"), text);
}

absl::Status RemoveResctrlGroups(const std::vector<std::string>& made) {
  absl::Status result;
  for (size_t i = made.size(); i-- > 0;) {
    if (rmdir(made[i].c_str()) != 0 && errno != ENOENT) result.Update(sys::ErrnoStatus("rmdir", made[i]));
  }
  return result;
}

}  // namespace gantry::linux
