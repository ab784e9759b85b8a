#include "daemon/wiring/directories.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::wiring {
namespace {

constexpr size_t kUuidLength = 36;
constexpr size_t kSmallFile = 256;
// From the death of a daemon to that of what it was about to become a shim: on a busy machine.
constexpr absl::Duration kHeirs = absl::Seconds(10);
constexpr int kLookAgainMs = 5;

bool IsUuid(absl::string_view text) {
  if (text.size() != kUuidLength) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !absl::ascii_isxdigit(static_cast<unsigned char>(text[i]))) return false;
  }
  return true;
}

absl::StatusOr<std::string> MakeUuid() {
  unsigned char bytes[16];
  if (getrandom(bytes, sizeof(bytes), 0) != static_cast<ssize_t>(sizeof(bytes))) {
    return sys::ErrnoStatus("getrandom", "");
  }
  bytes[6] = (bytes[6] & 0x0f) | 0x40;  // version 4, RFC 4122 section 4.4
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const std::string hex =
      absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(bytes), sizeof(bytes)));
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-", hex.substr(16, 4),
                      "-", hex.substr(20));
}

// The pid in the lock's file, or 0.
pid_t HolderOf(int file) {
  char text[kSmallFile];
  const ssize_t size = pread(file, text, sizeof(text), 0);
  pid_t pid = 0;
  const absl::string_view number(text, size > 0 ? static_cast<size_t>(size) : 0);
  return absl::SimpleAtoi(absl::StripAsciiWhitespace(number), &pid) ? pid : 0;
}

// 0, or an errno. A daemon that was killed while it spawned a shim is survived, for a moment, by a child that has not
// come to its execve and has the descriptor still: a lock whose holder is dead will be free soon.
int TakeLock(int file) {
  const sys::Deadline deadline = sys::Deadline::After(kHeirs);
  while (flock(file, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno;
    const pid_t holder = HolderOf(file);
    if (holder <= 0 || kill(holder, 0) == 0 || errno != ESRCH || deadline.Passed()) return EWOULDBLOCK;
    poll(nullptr, 0, kLookAgainMs);
  }
  return 0;
}

}  // namespace

absl::StatusOr<DirectoryLock> DirectoryLock::Acquire(absl::string_view what, const std::string& path,
                                                     mode_t mode) {
  GANTRY_RETURN_IF_ERROR(sys::Annotate(sys::MkdirAll(path, mode), absl::StrCat("cannot make the ", what)));
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd directory, sys::OpenAt(AT_FDCWD, path, O_DIRECTORY | O_RDONLY));
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd file,
                          sys::OpenAt(directory.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (const int error = TakeLock(file.get()); error == EWOULDBLOCK) {
    const pid_t holder = HolderOf(file.get());
    return absl::FailedPreconditionError(absl::StrCat("the ", what, " directory ", path,
                                                      " belongs to a running daemon (pid ",
                                                      holder > 0 ? absl::StrCat(holder) : "unknown",
                                                      "): stop that one, or give this one another --", what));
  } else if (error != 0) {
    return sys::ErrnoStatus("flock", absl::StrCat(path, "/lock"), error);
  }
  if (fchmod(directory.get(), mode) != 0) return sys::ErrnoStatus("chmod", path);
  if (ftruncate(file.get(), 0) != 0) return sys::ErrnoStatus("ftruncate", absl::StrCat(path, "/lock"));
  GANTRY_RETURN_IF_ERROR(sys::WriteAll(file.get(), absl::StrCat(getpid(), "\n")));
  return DirectoryLock(std::move(file));
}

absl::StatusOr<std::string> LoadUuid(const std::string& root) {
  const std::string path = absl::StrCat(root, "/uuid");
  absl::StatusOr<std::string> text = sys::ReadFileAt(AT_FDCWD, path, kSmallFile, O_NOFOLLOW);
  if (text.ok()) {
    const std::string uuid(absl::StripAsciiWhitespace(*text));
    if (IsUuid(uuid)) return uuid;
    return absl::DataLossError(absl::StrCat(path, " holds no uuid; remove the file to get a new one"));
  }
  if (!absl::IsNotFound(text.status())) return text.status();
  GANTRY_ASSIGN_OR_RETURN(std::string uuid, MakeUuid());
  GANTRY_RETURN_IF_ERROR(sys::WriteFileAtomic(AT_FDCWD, path, uuid, 0600, sys::Durability::kSynced));
  return uuid;
}

}  // namespace gantry::wiring
