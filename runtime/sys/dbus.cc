#include "runtime/sys/dbus.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

constexpr char kErrorPayload[] = "gantry.dbus.error";
constexpr size_t kMaxLine = 1024;  // of the authentication

absl::Status Wait(int fd, short events, const Deadline& deadline) {
  struct pollfd poller = {fd, events, 0};
  for (;;) {
    if (deadline.Passed()) return absl::DeadlineExceededError("D-Bus: no answer in time");
    const int ready = poll(&poller, 1, deadline.PollTimeout());
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return ErrnoStatus("poll", "D-Bus");
  }
}

absl::StatusCode CodeOf(absl::string_view error) {
  if (absl::EndsWith(error, ".NoSuchUnit")) return absl::StatusCode::kNotFound;
  if (absl::EndsWith(error, ".UnitExists")) return absl::StatusCode::kAlreadyExists;
  if (absl::EndsWith(error, ".AccessDenied") || absl::EndsWith(error, ".InteractiveAuthorizationRequired")) {
    return absl::StatusCode::kPermissionDenied;
  }
  if (absl::EndsWith(error, ".InvalidArgs") || absl::EndsWith(error, ".PropertyReadOnly")) {
    return absl::StatusCode::kInvalidArgument;
  }
  return absl::StatusCode::kUnknown;
}

absl::Status ErrorAnswer(const DBusMessage& answer) {
  const bool told = !answer.body.empty() && answer.body[0].signature == "s";
  absl::Status status(CodeOf(answer.error_name),
                      absl::StrCat(answer.error_name, ": ", told ? answer.body[0].text : ""));
  status.SetPayload(kErrorPayload, absl::Cord(answer.error_name));
  return status;
}

}  // namespace

std::string DBusSocketPath(absl::string_view address) {
  for (absl::string_view one : absl::StrSplit(address, ';')) {
    if (!absl::ConsumePrefix(&one, "unix:")) continue;
    for (absl::string_view pair : absl::StrSplit(one, ',')) {
      if (!absl::ConsumePrefix(&pair, "path=")) continue;
      std::string path;
      for (size_t i = 0; i < pair.size(); ++i) {
        int code = 0;
        if (pair[i] == '%' && i + 2 < pair.size() && absl::SimpleHexAtoi(pair.substr(i + 1, 2), &code)) {
          path.push_back(static_cast<char>(code));
          i += 2;
        } else {
          path.push_back(pair[i]);
        }
      }
      return path;
    }
  }
  return "";
}

std::string DBusErrorOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kErrorPayload);
  return payload.has_value() ? std::string(*payload) : "";
}

absl::StatusOr<DBusConnection> DBusConnection::Connect(const std::string& path, Peer peer,
                                                       const Deadline& deadline) {
  GANTRY_ASSIGN_OR_RETURN(UniqueFd fd, ConnectUnix(path, SOCK_STREAM));
  DBusConnection connection(std::move(fd), peer);
  if (absl::Status status = connection.Authenticate(deadline); !status.ok()) return Annotate(status, path);
  if (peer == Peer::kBus) {
    DBusMessage hello;
    hello.path = "/org/freedesktop/DBus";
    hello.interface = hello.destination = "org.freedesktop.DBus";
    hello.member = "Hello";
    if (auto answer = connection.Call(std::move(hello), deadline); !answer.ok()) {
      return Annotate(answer.status(), path);
    }
  }
  return connection;
}

// The server asks for the identity that EXTERNAL left out, and takes "none": who is connected, the kernel tells. BEGIN
// goes ahead, as sd-bus does it: systemd forgets a call that reaches it together with BEGIN until more bytes come.
absl::Status DBusConnection::Authenticate(const Deadline& deadline) {
  static constexpr char kHello[] = "\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";
  GANTRY_RETURN_IF_ERROR(Send(absl::string_view(kHello, sizeof kHello - 1), deadline));
  for (;;) {
    GANTRY_ASSIGN_OR_RETURN(const std::string line, ReadLine(deadline));
    if (absl::StartsWith(line, "OK ")) return absl::OkStatus();
    if (line != "DATA") return absl::PermissionDeniedError(absl::StrCat("D-Bus: refused us: ", line));
  }
}

absl::StatusOr<std::string> DBusConnection::ReadLine(const Deadline& deadline) {
  for (size_t seen = 0;;) {
    const size_t end = buffer_.find("\r\n", seen);
    if (end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 2);
      return line;
    }
    if (buffer_.size() > kMaxLine) return absl::DataLossError("D-Bus: an endless line");
    seen = buffer_.empty() ? 0 : buffer_.size() - 1;
    GANTRY_RETURN_IF_ERROR(Fill(buffer_.size() + 1, deadline));
  }
}

absl::Status DBusConnection::Send(absl::string_view bytes, const Deadline& deadline) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      GANTRY_RETURN_IF_ERROR(Wait(fd_.get(), POLLOUT, deadline));
    } else if (errno != EINTR) {
      return ErrnoStatus("send", "D-Bus");
    }
  }
  return absl::OkStatus();
}

// Until the buffer holds `size` bytes; it may come to hold more.
absl::Status DBusConnection::Fill(size_t size, const Deadline& deadline) {
  char chunk[16384];
  while (buffer_.size() < size) {
    const ssize_t got = recv(fd_.get(), chunk, sizeof chunk, MSG_DONTWAIT);
    if (got > 0) {
      buffer_.append(chunk, static_cast<size_t>(got));
    } else if (got == 0) {
      return absl::UnavailableError("D-Bus: the other side closed the connection");
    } else if (errno == EAGAIN) {
      GANTRY_RETURN_IF_ERROR(Wait(fd_.get(), POLLIN, deadline));
    } else if (errno != EINTR) {
      return ErrnoStatus("recv", "D-Bus");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<DBusMessage> DBusConnection::ReadMessage(const Deadline& deadline) {
  GANTRY_RETURN_IF_ERROR(Fill(kDBusFixedHeader, deadline));
  GANTRY_ASSIGN_OR_RETURN(const size_t size, DBusMessageSize(buffer_));
  GANTRY_RETURN_IF_ERROR(Fill(size, deadline));
  auto message = UnmarshalMessage(absl::string_view(buffer_).substr(0, size));
  buffer_.erase(0, size);
  return message;
}

absl::StatusOr<DBusMessage> DBusConnection::Call(DBusMessage call, const Deadline& deadline) {
  call.type = DBusMessage::Type::kCall;
  call.serial = ++serial_;
  if (peer_ == Peer::kDirect) call.destination.clear();
  GANTRY_RETURN_IF_ERROR(Send(MarshalMessage(call), deadline));
  for (;;) {
    // Signals without end must not hold us up: Wait looks at the deadline only when there is nothing to read.
    if (deadline.Passed()) return absl::DeadlineExceededError("D-Bus: no answer in time");
    GANTRY_ASSIGN_OR_RETURN(DBusMessage message, ReadMessage(deadline));
    if (message.type == DBusMessage::Type::kSignal) {
      if (message.member != kept_member_) continue;
      if (signals_.size() == kMaxKept) signals_.pop_front();
      signals_.push_back(std::move(message));
      continue;
    }
    if (message.reply_serial != call.serial) continue;
    if (message.type == DBusMessage::Type::kReturn) return message;
    if (message.type == DBusMessage::Type::kError) return ErrorAnswer(message);
  }
}

absl::StatusOr<DBusMessage> DBusConnection::NextSignal(absl::string_view member, const Deadline& deadline) {
  while (!signals_.empty()) {
    DBusMessage message = std::move(signals_.front());
    signals_.pop_front();
    if (message.member == member) return message;
  }
  for (;;) {
    if (deadline.Passed()) return absl::DeadlineExceededError("D-Bus: no signal in time");
    GANTRY_ASSIGN_OR_RETURN(DBusMessage message, ReadMessage(deadline));
    if (message.type == DBusMessage::Type::kSignal && message.member == member) return message;
  }
}

}  // namespace gantry::sys
