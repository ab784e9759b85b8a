#include "shim/bootstrap/socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/sha256.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

constexpr int kBacklog = 64;

// Go's filepath.Clean of a joined path: both sides must hash the same text.
std::string CleanPath(absl::string_view path) {
  std::vector<absl::string_view> parts;
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    if (part == ".." && !parts.empty() && parts.back() != "..") {
      parts.pop_back();
    } else if (part != ".." || path[0] != '/') {
      parts.push_back(part);
    }
  }
  return absl::StrCat(path[0] == '/' ? "/" : "", absl::StrJoin(parts, "/"));
}

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("socket path ", path, " has ", path.size(),
                                                   " bytes, the kernel takes ",
                                                   sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

bool Answers(const sockaddr_un& address) {
  sys::UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return probe.valid() &&
         (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ||
          errno == EAGAIN);
}

// Nobody listens at `path`: what is there is left over from a shim that was killed.
absl::Status RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) return absl::OkStatus();
  if (!S_ISSOCK(info.st_mode)) {
    return absl::AlreadyExistsError(absl::StrCat(path, " exists and is no socket; it is left alone"));
  }
  if (Answers(address)) return absl::AlreadyExistsError(absl::StrCat("a shim serves ", path, " already"));
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return sys::ErrnoStatus("unlink", path);
  return absl::OkStatus();
}

}  // namespace

std::string SocketPath(absl::string_view directory, absl::string_view grpc_address,
                       absl::string_view namespace_name, absl::string_view group) {
  const std::string joined = grpc_address.empty()
                                 ? absl::StrCat(namespace_name, "/", group)
                                 : absl::StrCat(grpc_address, "/", namespace_name, "/", group);
  return absl::StrCat(directory, "/", sys::Sha256Hex(CleanPath(joined)));
}

bool IsServed(const std::string& path) {
  const absl::StatusOr<sockaddr_un> address = AddressOf(path);
  return address.ok() && Answers(*address);
}

absl::StatusOr<sys::UniqueFd> ListenAt(const std::string& path) {
  GANTRY_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  const size_t slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) {
    GANTRY_RETURN_IF_ERROR(sys::MkdirAll(path.substr(0, slash), 0700));
  }
  sys::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return sys::ErrnoStatus("socket", "");
  // The mode that a bound socket's file gets: no moment in which others could connect. Ignored by kernels
  // that take the umask alone, hence the directory's 0700 and the chmod.
  if (fchmod(fd.get(), 0600) != 0) return sys::ErrnoStatus("fchmod", path);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (bind(fd.get(), generic, sizeof(address)) != 0) {
    if (errno != EADDRINUSE) return sys::ErrnoStatus("bind", path);
    GANTRY_RETURN_IF_ERROR(RemoveStale(path, address));
    if (bind(fd.get(), generic, sizeof(address)) != 0) return sys::ErrnoStatus("bind", path);
  }
  if (chmod(path.c_str(), 0600) != 0 || listen(fd.get(), kBacklog) != 0) {
    absl::Status status = sys::ErrnoStatus("listen", path);
    unlink(path.c_str());
    return status;
  }
  return fd;
}

}  // namespace gantry::shim
