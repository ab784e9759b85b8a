#include "shim/builder/program.h"

#include <fcntl.h>
#include <rapidjson/document.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/spawn.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

constexpr size_t kMaxLogBytes = 1 << 20;
constexpr size_t kMaxWordsBytes = 4096;

absl::StatusOr<sys::UniqueFd> MemoryFile(absl::string_view text) {
  sys::UniqueFd file(memfd_create("gantry-runtime", MFD_CLOEXEC));
  if (!file) return sys::ErrnoStatus("memfd_create", "");
  GANTRY_RETURN_IF_ERROR(sys::WriteAll(file.get(), text));
  if (lseek(file.get(), 0, SEEK_SET) != 0) return sys::ErrnoStatus("lseek", "memfd");
  return file;
}

// What was written to the memory file `fd`, up to a limit.
std::string Words(int fd) {
  std::string text(kMaxWordsBytes, '\0');
  const ssize_t size = fd < 0 ? 0 : pread(fd, text.data(), text.size(), 0);
  text.resize(size > 0 ? static_cast<size_t>(size) : 0);
  return std::string(absl::StripAsciiWhitespace(text));
}

std::vector<std::string> Environment() {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  return environment;
}

std::vector<std::string> Arguments(const EngineOptions& options, const ProgramCall& call,
                                   const std::string& log) {
  std::vector<std::string> argv = {options.program, "--root", options.root, "--log", log,
                                   "--log-format",  "json"};
  if (options.systemd_cgroup) argv.push_back("--systemd-cgroup");
  argv.insert(argv.end(), call.arguments.begin(), call.arguments.end());
  return argv;
}

absl::Status Failure(const EngineOptions& options, const sys::ExitStatus& status, const std::string& log,
                     const std::string& words) {
  const absl::StatusOr<std::string> text = sys::ReadFileAt(AT_FDCWD, log, kMaxLogBytes);
  std::string error = text.ok() ? LastLoggedError(*text) : "";
  if (error.empty()) error = words;
  if (!error.empty()) return absl::UnknownError(error);
  return absl::UnknownError(absl::StrCat(options.program, " failed with ",
                                         status.signaled ? "signal " : "status ", status.value,
                                         " and told no reason"));
}

}  // namespace

std::string LastLoggedError(absl::string_view log) {
  std::string last;
  for (absl::string_view line : absl::StrSplit(log, '\n', absl::SkipEmpty())) {
    rapidjson::Document entry;
    entry.Parse<rapidjson::kParseIterativeFlag>(line.data(), line.size());
    if (entry.HasParseError() || !entry.IsObject()) continue;
    const auto level = entry.FindMember("level");
    const auto message = entry.FindMember("msg");
    if (level == entry.MemberEnd() || message == entry.MemberEnd() || !level->value.IsString() ||
        !message->value.IsString()) {
      continue;
    }
    const absl::string_view word = level->value.GetString();
    if (word == "error" || word == "fatal") last = message->value.GetString();
  }
  return last;
}

absl::StatusOr<std::string> FindRuntime(const std::string& program) {
  if (absl::StrContains(program, '/')) return program;
  const char* const path = getenv("PATH");
  for (absl::string_view directory :
       absl::StrSplit(absl::StrCat(path == nullptr ? "" : path, ":/usr/local/sbin:/usr/sbin:/sbin"), ':')) {
    if (directory.empty() || directory[0] != '/') continue;
    std::string candidate = absl::StrCat(directory, "/", program);
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return absl::NotFoundError(absl::StrCat("binary_name \"", program,
                                          "\": no directory of PATH has such a program; install it, or give "
                                          "its absolute path"));
}

absl::Status RunProgram(const EngineOptions& options, const ProgramCall& call) {
  const std::string log = absl::StrCat(call.bundle, "/runtime-", getpid(), ".json");
  const absl::Cleanup remove = [&log] { unlink(log.c_str()); };
  sys::SpawnOptions spawn;
  GANTRY_ASSIGN_OR_RETURN(spawn.path, FindRuntime(options.program));
  spawn.argv = Arguments(options, call, log);
  spawn.env = Environment();
  spawn.cwd = call.bundle;
  sys::UniqueFd input, words;
  if (call.stdio != nullptr) {
    const int streams[] = {call.stdio->in, call.stdio->out, call.stdio->err};
    for (int number = 0; number < 3; ++number) {
      if (streams[number] >= 0) spawn.fds.emplace_back(streams[number], number);
    }
  } else {
    GANTRY_ASSIGN_OR_RETURN(input, MemoryFile(call.input));
    GANTRY_ASSIGN_OR_RETURN(words, MemoryFile(""));
    spawn.fds = {{input.get(), 0}, {words.get(), 1}, {words.get(), 2}};
  }
  GANTRY_ASSIGN_OR_RETURN(const sys::Spawned spawned, sys::Spawn(spawn));
  GANTRY_ASSIGN_OR_RETURN(const std::optional<sys::ExitStatus> status,
                          spawned.pidfd.Reap(sys::PidFd::Block::kWait));
  if (status->Code() == 0) return absl::OkStatus();
  return Failure(options, *status, log, Words(words.get()));
}

}  // namespace gantry::shim
