#include "daemon/server/wire.h"

#include <dlfcn.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>

#include "absl/strings/string_view.h"
#include "daemon/server/frame_filter.h"

namespace gantry::server {
namespace {

using Receive = ssize_t (*)(int, msghdr*, int);
using Send = ssize_t (*)(int, const msghdr*, int);
using Close = int (*)(int);

// What ours stand in front of: the C library's, or a sanitizer's.
template <typename Function>
Function Next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}
Receive NextReceive() {
  static const Receive next = Next<Receive>("recvmsg");
  return next;
}
Send NextSend() {
  static const Send next = Next<Send>("sendmsg");
  return next;
}
Close NextClose() {
  static const Close next = Next<Close>("close");
  return next;
}

// gRPC reads on one thread at a time and writes on one, and closes when both have ended.
class Connection {
 public:
  explicit Connection(uint32_t max_message_bytes) : filter_(max_message_bytes) {}

  ssize_t Read(int fd, msghdr* message, int flags) {
    for (;;) {
      if (!filter_.ready().empty()) return HandOver(message);
      const ssize_t got = NextReceive()(fd, message, flags);
      if (got <= 0) return got;
      std::lock_guard<std::mutex> lock(mutex_);
      const size_t plain = Take(*message, static_cast<size_t>(got));
      const int error = errno;
      (void)Reply(fd);  // what does not fit now goes before gRPC's next write
      errno = error;
      if (plain > 0) return static_cast<ssize_t>(plain);
    }
  }

  ssize_t Write(int fd, const msghdr* message, int flags) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!Reply(fd)) return -1;
    const ssize_t sent = NextSend()(fd, message, flags);
    size_t left = sent > 0 ? static_cast<size_t>(sent) : 0;
    for (size_t i = 0; i < message->msg_iovlen && left > 0; ++i) {
      const size_t size = std::min(left, message->msg_iov[i].iov_len);
      filter_.Sent({static_cast<const char*>(message->msg_iov[i].iov_base), size});
      left -= size;
    }
    return sent;
  }

 private:
  // Through the filter; the number of bytes that are gRPC's as they are.
  size_t Take(const msghdr& message, size_t size) {
    size_t plain = 0;
    bool kept = false;
    for (size_t i = 0; i < message.msg_iovlen && size > 0; ++i) {
      const absl::string_view part(static_cast<const char*>(message.msg_iov[i].iov_base),
                                   std::min(size, message.msg_iov[i].iov_len));
      size -= part.size();
      if (kept) {
        filter_.Keep(part);
        continue;
      }
      const size_t passed = filter_.Received(part);
      plain += passed;
      kept = passed < part.size();
    }
    return plain;
  }

  // From ready() into gRPC's buffers.
  ssize_t HandOver(msghdr* message) {
    std::string& ready = filter_.ready();
    size_t at = 0;
    for (size_t i = 0; i < message->msg_iovlen && at < ready.size(); ++i) {
      const size_t size = std::min(message->msg_iov[i].iov_len, ready.size() - at);
      std::memcpy(message->msg_iov[i].iov_base, ready.data() + at, size);
      at += size;
    }
    ready.erase(0, at);
    message->msg_flags = 0;
    message->msg_controllen = 0;
    message->msg_namelen = 0;
    return static_cast<ssize_t>(at);
  }

  // Writes our own frames. False with errno if some are left.
  bool Reply(int fd) {
    if (reply_.empty()) reply_ = filter_.TakeReplies();
    while (!reply_.empty()) {
      iovec part = {reply_.data(), reply_.size()};
      msghdr message = {};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      const ssize_t sent = NextSend()(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) return false;
      reply_.erase(0, static_cast<size_t>(sent));
    }
    return true;
  }

  std::mutex mutex_;
  FrameFilter filter_;
  std::string reply_;
};

std::array<std::atomic<Connection*>, 1 << 16> connections;

Connection* Find(int fd) {
  if (fd < 0 || static_cast<size_t>(fd) >= connections.size()) return nullptr;
  return connections[static_cast<size_t>(fd)].load(std::memory_order_acquire);
}

}  // namespace

void FilterConnection(int fd, uint32_t max_message_bytes) {
  if (fd < 0 || static_cast<size_t>(fd) >= connections.size()) return;
  auto connection = std::make_unique<Connection>(max_message_bytes);
  delete connections[static_cast<size_t>(fd)].exchange(connection.release());
}

}  // namespace gantry::server

// The three that libgrpc imports. They are exported because a shared library refers to them.
extern "C" {

ssize_t recvmsg(int fd, msghdr* message, int flags) {
  gantry::server::Connection* const connection = gantry::server::Find(fd);
  if (connection == nullptr) return gantry::server::NextReceive()(fd, message, flags);
  return connection->Read(fd, message, flags);
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  gantry::server::Connection* const connection = gantry::server::Find(fd);
  if (connection == nullptr) return gantry::server::NextSend()(fd, message, flags);
  return connection->Write(fd, message, flags);
}

int close(int fd) {
  if (gantry::server::Find(fd) != nullptr) {
    delete gantry::server::connections[static_cast<size_t>(fd)].exchange(nullptr);
  }
  return gantry::server::NextClose()(fd);
}

}  // extern "C"
