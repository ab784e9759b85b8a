#include "shim/task/exec_journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

constexpr char kFile[] = "/gantry-execs";
constexpr size_t kLong = 64 << 10;
constexpr size_t kMaxBytes = 16 << 20;

std::string Line(absl::string_view verb, const std::string& id, absl::string_view rest) {
  return absl::StrCat(verb, "\t", absl::CEscape(id), rest, "\n");
}

bool ParseStart(const std::vector<absl::string_view>& fields, ExecEntry* entry) {
  return fields.size() == 8 && absl::SimpleAtoi(fields[2], &entry->pid) &&
         absl::SimpleAtoi(fields[3], &entry->identity) &&
         absl::SimpleAtob(fields[4], &entry->stdio.terminal) &&
         absl::CUnescape(fields[5], &entry->stdio.in) && absl::CUnescape(fields[6], &entry->stdio.out) &&
         absl::CUnescape(fields[7], &entry->stdio.err);
}

void ParseLine(absl::string_view line, std::map<std::string, ExecEntry>* execs) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, '\t');
  std::string id;
  if (fields.size() < 2 || !absl::CUnescape(fields[1], &id)) return;
  if (fields[0] == "start") {
    ExecEntry entry;
    entry.id = id;
    if (ParseStart(fields, &entry)) (*execs)[id] = std::move(entry);
    return;
  }
  const auto it = execs->find(id);
  if (it == execs->end()) return;
  if (fields[0] == "exit" && fields.size() == 4) {
    ExitRecord exit;
    int64_t nanos = 0;
    if (!absl::SimpleAtoi(fields[2], &exit.status) || !absl::SimpleAtoi(fields[3], &nanos)) return;
    exit.pid = it->second.pid;
    exit.exited_at = absl::FromUnixNanos(nanos);
    it->second.exit = exit;
  } else if (fields[0] == "told") {
    it->second.told = true;
  } else if (fields[0] == "delete") {
    execs->erase(it);
  }
}

std::string StartLine(const ExecEntry& entry) {
  return Line("start", entry.id,
              absl::StrCat("\t", entry.pid, "\t", entry.identity, "\t", entry.stdio.terminal ? 1 : 0, "\t",
                           absl::CEscape(entry.stdio.in), "\t", absl::CEscape(entry.stdio.out), "\t",
                           absl::CEscape(entry.stdio.err)));
}

std::string ExitLine(const std::string& id, const ExitRecord& exit) {
  return Line("exit", id, absl::StrCat("\t", exit.status, "\t", absl::ToUnixNanos(exit.exited_at)));
}

}  // namespace

ExecJournal::ExecJournal(const std::string& bundle) : path_(bundle + kFile) {}

void ExecJournal::Started(const ExecEntry& entry) {
  lines_[entry.id] = "";
  Append(entry.id, StartLine(entry));
}

void ExecJournal::Exited(const std::string& id, const ExitRecord& exit) { Append(id, ExitLine(id, exit)); }

void ExecJournal::Told(const std::string& id) { Append(id, Line("told", id, "")); }

void ExecJournal::Deleted(const std::string& id) {
  Append(id, Line("delete", id, ""));
  lines_.erase(id);
  if (lines_.empty()) {
    if (file_.valid() && ftruncate(file_.get(), 0) == 0) bytes_ = 0;
  } else if (bytes_ > kLong) {
    Rewrite();
  }
}

void ExecJournal::Append(const std::string& id, const std::string& line) {
  const auto it = lines_.find(id);
  if (it == lines_.end()) return;
  it->second += line;
  Write(line);
}

void ExecJournal::Write(absl::string_view text) {
  if (!file_.valid()) {
    absl::StatusOr<sys::UniqueFd> file =
        sys::OpenAt(AT_FDCWD, path_, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0600);
    if (file.ok()) file_ = *std::move(file);
  }
  const absl::Status written = sys::WriteAll(file_.get(), text);
  if (written.ok()) {
    bytes_ += text.size();
  } else {
    log::Warn("another shim would not know this exec", {{"error", std::string(written.message())}});
  }
}

void ExecJournal::Rewrite() {
  std::string text;
  for (const auto& [id, lines] : lines_) text += lines;
  if (text.size() > bytes_ / 2) return;  // as many execs as that are there
  if (!sys::WriteFileAtomic(AT_FDCWD, path_, text, 0600, sys::Durability::kVolatile).ok()) return;
  file_.reset();
  bytes_ = text.size();
}

std::vector<ExecEntry> ExecJournal::TakeOver() {
  const absl::StatusOr<std::string> text = sys::ReadFileAt(AT_FDCWD, path_, kMaxBytes, O_NOFOLLOW);
  if (!text.ok()) return {};
  std::vector<ExecEntry> execs = Parse(*text);
  for (const ExecEntry& entry : execs) {
    lines_[entry.id] = absl::StrCat(StartLine(entry), entry.exit ? ExitLine(entry.id, *entry.exit) : "",
                                    entry.told ? Line("told", entry.id, "") : "");
  }
  // Also so that a line that was cut off does not spoil the next one.
  bytes_ = text->size();
  std::string whole;
  for (const auto& [id, lines] : lines_) whole += lines;
  if (sys::WriteFileAtomic(AT_FDCWD, path_, whole, 0600, sys::Durability::kVolatile).ok())
    bytes_ = whole.size();
  return execs;
}

std::vector<ExecEntry> ExecJournal::Parse(absl::string_view text) {
  std::map<std::string, ExecEntry> execs;
  while (true) {
    const size_t end = text.find('\n');
    if (end == absl::string_view::npos) break;
    ParseLine(text.substr(0, end), &execs);
    text.remove_prefix(end + 1);
  }
  std::vector<ExecEntry> list;
  for (auto& [id, entry] : execs) list.push_back(std::move(entry));
  return list;
}

}  // namespace gantry::shim
