#include "shim/test/harness.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/any/any.h"
#include "api/proto/containerd/services/ttrpc/events/v1/events.pb.h"
#include "runtime/cgroup/host.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/spawn.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

namespace v3 = containerd::task::v3;

constexpr char kNamespace[] = "shimtest";
constexpr absl::Duration kPatience = absl::Seconds(10);

}  // namespace

ShimTest::ShimTest() : loop_(*sys::EventLoop::Create()) { signal(SIGPIPE, SIG_IGN); }

void ShimTest::SetUp() {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  if (access("/bin/busybox", X_OK) != 0) GTEST_SKIP() << "needs /bin/busybox (package busybox-static)";
  char name[] = "/tmp/shim-test-XXXXXX";
  directory_ = mkdtemp(name);
  id_ = directory_.substr(directory_.rfind('-') + 1);
  cgroup_ = absl::StrCat("/shim-test-", id_);
  root_ = directory_ + "/root";
  bundle_ = directory_ + "/bundle";
  events_path_ = directory_ + "/events";
  socket_path_ = directory_ + "/shim";
  for (const char* folder :
       {"/root/bin", "/root/proc", "/root/dev", "/root/sys", "/root/tmp", "/bundle/rootfs"}) {
    ASSERT_TRUE(sys::MkdirAll(directory_ + folder, 0755).ok());
  }
  std::filesystem::copy_file("/bin/busybox", root_ + "/bin/busybox");
  for (const char* applet : {"sh", "cat", "sleep", "true", "echo", "stty", "seq", "touch"}) {
    std::filesystem::create_symlink("busybox", absl::StrCat(root_, "/bin/", applet));
  }
  StartSink();
}

ShimTest::~ShimTest() {
  if (directory_.empty()) return;
  client_.reset();
  sink_.reset();
  if (shim_pid_ != 0 && !ShimGone()) kill(shim_pid_, SIGKILL);
  if (access(bundle_.c_str(), F_OK) == 0) RunShim({"-bundle", bundle_, "delete"}, "", "2").IgnoreError();
  sys::RemoveAllAt(AT_FDCWD, directory_).IgnoreError();
  const absl::StatusOr<cgroup::Host> host = cgroup::ProbeHost();
  if (!host.ok()) return;
  for (const auto& hierarchy : host->hierarchies) rmdir((hierarchy.mount_point + cgroup_).c_str());
}

void ShimTest::StartSink() {
  auto listening = sys::ListenUnix(events_path_, SOCK_STREAM, 0600);
  ASSERT_TRUE(listening.ok()) << listening.status();
  sink_.emplace(loop_.get());
  sink_->Register("containerd.services.events.ttrpc.v1.Events", "Forward",
                  [this](const ttrpc::CallInfo&, std::string payload, ttrpc::Responder respond) {
                    containerd::services::events::ttrpc::v1::ForwardRequest request;
                    EXPECT_TRUE(request.ParseFromString(payload));
                    EXPECT_EQ(request.envelope().namespace_(), kNamespace);
                    events_.push_back({request.envelope().topic(), request.envelope().event().value()});
                    respond(std::string());
                  });
  ASSERT_TRUE(sink_->Serve(*std::move(listening), ttrpc::RequireOwnerOrRoot()).ok());
}

void ShimTest::StopSink() {
  sink_.reset();
  unlink(events_path_.c_str());
}

std::vector<std::string> ShimTest::Topics() const {
  std::vector<std::string> topics;
  for (const SeenEvent& event : events_) topics.push_back(event.topic);
  return topics;
}

void ShimTest::RunUntil(absl::FunctionRef<bool()> done, const char* what) {
  const sys::Deadline deadline = sys::Deadline::After(kPatience);
  while (!done()) {
    ASSERT_FALSE(deadline.Passed()) << "waited in vain for " << what;
    ASSERT_TRUE(loop_->RunOnce(absl::Milliseconds(5)).ok());
  }
}

void ShimTest::RunFor(absl::Duration time) {
  const sys::Deadline deadline = sys::Deadline::After(time);
  while (!deadline.Passed()) ASSERT_TRUE(loop_->RunOnce(absl::Milliseconds(5)).ok());
}

// ---- the bundle ------------------------------------------------------------------------------------------

void ShimTest::MakeBundle(std::vector<std::string> args) {
  MakeBundle(std::move(args), [](oci::Spec*) {});
}

void ShimTest::MakeBundle(std::vector<std::string> args, absl::FunctionRef<void(oci::Spec*)> change) {
  oci::Spec spec = oci::DefaultSpec();
  spec.process->args = std::move(args);
  spec.process->terminal = false;
  spec.process->env = {"PATH=/bin"};
  spec.root->path = "rootfs";
  spec.root->readonly = false;
  spec.linux->cgroups_path = absl::StrCat(cgroup_, "/", id_);
  change(&spec);
  ASSERT_TRUE(sys::MkdirAll(bundle_, 0700).ok());
  ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, bundle_ + "/config.json", oci::ToJson(spec), 0600,
                                   sys::Durability::kVolatile)
                  .ok());
}

std::string ShimTest::MakeFifo(const std::string& name) {
  const std::string path = absl::StrCat(directory_, "/", name);
  EXPECT_EQ(mkfifo(path.c_str(), 0700), 0);
  return path;
}

// ---- the shim --------------------------------------------------------------------------------------------

absl::StatusOr<std::string> ShimTest::RunShim(std::vector<std::string> arguments, const std::string& input,
                                              const std::string& max_version) {
  const std::string stem = directory_ + "/io-";
  sys::UniqueFd in(open((stem + "in").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  sys::UniqueFd out(open((stem + "out").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  GANTRY_RETURN_IF_ERROR(sys::WriteAll(in.get(), input));
  lseek(in.get(), 0, SEEK_SET);
  sys::SpawnOptions options;
  options.path = SHIM_BINARY;
  options.argv = {SHIM_BINARY,       "-namespace", kNamespace, "-address", directory_ + "/grpc",
                  "-publish-binary", "/bin/true",  "-id",      id_};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.env = {absl::StrCat("TTRPC_ADDRESS=", events_path_),
                 absl::StrCat("MAX_SHIM_VERSION=", max_version)};
  options.cwd = access(bundle_.c_str(), F_OK) == 0 ? bundle_ : directory_;
  options.fds = {{in.get(), 0}, {out.get(), 1}, {out.get(), 2}};
  GANTRY_ASSIGN_OR_RETURN(const sys::Spawned spawned, sys::Spawn(options));
  GANTRY_ASSIGN_OR_RETURN(const auto status, spawned.pidfd.Reap(sys::PidFd::Block::kWait));
  GANTRY_ASSIGN_OR_RETURN(const std::string text, sys::ReadFileAt(AT_FDCWD, stem + "out", 1 << 20));
  if (status->Code() != 0) return absl::UnknownError(text);
  return text;
}

void ShimTest::Serve() { ServeSuccessor(-1); }

void ShimTest::ServeSuccessor(int init_pidfd) {
  unlink(socket_path_.c_str());
  auto listening = sys::ListenUnix(socket_path_, SOCK_STREAM, 0600);
  ASSERT_TRUE(listening.ok()) << listening.status();
  sys::SpawnOptions options;
  options.path = SHIM_BINARY;
  options.argv = {SHIM_BINARY, "-namespace",         kNamespace,   "-id", id_,
                  "-address",  directory_ + "/grpc", "-socket-fd", "3",   "serve"};
  options.env = {absl::StrCat("TTRPC_ADDRESS=", events_path_)};
  options.cwd = bundle_;
  options.fds = {{listening->get(), 3}};
  if (init_pidfd >= 0) {
    options.argv.insert(options.argv.end() - 1, {"-init-fd", "4"});
    options.fds.emplace_back(init_pidfd, 4);
  }
  const auto spawned = sys::Spawn(options);
  ASSERT_TRUE(spawned.ok()) << spawned.status();
  Connect(socket_path_);
  const auto status = spawned->pidfd.Reap(sys::PidFd::Block::kWait);
  ASSERT_TRUE(status.ok());
  ASSERT_EQ((*status)->Code(), 0);
}

absl::StatusOr<std::string> ShimTest::StartCommand(const std::string& input, const std::string& max_version) {
  return RunShim({"start"}, input, max_version);
}

void ShimTest::Connect(const std::string& path) {
  auto client = ttrpc::Client::Connect(loop_.get(), path);
  ASSERT_TRUE(client.ok()) << client.status();
  client_ = *std::move(client);
  v3::ConnectRequest request;
  request.set_id(id_);
  const auto response = Call<v3::ConnectResponse>("Connect", request);
  ASSERT_TRUE(response.ok()) << response.status();
  shim_pid_ = static_cast<pid_t>(response->shim_pid());
  ASSERT_GT(shim_pid_, 1);
}

bool ShimTest::ShimGone() const {
  // Its parent may be slow to reap it.
  const auto stat = sys::ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", shim_pid_, "/stat"), 4096);
  return !stat.ok() || stat->find(") Z ") != std::string::npos;
}

bool ShimTest::CgroupGone() const {
  const absl::StatusOr<cgroup::Host> host = cgroup::ProbeHost();
  EXPECT_TRUE(host.ok());
  for (const auto& hierarchy : host->hierarchies) {
    if (access(absl::StrCat(hierarchy.mount_point, cgroup_, "/", id_).c_str(), F_OK) == 0) return false;
  }
  return true;
}

// ---- calls -----------------------------------------------------------------------------------------------

absl::StatusOr<std::string> ShimTest::CallRaw(const char* service, const char* method,
                                              const std::string& payload) {
  std::optional<absl::StatusOr<std::string>> answer;
  client_->Call(service, method, payload, kPatience,
                [&answer](absl::StatusOr<std::string> result) { answer = std::move(result); });
  const sys::Deadline deadline = sys::Deadline::After(2 * kPatience);
  while (!answer) {
    if (deadline.Passed()) return absl::DeadlineExceededError("no answer at all");
    GANTRY_RETURN_IF_ERROR(loop_->RunOnce(absl::Milliseconds(50)));
  }
  return *std::move(answer);
}

absl::StatusOr<pid_t> ShimTest::Create(const Streams& streams) {
  v3::CreateTaskRequest request;
  request.set_id(id_);
  request.set_bundle(bundle_);
  auto* mount = request.add_rootfs();
  mount->set_type("bind");
  mount->set_source(root_);
  mount->add_options("rbind");
  mount->add_options("rw");
  request.set_stdin(streams.in);
  request.set_stdout(streams.out);
  request.set_stderr(streams.err);
  request.set_terminal(streams.terminal);
  request.set_checkpoint(checkpoint_);
  if (!options_.type_url().empty()) *request.mutable_options() = options_;
  GANTRY_ASSIGN_OR_RETURN(const auto response, Call<v3::CreateTaskResponse>("Create", request));
  return static_cast<pid_t>(response.pid());
}

absl::StatusOr<pid_t> ShimTest::Start(const std::string& exec_id) {
  v3::StartRequest request;
  request.set_id(id_);
  request.set_exec_id(exec_id);
  GANTRY_ASSIGN_OR_RETURN(const auto response, Call<v3::StartResponse>("Start", request));
  return static_cast<pid_t>(response.pid());
}

absl::StatusOr<int> ShimTest::Wait(const std::string& exec_id) {
  v3::WaitRequest request;
  request.set_id(id_);
  request.set_exec_id(exec_id);
  GANTRY_ASSIGN_OR_RETURN(const auto response, Call<v3::WaitResponse>("Wait", request));
  return static_cast<int>(response.exit_status());
}

absl::StatusOr<int> ShimTest::Delete(const std::string& exec_id) {
  v3::DeleteRequest request;
  request.set_id(id_);
  request.set_exec_id(exec_id);
  GANTRY_ASSIGN_OR_RETURN(const auto response, Call<v3::DeleteResponse>("Delete", request));
  return static_cast<int>(response.exit_status());
}

absl::Status ShimTest::Kill(int signal, const std::string& exec_id, bool all) {
  v3::KillRequest request;
  request.set_id(id_);
  request.set_exec_id(exec_id);
  request.set_signal(static_cast<uint32_t>(signal));
  request.set_all(all);
  return CallRaw("containerd.task.v3.Task", "Kill", request.SerializeAsString()).status();
}

absl::Status ShimTest::Exec(const std::string& exec_id, std::vector<std::string> args,
                            const Streams& streams) {
  v3::ExecProcessRequest request;
  request.set_id(id_);
  request.set_exec_id(exec_id);
  request.set_stdin(streams.in);
  request.set_stdout(streams.out);
  request.set_stderr(streams.err);
  request.set_terminal(streams.terminal);
  std::string json = "{\"cwd\":\"/\",\"user\":{\"uid\":0,\"gid\":0},\"env\":[\"PATH=/bin\"],\"args\":[";
  for (size_t i = 0; i < args.size(); ++i) absl::StrAppend(&json, i > 0 ? "," : "", "\"", args[i], "\"");
  any::PackJson(any::kRuntimeProcess, json + "]}", request.mutable_spec());
  return CallRaw("containerd.task.v3.Task", "Exec", request.SerializeAsString()).status();
}

absl::StatusOr<v3::StateResponse> ShimTest::State(const std::string& exec_id) {
  v3::StateRequest request;
  request.set_id(id_);
  request.set_exec_id(exec_id);
  return Call<v3::StateResponse>("State", request);
}

absl::Status ShimTest::Shutdown() {
  v3::ShutdownRequest request;
  request.set_id(id_);
  return CallRaw("containerd.task.v3.Task", "Shutdown", request.SerializeAsString()).status();
}

absl::Status ShimTest::Simple(const char* method) {
  v3::PauseRequest request;  // Pause and Resume have the same fields
  request.set_id(id_);
  return CallRaw("containerd.task.v3.Task", method, request.SerializeAsString()).status();
}

std::string ReadSome(int fd, size_t size, absl::Duration patience) {
  std::string got;
  const sys::Deadline deadline = sys::Deadline::After(patience);
  while (got.size() < size && !deadline.Passed()) {
    pollfd wait = {fd, POLLIN, 0};
    if (poll(&wait, 1, deadline.PollTimeout()) <= 0) break;
    char chunk[4096];
    const ssize_t n = read(fd, chunk, std::min(sizeof(chunk), size - got.size()));
    if (n <= 0) break;
    got.append(chunk, static_cast<size_t>(n));
  }
  return got;
}

}  // namespace gantry::shim
