#include "cmd/gantry/run/users.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

constexpr uint32_t kMaxId = 0x7FFFFFFF;

bool LooksNumeric(absl::string_view text) {
  return !text.empty() && (absl::ascii_isdigit(text[0]) || text[0] == '-' || text[0] == '+');
}

absl::StatusOr<uint32_t> ParseId(absl::string_view text, absl::string_view what) {
  const bool digits = !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
  uint32_t id = 0;
  if (digits && absl::SimpleAtoi(text, &id) && id <= kMaxId) return id;
  return absl::InvalidArgumentError(
      absl::StrCat("the ", what, " \"", text, "\" is no number from 0 to ", kMaxId));
}

// A number inside a file: a line with a wrong one is skipped, as getpwent(3) does.
std::optional<uint32_t> IdIn(absl::string_view field) {
  uint32_t id = 0;
  if (!absl::SimpleAtoi(field, &id) || id > kMaxId) return std::nullopt;
  return id;
}

struct Entry {
  std::string name;
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::string home;
};

// The primary group belongs into the supplementary set as well: a process that gives up its primary group must
// not lose, nor one that a file's mode excludes gain, by it (CVE-2023-25173).
void AddPrimaryGroup(oci::User* user) {
  auto& gids = user->additional_gids;
  gids.erase(std::remove(gids.begin(), gids.end(), user->gid), gids.end());
  gids.insert(gids.begin(), user->gid);
}

// The first line of passwd that has the name, or (with no name) the number.
std::optional<Entry> FindUser(absl::string_view passwd, absl::string_view name, uint32_t uid) {
  for (const absl::string_view line : absl::StrSplit(passwd, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ':');
    if (fields.size() < 4 || fields[0].empty()) continue;
    const auto line_uid = IdIn(fields[2]);
    const auto line_gid = IdIn(fields[3]);
    if (!line_uid || !line_gid) continue;
    if (name.empty() ? *line_uid != uid : fields[0] != name) continue;
    return Entry{.name = std::string(fields[0]),
                 .uid = *line_uid,
                 .gid = *line_gid,
                 .home = fields.size() > 5 ? std::string(fields[5]) : ""};
  }
  return std::nullopt;
}

std::optional<uint32_t> FindGroup(absl::string_view group, absl::string_view name) {
  for (const absl::string_view line : absl::StrSplit(group, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ':');
    if (fields.size() >= 3 && fields[0] == name) return IdIn(fields[2]);
  }
  return std::nullopt;
}

std::vector<uint32_t> GroupsOf(absl::string_view group, absl::string_view user) {
  std::vector<uint32_t> gids;
  for (const absl::string_view line : absl::StrSplit(group, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ':');
    if (fields.size() < 4) continue;
    const std::vector<absl::string_view> members = absl::StrSplit(fields[3], ',');
    if (std::find(members.begin(), members.end(), user) == members.end()) continue;
    if (const auto gid = IdIn(fields[2])) gids.push_back(*gid);
  }
  std::sort(gids.begin(), gids.end());
  gids.erase(std::unique(gids.begin(), gids.end()), gids.end());
  return gids;
}

absl::StatusOr<ResolvedUser> Resolve(absl::string_view typed, absl::string_view passwd,
                                     absl::string_view group) {
  const std::vector<absl::string_view> parts = absl::StrSplit(typed, absl::MaxSplits(':', 1));
  const absl::string_view user = parts[0].empty() ? "0" : parts[0];
  const bool with_group = parts.size() == 2 && !parts[1].empty();
  ResolvedUser out;
  std::optional<Entry> entry;
  if (LooksNumeric(user)) {
    GANTRY_ASSIGN_OR_RETURN(out.user.uid, ParseId(user, "user"));
    entry = FindUser(passwd, "", out.user.uid);
  } else {
    entry = FindUser(passwd, user, 0);
    if (!entry) {
      return absl::InvalidArgumentError(
          absl::StrCat("the image's /etc/passwd has no user \"", user, "\"; a number would work without it"));
    }
    out.user.uid = entry->uid;
  }
  if (entry && !entry->home.empty()) out.home = entry->home;
  if (!with_group) {
    if (entry) {
      out.user.gid = entry->gid;
      out.user.additional_gids = GroupsOf(group, entry->name);
    }
    return out;
  }
  if (LooksNumeric(parts[1])) {
    GANTRY_ASSIGN_OR_RETURN(out.user.gid, ParseId(parts[1], "group"));
    return out;
  }
  const std::optional<uint32_t> gid = FindGroup(group, parts[1]);
  if (!gid) {
    return absl::InvalidArgumentError(absl::StrCat("the image's /etc/group has no group \"", parts[1],
                                                   "\"; a number would work without it"));
  }
  out.user.gid = *gid;
  return out;
}

}  // namespace

absl::StatusOr<ResolvedUser> ResolveUser(absl::string_view typed, absl::string_view passwd,
                                         absl::string_view group) {
  absl::StatusOr<ResolvedUser> resolved = Resolve(typed, passwd, group);
  if (resolved.ok()) AddPrimaryGroup(&resolved->user);
  return resolved;
}

}  // namespace gantry::cli
