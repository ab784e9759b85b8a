// A resident client of containerd's API, for test/bench/quick: it drives the whole life of a container on two
// daemons in turn, and prints what each step took.
//
//   rpc-life NAME=SOCKET,RUNTIME NAME=SOCKET,RUNTIME --parent CHAIN_ID --namespace NS --rounds N --warmup N
//
// Order A B, B A, A B, ... so that a slow moment of the machine hits both. One line of JSON on standard output:
// {"NAME": {"total": [ms, ...], "prepare": [...], ...}, ...}. Single-threaded apart from gRPC's own threads.
#include <grpcpp/grpcpp.h>
#include <poll.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "api/proto/containerd/events/task.pb.h"
#include "api/proto/containerd/services/containers/v1/containers.grpc.pb.h"
#include "api/proto/containerd/services/events/v1/events.grpc.pb.h"
#include "api/proto/containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "api/proto/containerd/services/tasks/v1/tasks.grpc.pb.h"
#include "runtime/oci/spec.h"
#include "runtime/sys/clock.h"

namespace gantry::bench {
namespace {

namespace containers = ::containerd::services::containers::v1;
namespace events = ::containerd::services::events::v1;
namespace snapshots = ::containerd::services::snapshots::v1;
namespace tasks = ::containerd::services::tasks::v1;

constexpr char kSnapshotter[] = "overlayfs";

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "rpc-life: %s\n", message.c_str());
  std::exit(1);
}

class Side {
 public:
  Side(std::string name, const std::string& socket, std::string runtime, std::string ns)
      : name_(std::move(name)),
        ns_(std::move(ns)),
        runtime_(std::move(runtime)),
        channel_(Connect(socket)),
        containers_(channel_),
        events_(channel_),
        snapshots_(channel_),
        tasks_(channel_) {
    Mark(&subscription_);
    events::SubscribeRequest request;
    request.add_filters("topic==\"/tasks/exit\"");
    stream_ = events_.Subscribe(&subscription_, request);
    // containerd answers a subscription with its first event only, so there is nothing to wait for but time.
    ::poll(nullptr, 0, 300);
  }
  ~Side() {
    subscription_.TryCancel();
    stream_->Finish();
  }

  // One container, from its snapshot to the removal of its record. `keep` adds the times to the result.
  void Life(const std::string& id, const std::string& parent, bool keep);

  std::string Json() const {
    std::string out;
    for (const auto& [step, times] : times_) {
      std::string list;
      for (const double ms : times)
        absl::StrAppend(&list, list.empty() ? "" : ",", absl::StrFormat("%.4f", ms));
      absl::StrAppend(&out, out.empty() ? "" : ",", "\"", step, "\":[", list, "]");
    }
    return absl::StrCat("\"", name_, "\":{", out, "}");
  }

 private:
  static std::shared_ptr<grpc::Channel> Connect(const std::string& socket) {
    grpc::ChannelArguments arguments;
    arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
    return grpc::CreateCustomChannel(absl::StrCat("unix:", socket), grpc::InsecureChannelCredentials(),
                                     arguments);
  }

  void Mark(grpc::ClientContext* context) const { context->AddMetadata("containerd-namespace", ns_); }

  template <typename Stub, typename Request, typename Response>
  void Call(const char* step, Stub& stub,
            grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
            const Request& request, Response* response) {
    grpc::ClientContext context;
    Mark(&context);
    const int64_t start = sys::MonotonicNanos();
    const grpc::Status status = (stub.*method)(&context, request, response);
    Note(step, start);
    if (!status.ok()) Die(absl::StrCat(name_, ": ", step, ": ", status.error_message()));
  }

  void Note(const char* step, int64_t start) {
    if (keep_) times_[step].push_back(static_cast<double>(sys::MonotonicNanos() - start) / 1e6);
  }

  void Make(const std::string& id, const std::string& parent);
  void Run(const std::string& id);
  void AwaitExit(const std::string& id);
  void Remove(const std::string& id);

  std::string name_;
  std::string ns_;
  std::string runtime_;
  std::shared_ptr<grpc::Channel> channel_;
  containers::Containers::Stub containers_;
  events::Events::Stub events_;
  snapshots::Snapshots::Stub snapshots_;
  tasks::Tasks::Stub tasks_;
  grpc::ClientContext subscription_;
  std::unique_ptr<grpc::ClientReader<containerd::types::Envelope>> stream_;
  std::map<std::string, std::vector<double>> times_;
  google::protobuf::RepeatedPtrField<containerd::types::Mount> mounts_;
  bool keep_ = false;
};

// The spec that ctr makes: no seccomp, default capabilities, the usual namespaces.
std::string SpecFor(const std::string& ns, const std::string& id) {
  oci::Spec spec = oci::DefaultSpec();
  spec.process->terminal = false;
  spec.process->args = {"/bin/true"};
  spec.root->path = "rootfs";
  spec.linux->cgroups_path = absl::StrCat("/", ns, "/", id);
  spec.linux->seccomp.reset();
  return oci::ToJson(spec);
}

void Side::Make(const std::string& id, const std::string& parent) {
  snapshots::PrepareSnapshotRequest prepare;
  snapshots::PrepareSnapshotResponse prepared;
  prepare.set_snapshotter(kSnapshotter);
  prepare.set_key(id);
  prepare.set_parent(parent);
  // There is no lease here: without the label, a collection could take the snapshot before a container has it.
  (*prepare.mutable_labels())["containerd.io/gc.root"] = "bench";
  Call("prepare", snapshots_, &snapshots::Snapshots::Stub::Prepare, prepare, &prepared);
  mounts_ = prepared.mounts();
  containers::CreateContainerRequest create;
  containers::CreateContainerResponse created;
  auto* container = create.mutable_container();
  container->set_id(id);
  container->mutable_runtime()->set_name(runtime_);
  container->mutable_spec()->set_type_url("types.containerd.io/opencontainers/runtime-spec/1/Spec");
  container->mutable_spec()->set_value(SpecFor(ns_, id));
  container->set_snapshotter(kSnapshotter);
  container->set_snapshot_key(id);
  Call("record", containers_, &containers::Containers::Stub::Create, create, &created);
}

void Side::AwaitExit(const std::string& id) {
  containerd::types::Envelope envelope;
  containerd::events::TaskExit exit;
  while (stream_->Read(&envelope)) {
    if (exit.ParseFromString(envelope.event().value()) && exit.container_id() == id) {
      if (exit.exit_status() != 0) Die(absl::StrCat(name_, ": exit status ", exit.exit_status()));
      return;
    }
  }
  Die(absl::StrCat(name_, ": the stream of events ended"));
}

void Side::Run(const std::string& id) {
  tasks::CreateTaskRequest create;
  tasks::CreateTaskResponse created;
  create.set_container_id(id);
  *create.mutable_rootfs() = mounts_;
  Call("create", tasks_, &tasks::Tasks::Stub::Create, create, &created);
  tasks::StartRequest start;
  tasks::StartResponse started;
  start.set_container_id(id);
  Call("start", tasks_, &tasks::Tasks::Stub::Start, start, &started);
  const int64_t waiting = sys::MonotonicNanos();
  AwaitExit(id);
  Note("exit", waiting);
}

void Side::Remove(const std::string& id) {
  tasks::DeleteTaskRequest task;
  tasks::DeleteResponse deleted;
  task.set_container_id(id);
  Call("delete", tasks_, &tasks::Tasks::Stub::Delete, task, &deleted);
  google::protobuf::Empty nothing;
  snapshots::RemoveSnapshotRequest snapshot;
  snapshot.set_snapshotter(kSnapshotter);
  snapshot.set_key(id);
  Call("unprepare", snapshots_, &snapshots::Snapshots::Stub::Remove, snapshot, &nothing);
  containers::DeleteContainerRequest record;
  record.set_id(id);
  Call("unrecord", containers_, &containers::Containers::Stub::Delete, record, &nothing);
}

void Side::Life(const std::string& id, const std::string& parent, bool keep) {
  keep_ = keep;
  const int64_t start = sys::MonotonicNanos();
  Make(id, parent);
  Run(id);
  Remove(id);
  Note("total", start);
}

}  // namespace
}  // namespace gantry::bench

int main(int argc, char** argv) {
  std::vector<std::vector<std::string>> typed;
  std::map<std::string, std::string> flags = {
      {"--rounds", "50"}, {"--warmup", "5"}, {"--parent", ""}, {"--namespace", "bench"}};
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (flags.count(word) != 0 && i + 1 < argc) {
      flags[word] = argv[++i];
      continue;
    }
    const std::vector<std::string> side = absl::StrSplit(word, absl::ByAnyChar("=,"));
    if (side.size() != 3) gantry::bench::Die("usage: rpc-life NAME=SOCKET,RUNTIME ... --parent CHAIN_ID");
    typed.push_back(side);
  }
  std::vector<std::unique_ptr<gantry::bench::Side>> sides;
  for (const std::vector<std::string>& side : typed) {
    sides.push_back(std::make_unique<gantry::bench::Side>(side[0], side[1], side[2], flags["--namespace"]));
  }
  int rounds = 0;
  int warmup = 0;
  if (!absl::SimpleAtoi(flags["--rounds"], &rounds) || !absl::SimpleAtoi(flags["--warmup"], &warmup)) {
    gantry::bench::Die("--rounds and --warmup are numbers");
  }
  for (int round = 0; round < warmup + rounds; ++round) {
    for (size_t i = 0; i < sides.size(); ++i) {
      const size_t turn = round % 2 == 0 ? i : sides.size() - 1 - i;
      sides[turn]->Life(absl::StrCat("life-", round), flags["--parent"], round >= warmup);
    }
  }
  std::string out;
  for (const auto& side : sides) absl::StrAppend(&out, out.empty() ? "" : ",", side->Json());
  std::printf("{%s}\n", out.c_str());
  return 0;
}
