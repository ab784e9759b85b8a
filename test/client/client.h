// A resident client of containerd's API, for what measures daemons (test/bench) and what kills them (test/kills).
//
// One method is one RPC, and blocks. A container's snapshot, record and task share its id; the snapshot carries a
// label that keeps the collector off it, as there are no leases here.
//
// Each Client has a connection of its own, which is made anew when the daemon is: calls fail with UNAVAILABLE meanwhile.
// Thread-safe.
#ifndef GANTRY_TEST_CLIENT_CLIENT_H_
#define GANTRY_TEST_CLIENT_CLIENT_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "api/proto/containerd/services/containers/v1/containers.grpc.pb.h"
#include "api/proto/containerd/services/events/v1/events.grpc.pb.h"
#include "api/proto/containerd/services/sandbox/v1/sandbox.grpc.pb.h"
#include "api/proto/containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "api/proto/containerd/services/tasks/v1/tasks.grpc.pb.h"

namespace gantry::client {

struct Options {
  std::string socket;
  std::string ns;
  std::string runtime;
  // A call that takes longer is a fault of the daemon: DEADLINE_EXCEEDED.
  absl::Duration patience = absl::Seconds(60);
};

// A process, or how it ended.
struct Process {
  std::string container_id;
  std::string id;  // the exec's, or the container's for init
  uint32_t pid = 0;
  uint32_t exit_status = 0;
  int64_t exited_at_ns = 0;  // since 1970
  std::string status;        // CREATED, RUNNING, STOPPED, PAUSED; empty where it was not asked for
};

class Client {
 public:
  explicit Client(Options options);

  grpc::Status Prepare(const std::string& id, const std::string& parent);
  grpc::Status Unprepare(const std::string& id);
  grpc::Status Snapshots(std::vector<std::string>* keys);

  // The record, with the spec that ctr makes: default capabilities, the usual namespaces, no seccomp.
  // `sandbox`: the one that it belongs to, or empty.
  grpc::Status Record(const std::string& id, const std::vector<std::string>& args,
                      const std::string& sandbox = "");
  grpc::Status Unrecord(const std::string& id);
  grpc::Status Records(std::vector<std::string>* ids);
  // How many there are that a filter of containerd's language takes (empty: all), by the stream that has no limit.
  grpc::Status CountRecords(const std::string& filter, size_t* count);

  // The task on the snapshot of that id (its mounts are asked for, unless this client prepared it); `out` is a FIFO or URI for both streams, or empty.
  grpc::Status Create(const std::string& id, const std::string& out, Process* process);
  // exec_id empty: init.
  grpc::Status Start(const std::string& id, const std::string& exec_id, Process* process);
  grpc::Status Kill(const std::string& id, const std::string& exec_id, uint32_t signal);
  grpc::Status Wait(const std::string& id, const std::string& exec_id, Process* process);
  grpc::Status Delete(const std::string& id, const std::string& exec_id, Process* process);
  grpc::Status Exec(const std::string& id, const std::string& exec_id, const std::vector<std::string>& args);
  grpc::Status State(const std::string& id, const std::string& exec_id, Process* process);
  grpc::Status List(std::vector<Process>* processes);

  // Sandboxes without a process of their own (sandboxes.cc). Create makes the record and the instance; Delete removes the
  // record alone.
  grpc::Status CreateSandbox(const std::string& id);
  grpc::Status StartSandbox(const std::string& id, uint32_t* pid);
  grpc::Status StopSandbox(const std::string& id);
  grpc::Status ShutdownSandbox(const std::string& id);
  grpc::Status DeleteSandbox(const std::string& id);
  grpc::Status SandboxState(const std::string& id, std::string* state, uint32_t* pid);
  grpc::Status WaitSandbox(const std::string& id, uint32_t* exit_status);
  grpc::Status Sandboxes(std::vector<std::string>* ids);

  // Calls `ready` once when events certainly arrive, then `on_exit` for each TaskExit of the namespace, until it
  // returns false or the stream ends, with why it ended.
  grpc::Status WatchExits(const std::function<void()>& ready,
                          const std::function<bool(const Process&)>& on_exit);

 private:
  struct Connection {
    explicit Connection(const std::string& socket);
    const std::shared_ptr<grpc::Channel> channel;
    containerd::services::containers::v1::Containers::Stub containers;
    containerd::services::events::v1::Events::Stub events;
    containerd::services::sandbox::v1::Store::Stub sandboxes;
    containerd::services::sandbox::v1::Controller::Stub controller;
    containerd::services::snapshots::v1::Snapshots::Stub snapshots;
    containerd::services::tasks::v1::Tasks::Stub tasks;
  };
  using Mounts = google::protobuf::RepeatedPtrField<containerd::types::Mount>;

  void Mark(grpc::ClientContext* context, bool limited) const;
  std::shared_ptr<Connection> Connected();
  // A connection that failed is not used again: gRPC would remember the failure for a while.
  void Drop(const std::shared_ptr<Connection>& connection);

  template <typename Stub, typename Request, typename Response>
  grpc::Status Call(Stub Connection::*stub,
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    const std::shared_ptr<Connection> connection = Connected();
    grpc::ClientContext context;
    Mark(&context, true);
    const grpc::Status status = ((*connection).*stub.*method)(&context, request, response);
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE) Drop(connection);
    return status;
  }
  grpc::Status FindMounts(const std::string& id, Mounts* mounts);

  const Options options_;
  std::mutex mutex_;
  std::shared_ptr<Connection> connection_;
  std::map<std::string, Mounts> prepared_;
};

}  // namespace gantry::client

#endif  // GANTRY_TEST_CLIENT_CLIENT_H_
