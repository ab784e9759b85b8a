#include "daemon/server/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/log.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::server {
namespace {

// How long to leave waiting clients in the backlog when descriptors have run out.
constexpr absl::Duration kPause = absl::Milliseconds(100);
// Connections taken in one turn of the loop, so that a flood of them does not starve the rest.
constexpr int kMostPerTurn = 64;

absl::Status RemoveStale(const std::string& path) {
  struct stat st;
  if (lstat(path.c_str(), &st) != 0) {
    return errno == ENOENT ? absl::OkStatus() : sys::ErrnoStatus("lstat", path);
  }
  if (!S_ISSOCK(st.st_mode)) {
    return absl::AlreadyExistsError(absl::StrCat(
        "cannot listen at ", path, ": it exists and is no socket; remove it or choose another address"));
  }
  absl::StatusOr<sys::UniqueFd> probe = sys::ConnectUnix(path, SOCK_STREAM | SOCK_NONBLOCK);
  if (probe.ok() || sys::ErrnoOf(probe.status()) == EAGAIN) {
    absl::StatusOr<sys::PeerCredentials> peer =
        probe.ok() ? sys::PeerOf(probe->get()) : absl::StatusOr<sys::PeerCredentials>(probe.status());
    return absl::AlreadyExistsError(absl::StrCat(
        "cannot listen at ", path, ": a running process serves this socket",
        peer.ok() ? absl::StrCat(" (pid ", peer->pid, ")") : "", "; stop it or choose another address"));
  }
  if (sys::ErrnoOf(probe.status()) != ECONNREFUSED) return probe.status();
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return sys::ErrnoStatus("unlink", path);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<sys::UniqueFd> ListenAt(const ListenOptions& options) {
  const size_t slash = options.path.rfind('/');
  if (slash != std::string::npos && slash > 0) {
    GANTRY_RETURN_IF_ERROR(sys::MkdirAll(options.path.substr(0, slash), 0711));
  }
  GANTRY_RETURN_IF_ERROR(RemoveStale(options.path));
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd socket, sys::ListenUnix(options.path, SOCK_STREAM | SOCK_NONBLOCK,
                                                                options.mode, /*backlog=*/1024));
  if ((options.uid != geteuid() || options.gid != getegid()) &&
      chown(options.path.c_str(), options.uid, options.gid) != 0) {
    absl::Status status = sys::ErrnoStatus("chown", options.path);
    unlink(options.path.c_str());
    return status;
  }
  return socket;
}

Listener::Listener(sys::EventLoop* loop, sys::UniqueFd socket, std::string path)
    : loop_(loop), socket_(std::move(socket)), path_(std::move(path)) {}

Listener::~Listener() {
  loop_->Remove(socket_.get());
  if (paused_ != 0) loop_->Cancel(paused_);
  if (!path_.empty()) unlink(path_.c_str());
}

absl::Status Listener::Start(OnConnection on_connection) {
  on_connection_ = std::move(on_connection);
  return loop_->Add(socket_.get(), EPOLLIN, [this](uint32_t) { Accept(); });
}

void Listener::Accept() {
  for (int i = 0; i < kMostPerTurn; ++i) {
    sys::UniqueFd connection(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (connection.valid()) {
      on_connection_(std::move(connection));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      log::Warn("out of descriptors: new connections wait", {{"address", path_}});
      Pause();
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;  // EAGAIN: none left
    }
  }
}

void Listener::Pause() {
  loop_->Remove(socket_.get());
  paused_ = loop_->RunAfter(kPause, [this] {
    paused_ = 0;
    const absl::Status status = loop_->Add(socket_.get(), EPOLLIN, [this](uint32_t) { Accept(); });
    if (!status.ok()) log::Error("cannot listen any more", {{"error", status.ToString()}});
  });
}

}  // namespace gantry::server
