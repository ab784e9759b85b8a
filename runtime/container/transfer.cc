// How results move from the builder to the holder: one message, the descriptors beside it.
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/container/container.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::container {
namespace {

constexpr size_t kMaxMessage = 128 * 1024;  // below the default send buffer of a unix socket (208 KiB)
constexpr size_t kMaxText = 16 * 1024;      // of one error message or warning; longer ones are cut
constexpr size_t kMaxWarnings = 5;

// Fixed-width numbers in the machine's byte order (both ends are on it), texts with their length before them.
class Encoder {
 public:
  template <typename T>
  void Number(T value) {
    static_assert(std::is_integral_v<T>);
    data_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void Text(absl::string_view text) {
    Number(static_cast<uint32_t>(text.size()));
    data_.append(text.data(), text.size());
  }
  // The descriptor travels beside the message; here stands only whether there is one.
  void Fd(int fd) {
    Number<uint8_t>(fd >= 0);
    if (fd >= 0) fds_.push_back(fd);
  }
  absl::Status Send(int socket) const { return sys::SendWithFds(socket, data_, fds_); }

 private:
  std::string data_;
  std::vector<int> fds_;
};

// Reads what Encoder wrote. A message that is too short makes `ok` false and every further value empty.
class Decoder {
 public:
  explicit Decoder(sys::ReceivedMessage message) : message_(std::move(message)), rest_(message_.data) {}

  template <typename T>
  T Number() {
    T value = {};
    if (rest_.size() < sizeof value) {
      ok_ = false;
      return value;
    }
    memcpy(&value, rest_.data(), sizeof value);
    rest_.remove_prefix(sizeof value);
    return value;
  }
  std::string Text() {
    const uint32_t size = Number<uint32_t>();
    if (!ok_ || rest_.size() < size) {
      ok_ = false;
      return "";
    }
    std::string text(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return text;
  }
  sys::UniqueFd Fd() {
    if (Number<uint8_t>() == 0) return sys::UniqueFd();
    if (next_fd_ >= message_.fds.size()) {
      ok_ = false;
      return sys::UniqueFd();
    }
    return std::move(message_.fds[next_fd_++]);
  }
  bool ok() const { return ok_; }

 private:
  sys::ReceivedMessage message_;
  absl::string_view rest_;
  size_t next_fd_ = 0;
  bool ok_ = true;
};

void EncodeStatus(const absl::Status& status, Encoder* out) {
  out->Number(static_cast<int32_t>(status.code()));
  if (status.ok()) return;
  out->Number(static_cast<int32_t>(sys::ErrnoOf(status)));
  out->Text(status.message().substr(0, kMaxText));
}

absl::Status DecodeStatus(Decoder* in) {
  const auto code = static_cast<absl::StatusCode>(in->Number<int32_t>());
  if (!in->ok()) return absl::InternalError("the builder sent a message that is too short");
  if (code == absl::StatusCode::kOk) return absl::OkStatus();
  const int error = in->Number<int32_t>();
  const std::string message = in->Text();
  absl::Status status(code, message);
  // The errno travels as ErrnoStatus keeps it.
  if (error != 0) {
    sys::ErrnoStatus("", "", error)
        .ForEachPayload([&status](absl::string_view type, const absl::Cord& payload) {
          status.SetPayload(type, payload);
        });
  }
  return status;
}

void EncodeWarnings(const std::vector<std::string>& warnings, Encoder* out) {
  const size_t count = std::min(warnings.size(), kMaxWarnings);
  out->Number(static_cast<uint32_t>(count));
  for (size_t i = 0; i < count; i++) out->Text(absl::string_view(warnings[i]).substr(0, kMaxText));
}

std::vector<std::string> DecodeWarnings(Decoder* in) {
  std::vector<std::string> warnings;
  const uint32_t count = in->Number<uint32_t>();
  for (uint32_t i = 0; i < count && in->ok(); i++) warnings.push_back(in->Text());
  return warnings;
}

absl::StatusOr<Decoder> Receive(int socket) {
  GANTRY_ASSIGN_OR_RETURN(sys::ReceivedMessage message, sys::ReceiveWithFds(socket, kMaxMessage));
  if (message.data.empty()) return absl::InternalError("the builder ended without a result");
  return Decoder(std::move(message));
}

template <typename T>
absl::StatusOr<T> Whole(const Decoder& in, T value) {
  if (!in.ok()) return absl::InternalError("the builder sent a message that is too short");
  return value;
}

}  // namespace

absl::Status SendContainer(int socket, const absl::StatusOr<Container>& container) {
  Encoder out;
  EncodeStatus(container.status(), &out);
  if (container.ok()) {
    out.Number(static_cast<int32_t>(container->pid));
    out.Number(container->start_time);
    out.Fd(container->pidfd.fd());
    out.Fd(container->control.get());
    out.Fd(container->pty_master.get());
    out.Fd(container->root_mount.get());
    out.Text(cgroup::FormatDirectories(container->cgroup.directories()));
    EncodeWarnings(container->warnings, &out);
  }
  return out.Send(socket);
}

absl::StatusOr<Container> ReceiveContainer(int socket) {
  GANTRY_ASSIGN_OR_RETURN(Decoder in, Receive(socket));
  GANTRY_RETURN_IF_ERROR(DecodeStatus(&in));
  Container container;
  container.pid = in.Number<int32_t>();
  container.start_time = in.Number<uint64_t>();
  container.pidfd = sys::PidFd(in.Fd());
  container.control = in.Fd();
  container.pty_master = in.Fd();
  container.root_mount = in.Fd();
  GANTRY_ASSIGN_OR_RETURN(auto directories, cgroup::ParseDirectories(in.Text()));
  container.cgroup = cgroup::Cgroup(std::move(directories));
  container.warnings = DecodeWarnings(&in);
  return Whole(in, std::move(container));
}

absl::Status SendExecProcess(int socket, const absl::StatusOr<ExecProcess>& process) {
  Encoder out;
  EncodeStatus(process.status(), &out);
  if (process.ok()) {
    out.Number(static_cast<int32_t>(process->pid));
    out.Fd(process->pidfd.fd());
    out.Fd(process->pty_master.get());
    EncodeWarnings(process->warnings, &out);
  }
  return out.Send(socket);
}

absl::StatusOr<ExecProcess> ReceiveExecProcess(int socket) {
  GANTRY_ASSIGN_OR_RETURN(Decoder in, Receive(socket));
  GANTRY_RETURN_IF_ERROR(DecodeStatus(&in));
  ExecProcess process;
  process.pid = in.Number<int32_t>();
  process.pidfd = sys::PidFd(in.Fd());
  process.pty_master = in.Fd();
  process.warnings = DecodeWarnings(&in);
  return Whole(in, std::move(process));
}

}  // namespace gantry::container
