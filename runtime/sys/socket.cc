#include "runtime/sys/socket.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

// A sockaddr_un for `path`, which may be longer than sun_path: then through a descriptor of its directory.
struct Address {
  struct sockaddr_un address = {};
  socklen_t size = 0;
  UniqueFd directory;
};

absl::StatusOr<Address> MakeAddress(const std::string& path) {
  Address result;
  result.address.sun_family = AF_UNIX;
  std::string name = path;
  if (path.empty() || path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("a socket's path must not be empty or hold a zero byte");
  }
  if (name.size() >= sizeof result.address.sun_path) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ErrnoStatus("socket", path, ENAMETOOLONG);
    GANTRY_ASSIGN_OR_RETURN(result.directory,
                            OpenAt(AT_FDCWD, path.substr(0, slash + 1), O_PATH | O_DIRECTORY));
    name = absl::StrCat("/proc/self/fd/", result.directory.get(), path.substr(slash));
    if (name.size() >= sizeof result.address.sun_path) return ErrnoStatus("socket", path, ENAMETOOLONG);
  }
  memcpy(result.address.sun_path, name.data(), name.size());
  result.size = static_cast<socklen_t>(offsetof(struct sockaddr_un, sun_path) + name.size() + 1);
  return result;
}

}  // namespace

absl::StatusOr<SocketPair> MakeSocketPair(int type) {
  int fds[2];
  if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) != 0) return ErrnoStatus("socketpair", "");
  return SocketPair{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

absl::StatusOr<UniqueFd> ListenUnix(const std::string& path, int type, mode_t mode, int backlog) {
  GANTRY_ASSIGN_OR_RETURN(Address address, MakeAddress(path));
  UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoStatus("socket", path);
  // bind(2) gives the file the mode of the socket's own inode, less the umask: nothing is ever open wider than
  // asked for. What the umask took away is added before anyone can connect.
  if (fchmod(fd.get(), mode) != 0) return ErrnoStatus("fchmod", path);
  if (bind(fd.get(), reinterpret_cast<struct sockaddr*>(&address.address), address.size) != 0) {
    return ErrnoStatus("bind", path);
  }
  absl::Status status;
  if (chmod(path.c_str(), mode) != 0) {
    status = ErrnoStatus("chmod", path);
  } else if (listen(fd.get(), backlog) != 0) {
    status = ErrnoStatus("listen", path);
  }
  if (!status.ok()) {
    unlink(path.c_str());
    return status;
  }
  return fd;
}

absl::StatusOr<UniqueFd> ConnectUnix(const std::string& path, int type) {
  GANTRY_ASSIGN_OR_RETURN(Address address, MakeAddress(path));
  UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoStatus("socket", path);
  int result;
  do {
    result = connect(fd.get(), reinterpret_cast<struct sockaddr*>(&address.address), address.size);
  } while (result != 0 && errno == EINTR);
  if (result != 0) return ErrnoStatus("connect", path);
  return fd;
}

absl::StatusOr<PeerCredentials> PeerOf(int socket) {
  struct ucred credentials;
  socklen_t size = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return ErrnoStatus("getsockopt", "SO_PEERCRED");
  }
  return PeerCredentials{credentials.pid, credentials.uid, credentials.gid};
}

absl::Status SendWithFds(int socket, absl::string_view data, const std::vector<int>& fds) {
  if (data.empty()) return absl::InvalidArgumentError("a message with descriptors needs a byte of data");
  if (fds.size() > kMaxFdsPerMessage)
    return absl::InvalidArgumentError("too many descriptors in one message");
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFdsPerMessage)] = {};
  struct iovec part = {const_cast<char*>(data.data()), data.size()};
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
  }
  ssize_t n;
  do {
    n = sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoStatus("sendmsg", "");
  // The descriptors went with the first byte; of a stream socket the rest may have to follow.
  data.remove_prefix(static_cast<size_t>(n));
  while (!data.empty()) {
    n = send(socket, data.data(), data.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("send", "");
    data.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::StatusOr<ReceivedMessage> ReceiveWithFds(int socket, size_t limit_bytes) {
  ReceivedMessage result;
  result.data.resize(limit_bytes);
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFdsPerMessage)];
  struct iovec part = {result.data.data(), result.data.size()};
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do {
    n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoStatus("recvmsg", "");
  for (struct cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      result.fds.emplace_back(fd);
    }
  }
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("a message of more than ", limit_bytes, " bytes or ",
                                                     kMaxFdsPerMessage, " descriptors"));
  }
  result.data.resize(static_cast<size_t>(n));
  return result;
}

}  // namespace gantry::sys
