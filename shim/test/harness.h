// Drives the real containerd-shim-gantry-v2 as a daemon does: over its command line and ttrpc, with a sink for its
// events. For integration tests; needs root and /bin/busybox. Everything is below one temporary directory and one
// cgroup, and gone afterwards.
#ifndef GANTRY_SHIM_TEST_HARNESS_H_
#define GANTRY_SHIM_TEST_HARNESS_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "api/proto/containerd/runtime/task/v3/shim.pb.h"
#include "api/ttrpc/client.h"
#include "api/ttrpc/server.h"
#include "gtest/gtest.h"
#include "runtime/oci/spec.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::shim {

struct SeenEvent {
  std::string topic;
  std::string value;  // the serialized event
};

class ShimTest : public ::testing::Test {
 protected:
  ShimTest();
  ~ShimTest() override;
  void SetUp() override;

  // ---- the daemon's side
  void StartSink();
  void StopSink();
  std::vector<std::string> Topics() const;
  // Runs the loop until `done`, or fails after ten seconds.
  void RunUntil(absl::FunctionRef<bool()> done, const char* what);
  void RunFor(absl::Duration time);

  // ---- the bundle
  // A sane container of busybox that runs `args`; `change` may edit it.
  void MakeBundle(std::vector<std::string> args, absl::FunctionRef<void(oci::Spec*)> change);
  void MakeBundle(std::vector<std::string> args);
  std::string MakeFifo(const std::string& name);

  // ---- the shim
  void Serve();  // by `serve`, as gantryd
  // The same after the shim was killed, for the container whose init is behind this pidfd.
  void ServeSuccessor(int init_pidfd);
  // By `start`, as containerd, with `input` on stdin; what it printed, or its error text as a status.
  absl::StatusOr<std::string> StartCommand(const std::string& input, const std::string& max_version);
  void Connect(const std::string& path);
  // Runs the shim's binary to its end; its standard output, or its error text as a status.
  absl::StatusOr<std::string> RunShim(std::vector<std::string> arguments, const std::string& input,
                                      const std::string& max_version);
  bool ShimGone() const;
  bool CgroupGone() const;

  // ---- calls
  absl::StatusOr<std::string> CallRaw(const char* service, const char* method, const std::string& payload);
  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(const char* method, const Request& request) {
    absl::StatusOr<std::string> answer =
        CallRaw("containerd.task.v3.Task", method, request.SerializeAsString());
    if (!answer.ok()) return answer.status();
    Response response;
    if (!response.ParseFromString(*answer)) return absl::DataLossError("not the response's type");
    return response;
  }
  struct Streams {
    std::string in, out, err;
    bool terminal = false;
  };
  absl::StatusOr<pid_t> Create(const Streams& streams);
  absl::StatusOr<pid_t> Create() { return Create(Streams()); }
  absl::StatusOr<pid_t> Start(const std::string& exec_id = "");
  absl::StatusOr<int> Wait(const std::string& exec_id = "");  // the exit status
  absl::StatusOr<int> Delete(const std::string& exec_id = "");
  absl::Status Kill(int signal, const std::string& exec_id = "", bool all = false);
  absl::Status Exec(const std::string& exec_id, std::vector<std::string> args, const Streams& streams);
  absl::Status Exec(const std::string& exec_id, std::vector<std::string> args) {
    return Exec(exec_id, std::move(args), Streams());
  }
  absl::StatusOr<containerd::task::v3::StateResponse> State(const std::string& exec_id = "");
  absl::Status Shutdown();
  absl::Status Simple(const char* method);  // Pause, Resume

  google::protobuf::Any options_;  // of Create, as the next
  std::string checkpoint_;
  std::unique_ptr<sys::EventLoop> loop_;
  std::string directory_, root_, bundle_, id_, cgroup_, events_path_, socket_path_;
  std::optional<ttrpc::Server> sink_;
  std::vector<SeenEvent> events_;
  std::unique_ptr<ttrpc::Client> client_;
  pid_t shim_pid_ = 0;
};

// What can be read from `fd` now; waits up to `patience` for `size` bytes.
std::string ReadSome(int fd, size_t size, absl::Duration patience = absl::Seconds(5));

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_TEST_HARNESS_H_
