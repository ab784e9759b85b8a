#include "api/ttrpc/connection.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/sys/status.h"

namespace gantry::ttrpc {
namespace {

constexpr size_t kReadBytes = 16 << 10;
constexpr int kReadsPerTurn = 8;  // then the loop's other descriptors have their turn
constexpr size_t kIdleCapacityBytes = 512;

bool WouldBlock(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

// A header with no data after it; the data goes out beside it without a copy.
std::string HeaderOf(uint32_t stream, uint8_t type, uint8_t flags, size_t data_bytes) {
  std::string header;
  AppendFrame(header, stream, type, flags, {});
  const auto length = static_cast<uint32_t>(data_bytes);
  for (int i = 0; i < 4; ++i) header[i] = static_cast<char>(length >> (24 - 8 * i) & 0xff);
  return header;
}

}  // namespace

absl::StatusOr<std::shared_ptr<Connection>> Connection::Start(sys::EventLoop* loop, sys::UniqueFd fd,
                                                              Limits limits, Callbacks callbacks) {
  const int flags = fcntl(fd.get(), F_GETFL);
  if (flags < 0 || fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return sys::ErrnoStatus("fcntl", "ttrpc connection");
  }
  std::shared_ptr<Connection> connection(new Connection(loop, std::move(fd), limits, std::move(callbacks)));
  Connection* self = connection.get();  // lives as long as its watch
  self->interest_ = EPOLLIN;
  GANTRY_RETURN_IF_ERROR(
      loop->Add(self->fd_.get(), EPOLLIN, [self](uint32_t events) { self->OnReady(events); }));
  return connection;
}

Connection::Connection(sys::EventLoop* loop, sys::UniqueFd fd, Limits limits, Callbacks callbacks)
    : loop_(loop), fd_(std::move(fd)), limits_(limits), callbacks_(std::move(callbacks)) {}

Connection::~Connection() { Close(); }

void Connection::Close() {
  if (closed()) return;
  loop_->Remove(fd_.get());
  fd_.reset();
  queue_ = {};
  written_ = 0;
}

void Connection::Fail(absl::Status reason) {
  if (closed()) return;
  Close();
  callbacks_.on_close(std::move(reason));
}

void Connection::FailLater(absl::Status reason) {
  if (std::exchange(failing_, true)) return;
  loop_->RunAfter(absl::ZeroDuration(), [weak = weak_from_this(), reason = std::move(reason)]() mutable {
    if (auto self = weak.lock()) self->Fail(std::move(reason));
  });
}

void Connection::OnReady(uint32_t events) {
  const auto self = shared_from_this();  // a callback may drop the last other reference
  if (events & EPOLLOUT) Write();
  if (closed()) return;
  if (paused_ && (events & (EPOLLHUP | EPOLLERR))) {
    Fail(absl::UnavailableError("ttrpc: closed by the peer"));
  } else if (!paused_ && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
    Read();
  }
}

void Connection::Read() {
  char buffer[kReadBytes];
  for (int i = 0; i < kReadsPerTurn && !closed() && !paused_; ++i) {
    const ssize_t count = recv(fd_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
    if (count < 0) {
      if (errno == EINTR) continue;
      if (!WouldBlock(errno)) Fail(sys::ErrnoStatus("recv", "ttrpc connection"));
      return;
    }
    if (count == 0) return Fail(absl::UnavailableError("ttrpc: closed by the peer"));
    decoder_.Append(absl::string_view(buffer, static_cast<size_t>(count)));
    if (!DeliverFrames()) return;
    if (static_cast<size_t>(count) < sizeof(buffer)) return;
  }
}

// False if the connection failed.
bool Connection::DeliverFrames() {
  while (!closed() && !paused_) {
    absl::StatusOr<std::optional<Frame>> frame = decoder_.Next();
    if (!frame.ok()) {
      Fail(frame.status());
      return false;
    }
    if (!frame->has_value()) return true;
    callbacks_.on_frame(**std::move(frame));
  }
  return !closed();
}

void Connection::Send(uint32_t stream, uint8_t type, uint8_t flags, absl::string_view data) {
  if (closed() || failing_) return;
  std::string header = HeaderOf(stream, type, flags, data.size());
  size_t sent = 0;
  if (queue_.empty()) {
    iovec parts[2] = {{header.data(), header.size()}, {const_cast<char*>(data.data()), data.size()}};
    msghdr message = {};
    message.msg_iov = parts;
    message.msg_iovlen = data.empty() ? 1 : 2;
    ssize_t count;
    do {
      count = sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (count < 0 && errno == EINTR);
    if (count < 0 && !WouldBlock(errno)) return FailLater(sys::ErrnoStatus("sendmsg", "ttrpc connection"));
    sent = count < 0 ? 0 : static_cast<size_t>(count);
    if (sent == header.size() + data.size()) return;
  }
  if (sent < header.size()) queue_.append(header, sent);
  data.remove_prefix(sent > header.size() ? sent - header.size() : 0);
  queue_.append(data.data(), data.size());
  if (queued_bytes() > limits_.max_queue_bytes) {
    return FailLater(absl::ResourceExhaustedError(
        absl::StrCat("ttrpc: the peer does not read: ", queued_bytes(), " bytes are waiting for it")));
  }
  if (queued_bytes() > limits_.pause_above_bytes) paused_ = true;
  UpdateInterest();
}

void Connection::Write() {
  while (written_ < queue_.size()) {
    const ssize_t count =
        send(fd_.get(), queue_.data() + written_, queue_.size() - written_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0) {
      if (errno == EINTR) continue;
      if (!WouldBlock(errno)) return Fail(sys::ErrnoStatus("send", "ttrpc connection"));
      break;
    }
    written_ += static_cast<size_t>(count);
  }
  const bool drained = written_ == queue_.size();
  if (drained) {
    queue_.clear();
    if (queue_.capacity() > kIdleCapacityBytes) queue_.shrink_to_fit();
    written_ = 0;
  } else if (written_ > queue_.size() / 2) {
    queue_.erase(0, std::exchange(written_, 0));
  }
  const bool resumed = paused_ && queued_bytes() <= limits_.pause_above_bytes / 2;
  if (resumed) paused_ = false;
  UpdateInterest();
  if (drained && callbacks_.on_drained) callbacks_.on_drained();
  if (resumed) DeliverFrames();  // that were read before the pause
}

void Connection::UpdateInterest() {
  if (closed()) return;
  const uint32_t wanted = (paused_ ? 0U : EPOLLIN) | (queue_.empty() ? 0U : EPOLLOUT);
  if (wanted == interest_) return;
  interest_ = wanted;
  if (absl::Status status = loop_->Modify(fd_.get(), wanted); !status.ok()) FailLater(std::move(status));
}

}  // namespace gantry::ttrpc
