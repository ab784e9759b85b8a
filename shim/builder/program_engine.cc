#include "shim/builder/program_engine.h"

#include <fcntl.h>
#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/linux/private_root.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"
#include "shim/builder/bundle_lock.h"
#include "shim/builder/checkpoint.h"
#include "shim/builder/fork.h"
#include "shim/builder/process_cgroup.h"
#include "shim/builder/program.h"
#include "shim/builder/saved_state.h"

namespace gantry::shim {
namespace {

constexpr char kRecord[] = "/gantry-runtime";
constexpr size_t kMaxRecordBytes = 16 << 10;
constexpr size_t kMaxPidBytes = 64;

// What a program says of a container or process that is not there any more, as containerd's shim knows it.
bool TellsOfNothingThere(absl::string_view words) {
  return absl::StrContains(words, "does not exist") || absl::StrContains(words, "no such file or directory");
}
bool TellsOfAnEnd(absl::string_view words) {
  return absl::StrContains(words, "process already finished") ||
         absl::StrContains(words, "no such process") || absl::StrContains(words, "No such process") ||
         absl::StrContains(words, "not running") || TellsOfNothingThere(words);
}

// The socket at which a program delivers the master of a terminal. Named through our own descriptor of the bundle, as
// a path of the bundle may be longer than a socket's address.
class ConsoleSocket {
 public:
  absl::Status Open(const std::string& bundle) {
    name_ = absl::StrCat("console-", getpid());
    GANTRY_ASSIGN_OR_RETURN(directory_, sys::OpenAt(AT_FDCWD, bundle, O_PATH | O_DIRECTORY));
    path_ = absl::StrCat("/proc/", getpid(), "/fd/", directory_.get(), "/", name_);
    GANTRY_ASSIGN_OR_RETURN(listening_, sys::ListenUnix(path_, SOCK_STREAM | SOCK_NONBLOCK, 0600, 1));
    return absl::OkStatus();
  }
  ~ConsoleSocket() {
    if (directory_.valid()) unlinkat(directory_.get(), name_.c_str(), 0);
  }
  const std::string& path() const { return path_; }

  // After the program has ended: it must have connected and sent.
  absl::StatusOr<sys::UniqueFd> Take() const {
    const sys::UniqueFd connection(accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection) return sys::ErrnoStatus("accept", "the runtime sent no terminal");
    GANTRY_ASSIGN_OR_RETURN(sys::ReceivedMessage message, sys::ReceiveWithFds(connection.get(), 4096));
    if (message.fds.empty()) return absl::InternalError("the runtime sent no terminal");
    return std::move(message.fds[0]);
  }

 private:
  std::string name_, path_;
  sys::UniqueFd directory_, listening_;
};

absl::StatusOr<pid_t> ReadPid(const std::string& path) {
  GANTRY_ASSIGN_OR_RETURN(const std::string text, sys::ReadFileAt(AT_FDCWD, path, kMaxPidBytes));
  pid_t pid = 0;
  if (!absl::SimpleAtoi(text, &pid) || pid <= 0) {
    return absl::InternalError(absl::StrCat(path, ": the runtime wrote no process id"));
  }
  return pid;
}

bool SharesPidNamespace(pid_t pid) {
  struct stat theirs, ours;
  return stat(absl::StrCat("/proc/", pid, "/ns/pid").c_str(), &theirs) != 0 ||
         stat("/proc/self/ns/pid", &ours) != 0 || theirs.st_ino == ours.st_ino;
}

absl::StatusOr<std::string> WithTerminal(const std::string& process_json, bool terminal) {
  rapidjson::Document process;
  process.Parse<rapidjson::kParseIterativeFlag>(process_json.data(), process_json.size());
  if (process.HasParseError() || !process.IsObject()) {
    return absl::InvalidArgumentError("process: no JSON object");
  }
  process.RemoveMember("terminal");
  process.AddMember("terminal", terminal, process.GetAllocator());
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  process.Accept(writer);
  return std::string(buffer.GetString(), buffer.GetSize());
}

// Runs in the helper. What the shim keeps of the container that the program has made.
absl::Status Collect(const CreateJob& job, const std::string& pid_file, Created* created) {
  container::Container& container = created->container;
  GANTRY_ASSIGN_OR_RETURN(container.pid, ReadPid(pid_file));
  // A child of the shim, which reaps nothing meanwhile: the number is still that process's.
  GANTRY_ASSIGN_OR_RETURN(container.pidfd, sys::PidFd::Open(container.pid));
  GANTRY_ASSIGN_OR_RETURN(container.start_time, sys::ProcessStartTime(container.pid));
  GANTRY_ASSIGN_OR_RETURN(auto directories, DirectoriesOfProcess(container.pid));
  container.cgroup = cgroup::Cgroup(std::move(directories));
  created->private_pid_namespace = !SharesPidNamespace(container.pid);
  return SaveCreated(job, *created, container);
}

absl::Status CreateHere(const EngineOptions& options, const CreateJob& job, Created* created) {
  GANTRY_RETURN_IF_ERROR(sys::WriteFileAtomic(AT_FDCWD, job.bundle + kRecord, FormatEngineRecord(options),
                                              0600, sys::Durability::kVolatile));
  ConsoleSocket console;
  const std::string pid_file = job.bundle + "/init.pid";
  ProgramCall call;
  call.bundle = job.bundle;
  call.arguments = {"create", "--bundle", job.bundle, "--pid-file", pid_file};
  if (!job.checkpoint.empty()) {
    call.arguments[0] = "restore";
    call.arguments.insert(call.arguments.end(), {"--detach", "--image-path", job.checkpoint, "--work-path",
                                                 CriuWorkPath(job.criu_work_path, job.bundle)});
  } else if (options.no_new_keyring) {
    call.arguments.push_back("--no-new-keyring");
  }
  if (options.no_pivot) call.arguments.push_back("--no-pivot");
  if (job.terminal) {
    GANTRY_RETURN_IF_ERROR(console.Open(job.bundle));
    call.arguments.insert(call.arguments.end(), {"--console-socket", console.path()});
  } else {
    call.stdio = &job.stdio;
  }
  call.arguments.push_back(job.id);
  if (!job.rootfs.empty()) {
    const std::string root = job.bundle + "/rootfs";
    if (mkdir(root.c_str(), 0711) != 0 && errno != EEXIST) return sys::ErrnoStatus("mkdir", root);
    GANTRY_ASSIGN_OR_RETURN(created->container.root_mount, linux::MountRootPrivately(job.rootfs, root));
  }
  GANTRY_RETURN_IF_ERROR(RunProgram(options, call));
  absl::Status status = Collect(job, pid_file, created);
  if (status.ok() && job.terminal) {
    absl::StatusOr<sys::UniqueFd> master = console.Take();
    status = master.status();
    if (master.ok()) created->container.pty_master = *std::move(master);
  }
  if (!status.ok()) ForceDelete(options, job.id, job.bundle).IgnoreError();
  return status;
}

absl::StatusOr<container::ExecProcess> ExecHere(const EngineOptions& options, const ExecJob& job) {
  const std::string file = absl::StrCat(job.bundle, "/process-", getpid(), ".json");
  const std::string pid_file = absl::StrCat(job.bundle, "/process-", getpid(), ".pid");
  const absl::Cleanup remove = [&] {
    unlink(file.c_str());
    unlink(pid_file.c_str());
  };
  GANTRY_ASSIGN_OR_RETURN(const std::string process, WithTerminal(job.process_json, job.terminal));
  GANTRY_RETURN_IF_ERROR(sys::WriteFileAtomic(AT_FDCWD, file, process, 0600, sys::Durability::kVolatile));
  ConsoleSocket console;
  ProgramCall call;
  call.bundle = job.bundle;
  call.arguments = {"exec", "--process", file, "--pid-file", pid_file, "--detach"};
  if (job.terminal) {
    GANTRY_RETURN_IF_ERROR(console.Open(job.bundle));
    call.arguments.insert(call.arguments.end(), {"--console-socket", console.path()});
  } else {
    call.stdio = &job.stdio;
  }
  call.arguments.push_back(job.id);
  GANTRY_RETURN_IF_ERROR(RunProgram(options, call));
  container::ExecProcess result;
  GANTRY_ASSIGN_OR_RETURN(result.pid, ReadPid(pid_file));
  GANTRY_ASSIGN_OR_RETURN(result.pidfd, sys::PidFd::Open(result.pid));
  if (job.terminal) {
    GANTRY_ASSIGN_OR_RETURN(result.pty_master, console.Take());
  }
  return result;
}

class ProgramEngine final : public Engine {
 public:
  explicit ProgramEngine(const EngineOptions& options) : options_(options) {}

  Job Create(const CreateJob& job) const override {
    return RunForked(FdsOf(job.stdio), [this, &job, shim = getpid()](int socket) {
      Created created;
      const absl::StatusOr<sys::UniqueFd> held = HoldBundle(job.bundle, shim);
      const absl::Status status = held.ok() ? CreateHere(options_, job, &created) : held.status();
      const bool sent = SendCreated(socket, created, status).ok();
      if (!sent && status.ok()) ForceDelete(options_, job.id, job.bundle).IgnoreError();
    });
  }
  Job Exec(const ExecJob& job) const override {
    return RunForked(FdsOf(job.stdio), [this, &job](int socket) {
      const absl::StatusOr<container::ExecProcess> process = ExecHere(options_, job);
      const absl::Status sent = container::SendExecProcess(socket, process);
      if (!sent.ok() && process.ok()) process->pidfd.Signal(SIGKILL).IgnoreError();
    });
  }
  Job Start(const EngineTarget& target) const override { return Run(target, {"start", target.id}); }
  Job Signal(const EngineTarget& target, int signal, bool all) const override {
    std::vector<std::string> arguments = {"kill"};
    if (all) arguments.push_back("--all");
    arguments.insert(arguments.end(), {target.id, absl::StrCat(signal)});
    return RunForked({}, [&](int socket) {
      absl::Status status = RunProgram(options_, {arguments, target.bundle, "", nullptr});
      if (!status.ok() && TellsOfAnEnd(status.message())) {
        status = absl::NotFoundError("process already finished");
      }
      SendStatus(socket, status);
    });
  }
  Job Pause(const EngineTarget& target) const override { return Run(target, {"pause", target.id}); }
  Job Resume(const EngineTarget& target) const override { return Run(target, {"resume", target.id}); }
  Job Checkpoint(const EngineTarget& target, const CheckpointJob& job) const override {
    const std::string work = CriuWorkPath(job.work_path, target.bundle);
    std::vector<std::string> arguments = {"checkpoint", "--image-path", job.image_path, "--work-path", work};
    const std::pair<bool, const char*> switches[] = {{job.leave_running, "--leave-running"},
                                                     {job.open_tcp, "--tcp-established"},
                                                     {job.external_unix_sockets, "--ext-unix-sk"},
                                                     {job.terminal, "--shell-job"},
                                                     {job.file_locks, "--file-locks"}};
    for (const auto& [on, name] : switches) {
      if (on) arguments.push_back(name);
    }
    if (!job.parent_path.empty()) {
      arguments.insert(arguments.end(), {"--parent-path", job.parent_path});
    }
    if (!job.cgroups_mode.empty()) {
      arguments.insert(arguments.end(), {"--manage-cgroups-mode", job.cgroups_mode});
    }
    for (const std::string& name : job.empty_namespaces) {
      arguments.insert(arguments.end(), {"--empty-ns", name});
    }
    arguments.push_back(target.id);
    return Run(target, std::move(arguments));
  }
  Job Update(const EngineTarget& target, const std::string& resources_json) const override {
    return Run(target, {"update", "--resources", "-", target.id}, resources_json);
  }
  Job Delete(const EngineTarget& target) const override {
    return RunForked(
        {}, [&](int socket) { SendStatus(socket, ForceDelete(options_, target.id, target.bundle)); });
  }

 private:
  Job Run(const EngineTarget& target, std::vector<std::string> arguments, std::string input = "") const {
    return RunForked({}, [&](int socket) {
      SendStatus(socket,
                 RunProgram(options_, {std::move(arguments), target.bundle, std::move(input), nullptr}));
    });
  }

  const EngineOptions options_;
};

}  // namespace

std::unique_ptr<Engine> MakeProgramEngine(const EngineOptions& options) {
  return std::make_unique<ProgramEngine>(options);
}

std::string FormatEngineRecord(const EngineOptions& options) {
  return absl::StrCat("program ", options.program, "\nroot ", options.root, "\nsystemd ",
                      options.systemd_cgroup ? 1 : 0, "\n");
}

absl::StatusOr<EngineOptions> ParseEngineRecord(absl::string_view text) {
  EngineOptions options;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (absl::ConsumePrefix(&line, "program ")) {
      options.program = std::string(line);
    } else if (absl::ConsumePrefix(&line, "root ")) {
      options.root = std::string(line);
    } else if (absl::ConsumePrefix(&line, "systemd ")) {
      options.systemd_cgroup = line == "1";
    }
  }
  if (options.program.empty() || options.root.empty()) {
    return absl::DataLossError("gantry-runtime: lacks its program or root");
  }
  return options;
}

absl::StatusOr<EngineOptions> ReadEngineRecord(const std::string& bundle) {
  GANTRY_ASSIGN_OR_RETURN(const std::string text,
                          sys::ReadFileAt(AT_FDCWD, bundle + kRecord, kMaxRecordBytes));
  return ParseEngineRecord(text);
}

absl::Status ForceDelete(const EngineOptions& options, const std::string& id, const std::string& bundle) {
  const absl::Status status = RunProgram(options, {{"delete", "--force", id}, bundle, "", nullptr});
  if (!status.ok() && TellsOfNothingThere(status.message())) return absl::OkStatus();
  return status;
}

}  // namespace gantry::shim
