#include "cmd/gantry/client/client.h"

#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cmd/gantry/ui/text.h"
#include "runtime/sys/status.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::cli {
namespace {

constexpr int kMaxMessageBytes = 16 << 20;  // what containerd takes and sends

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  // The peer is a socket file: its path is not a name to put into the :authority header.
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(absl::StrCat("unix:", address), grpc::InsecureChannelCredentials(),
                                   arguments);
}

// Why nobody answers at `address`: gRPC's own text is long and names no reason.
absl::Status Unreachable(const std::string& address) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (address.size() >= sizeof(name.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("the socket's path ", address, " is longer than the ",
                                                   sizeof(name.sun_path) - 1,
                                                   " bytes that a socket's path may have"));
  }
  std::memcpy(name.sun_path, address.data(), address.size());
  const sys::UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!probe) return sys::ErrnoStatus("socket", address);
  if (::connect(probe.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)) == 0) {
    return absl::UnavailableError(absl::StrCat("the daemon at ", address, " closed the connection"));
  }
  switch (errno) {
    case ENOENT:
      return absl::UnavailableError(absl::StrCat("there is no socket ", address));
    case ECONNREFUSED:
      return absl::UnavailableError(absl::StrCat("no daemon listens on the socket ", address));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(absl::StrCat("this user may not use the socket ", address));
    default:
      return sys::ErrnoStatus("connect", address);
  }
}

const char* NoReason(grpc::StatusCode code) {
  return code == grpc::StatusCode::UNIMPLEMENTED ? "the daemon does not serve this call"
                                                 : "the daemon gave no reason";
}

}  // namespace

Client::Client(Options options)
    : options_(std::move(options)),
      channel_(Connect(options_.address)),
      containers_(channel_),
      content_(channel_),
      diff_(channel_),
      events_(channel_),
      images_(channel_),
      leases_(channel_),
      snapshots_(channel_),
      tasks_(channel_),
      version_(channel_) {}

void Client::Prepare(grpc::ClientContext* context, absl::Duration timeout) const {
  context->AddMetadata("containerd-namespace", options_.ns);
  if (!lease_.empty()) context->AddMetadata("containerd-lease", lease_);
  if (timeout != absl::InfiniteDuration()) {
    // By the monotonic clock: a clock that jumps must not end a call.
    context->set_deadline(
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                     gpr_time_from_millis(absl::ToInt64Milliseconds(timeout), GPR_TIMESPAN)));
  }
}

absl::Status Client::Translate(const grpc::Status& status) const {
  if (status.ok()) return absl::OkStatus();
  const std::string& message = status.error_message();
  const bool transport =
      status.error_code() == grpc::StatusCode::UNAVAILABLE &&
      (absl::StrContains(message, "failed to connect") ||
       absl::StrContains(message, "all backends failing") || absl::StrContains(message, "Socket closed") ||
       absl::StrContains(message, "recvmsg:") || absl::StrContains(message, "Broken pipe") ||
       message.empty());
  if (transport) return Unreachable(options_.address);
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      message.empty() ? NoReason(status.error_code()) : message);
}

absl::StatusOr<std::unique_ptr<Lease>> Lease::Create(Client* client) {
  leases::CreateRequest request;
  leases::CreateResponse response;
  request.set_id(absl::StrCat("gantry-", RandomHex(8)));
  (*request.mutable_labels())["containerd.io/gc.expire"] =
      absl::FormatTime(absl::RFC3339_sec, WallClock() + absl::Hours(24), absl::UTCTimeZone());
  GANTRY_RETURN_IF_ERROR(client->Call(client->leases(), &leases::Leases::Stub::Create, request, &response));
  client->SetLease(response.lease().id());
  return std::unique_ptr<Lease>(new Lease(client, response.lease().id()));
}

absl::Status Lease::End(bool collect) {
  if (id_.empty()) return absl::OkStatus();
  leases::DeleteRequest request;
  google::protobuf::Empty response;
  request.set_id(std::exchange(id_, ""));
  request.set_sync(collect);
  client_->SetLease("");
  return client_->Call(client_->leases(), &leases::Leases::Stub::Delete, request, &response);
}

Lease::~Lease() { End(/*collect=*/true).IgnoreError(); }

std::string RandomHex(size_t bytes) {
  std::string random(bytes, '\0');
  size_t done = 0;
  while (done < bytes) {
    const ssize_t got = ::getrandom(random.data() + done, bytes - done, 0);
    if (got > 0) done += static_cast<size_t>(got);
  }
  return absl::BytesToHexString(random);
}

}  // namespace gantry::cli
