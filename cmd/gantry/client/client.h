// The connection to a daemon that speaks containerd's gRPC API, and how its answers become absl::Status.
//
//   Client client({.address = "/run/gantry/gantry.sock", .ns = "default"});
//   GANTRY_RETURN_IF_ERROR(client.Call(client.tasks(), &Tasks::Stub::Start, request, &response));
//
// Nothing is sent before the first call. Thread-safe, apart from SetLease.
#ifndef GANTRY_CMD_GANTRY_CLIENT_CLIENT_H_
#define GANTRY_CMD_GANTRY_CLIENT_CLIENT_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "api/proto/containerd/services/containers/v1/containers.grpc.pb.h"
#include "api/proto/containerd/services/content/v1/content.grpc.pb.h"
#include "api/proto/containerd/services/diff/v1/diff.grpc.pb.h"
#include "api/proto/containerd/services/events/v1/events.grpc.pb.h"
#include "api/proto/containerd/services/images/v1/images.grpc.pb.h"
#include "api/proto/containerd/services/leases/v1/leases.grpc.pb.h"
#include "api/proto/containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "api/proto/containerd/services/tasks/v1/tasks.grpc.pb.h"
#include "api/proto/containerd/services/version/v1/version.grpc.pb.h"

namespace gantry::cli {

namespace containers = ::containerd::services::containers::v1;
namespace content = ::containerd::services::content::v1;
namespace diff = ::containerd::services::diff::v1;
namespace events = ::containerd::services::events::v1;
namespace images = ::containerd::services::images::v1;
namespace leases = ::containerd::services::leases::v1;
namespace snapshots = ::containerd::services::snapshots::v1;
namespace tasks = ::containerd::services::tasks::v1;
namespace version = ::containerd::services::version::v1;

using Mounts = google::protobuf::RepeatedPtrField<containerd::types::Mount>;

// An ordinary call that takes longer than this has met a daemon that hangs.
inline constexpr absl::Duration kCallTimeout = absl::Minutes(2);
// For calls that last as long as the work does: waiting, unpacking.
inline constexpr absl::Duration kNoTimeout = absl::InfiniteDuration();

class Client {
 public:
  struct Options {
    std::string address;  // path of the unix socket
    std::string ns;
  };

  explicit Client(Options options);

  const std::string& address() const { return options_.address; }
  const std::string& ns() const { return options_.ns; }

  // Every later call runs under the lease; "" for none. Not thread-safe.
  void SetLease(std::string id) { lease_ = std::move(id); }
  const std::string& lease() const { return lease_; }

  containers::Containers::Stub& containers() { return containers_; }
  content::Content::Stub& content() { return content_; }
  diff::Diff::Stub& diff() { return diff_; }
  events::Events::Stub& events() { return events_; }
  images::Images::Stub& images() { return images_; }
  leases::Leases::Stub& leases() { return leases_; }
  snapshots::Snapshots::Stub& snapshots() { return snapshots_; }
  tasks::Tasks::Stub& tasks() { return tasks_; }
  version::Version::Stub& version() { return version_; }

  // Namespace, lease and deadline of a call, for calls that don't go through Call (streams).
  void Prepare(grpc::ClientContext* context, absl::Duration timeout) const;

  // The absl::Status of an answer: the same code, the daemon's message; where no daemon answered,
  // UNAVAILABLE (or PERMISSION_DENIED) with a message that names the socket.
  absl::Status Translate(const grpc::Status& status) const;

  // One unary call.
  template <typename Stub, typename Request, typename Response>
  absl::Status Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response, absl::Duration timeout = kCallTimeout) {
    grpc::ClientContext context;
    Prepare(&context, timeout);
    return Translate((stub.*method)(&context, request, response));
  }

 private:
  Options options_;
  std::string lease_;
  std::shared_ptr<grpc::Channel> channel_;
  containers::Containers::Stub containers_;
  content::Content::Stub content_;
  diff::Diff::Stub diff_;
  events::Events::Stub events_;
  images::Images::Stub images_;
  leases::Leases::Stub leases_;
  snapshots::Snapshots::Stub snapshots_;
  tasks::Tasks::Stub tasks_;
  version::Version::Stub version_;
};

// Keeps what the client makes from garbage collection: created on the daemon, used by every call of `client`
// until it ends. A lease expires by itself after a day, should the client die.
class Lease {
 public:
  static absl::StatusOr<std::unique_ptr<Lease>> Create(Client* client);
  // Ends it, ignoring errors, if End was not called.
  ~Lease();

  // Deletes the lease. With `collect`, garbage (what the lease alone kept) is collected before it returns.
  absl::Status End(bool collect);

 private:
  Lease(Client* client, std::string id) : client_(client), id_(std::move(id)) {}

  Client* client_;
  std::string id_;
};

// `bytes` random bytes as lower-case hexadecimal digits, from getrandom(2).
std::string RandomHex(size_t bytes);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_CLIENT_CLIENT_H_
