#include "runtime/cgroup/systemd.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/cgroup/files.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::cgroup {
namespace {

using sys::DBusConnection;
using sys::DBusMessage;
using sys::DBusValue;

constexpr char kService[] = "org.freedesktop.systemd1";
constexpr char kObject[] = "/org/freedesktop/systemd1";
constexpr char kManager[] = "org.freedesktop.systemd1.Manager";
constexpr size_t kMaxProcText = 1 << 20;

struct Address {
  std::string path;
  DBusConnection::Peer peer;
};

std::string Environment(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

// Where to look, the best first.
std::vector<Address> Addresses(bool user) {
  std::vector<Address> found;
  const auto add_bus = [&found](const char* variable) {
    const std::string path = sys::DBusSocketPath(Environment(variable));
    if (!path.empty()) found.push_back({path, DBusConnection::Peer::kBus});
  };
  if (user) {
    std::string runtime = Environment("XDG_RUNTIME_DIR");
    if (runtime.empty()) runtime = absl::StrCat("/run/user/", geteuid());
    found.push_back({runtime + "/systemd/private", DBusConnection::Peer::kDirect});
    add_bus("DBUS_SESSION_BUS_ADDRESS");
    found.push_back({runtime + "/bus", DBusConnection::Peer::kBus});
  } else {
    found.push_back({"/run/systemd/private", DBusConnection::Peer::kDirect});
    add_bus("DBUS_SYSTEM_BUS_ADDRESS");
    found.push_back({"/run/dbus/system_bus_socket", DBusConnection::Peer::kBus});
  }
  return found;
}

DBusValue PropertyArray(const std::vector<SystemdProperty>& properties) {
  std::vector<DBusValue> values;
  for (const SystemdProperty& property : properties) {
    values.push_back(DBusValue::Struct({DBusValue::Text(property.name), DBusValue::Variant(property.value)}));
  }
  return DBusValue::Array("(sv)", std::move(values));
}

// Takes out the optional property that systemd complains of. False if there is none.
bool DropRefused(absl::string_view complaint, std::vector<SystemdProperty>* properties) {
  for (size_t i = 0; i < properties->size(); ++i) {
    if (!(*properties)[i].optional || !absl::StrContains(complaint, (*properties)[i].name)) continue;
    properties->erase(properties->begin() + static_cast<std::ptrdiff_t>(i));
    return true;
  }
  return false;
}

// The manager's cgroup as its first process tells: "/x/init.scope" is "/x".
std::string RootOfInit(absl::string_view proc_cgroup) {
  for (absl::string_view line : absl::StrSplit(proc_cgroup, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3 || (!fields[1].empty() && fields[1] != "name=systemd")) continue;
    absl::string_view path = fields[2];
    if (absl::ConsumeSuffix(&path, "/init.scope")) return std::string(path);
  }
  return "";
}

}  // namespace

std::map<std::string, std::string> ParseDevices(absl::string_view proc_devices) {
  std::map<std::string, std::string> names;
  char type = 'c';
  for (absl::string_view line : absl::StrSplit(proc_devices, '\n', absl::SkipEmpty())) {
    if (absl::StartsWith(line, "Block")) type = 'b';
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(absl::StripAsciiWhitespace(line), absl::MaxSplits(' ', 1));
    int64_t major = 0;
    if (absl::SimpleAtoi(pair.first, &major))
      names.emplace(absl::StrCat(std::string(1, type), major), pair.second);
  }
  return names;
}

bool IsInitialIdMap(absl::string_view uid_map) {
  const std::vector<absl::string_view> fields =
      absl::StrSplit(uid_map, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  return fields.size() == 3 && fields[0] == "0" && fields[1] == "0" && fields[2] == "4294967295";
}

absl::Status ProbeSystemd(Host* host) {
  SystemdManager manager;
  auto map = sys::ReadFileAt(AT_FDCWD, "/proc/self/uid_map", kMaxProcText);
  manager.user = geteuid() != 0 || (map.ok() && !IsInitialIdMap(*map));
  manager.device_names = ParseDevices(internal::ReadOrEmpty("/proc/devices"));
  if (manager.user) {
    GANTRY_ASSIGN_OR_RETURN(Systemd systemd, Systemd::Connect(true));
    GANTRY_ASSIGN_OR_RETURN(manager.root, systemd.ControlGroup());
  } else {
    manager.root = RootOfInit(internal::ReadOrEmpty("/proc/1/cgroup"));
  }
  host->systemd = std::move(manager);
  return absl::OkStatus();
}

// ---- the holder ----------------------------------------------------------------------------------------------

absl::StatusOr<ScopeHolder> ScopeHolder::Start() {
  struct clone_args args = {};
  int pidfd = -1;
  args.flags = CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  const pid_t parent = getpid();
  const pid_t pid = static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof args));
  if (pid < 0) return sys::ErrnoStatus("clone3", "to hold a scope open");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0);
    for (;;) pause();
  }
  ScopeHolder holder;
  holder.pid_ = pid;
  holder.pidfd_ = sys::PidFd(sys::UniqueFd(pidfd));
  return holder;
}

void ScopeHolder::Release() {
  if (!pidfd_.valid()) return;
  pidfd_.Signal(SIGKILL).IgnoreError();
  // Cloned without a signal for its end, so that nobody else hears of it: __WALL waits for such too.
  while (waitpid(pid_, nullptr, __WALL) < 0 && errno == EINTR) {
  }
  pidfd_ = sys::PidFd();
}

// ---- the manager ---------------------------------------------------------------------------------------------

absl::StatusOr<Systemd> Systemd::ConnectTo(const std::string& path, DBusConnection::Peer peer) {
  const sys::Deadline deadline = sys::Deadline::After(kSystemdPatience);
  GANTRY_ASSIGN_OR_RETURN(DBusConnection bus, DBusConnection::Connect(path, peer, deadline));
  bus.Keep("JobRemoved");
  Systemd systemd(std::move(bus), deadline);
  // Direct peers are told of everything.
  if (peer == DBusConnection::Peer::kDirect) return systemd;
  DBusMessage match;
  match.path = "/org/freedesktop/DBus";
  match.interface = match.destination = "org.freedesktop.DBus";
  match.member = "AddMatch";
  match.body = {
      DBusValue::Text(absl::StrCat("type='signal',interface='", kManager, "',member='JobRemoved'"))};
  GANTRY_RETURN_IF_ERROR(systemd.bus_.Call(std::move(match), deadline).status());
  GANTRY_RETURN_IF_ERROR(systemd.CallManager("Subscribe", {}).status());
  return systemd;
}

absl::StatusOr<Systemd> Systemd::Connect(bool user) {
  std::string tried;
  for (const Address& address : Addresses(user)) {
    auto systemd = ConnectTo(address.path, address.peer);
    if (systemd.ok()) return systemd;
    absl::StrAppend(&tried, tried.empty() ? "" : "; ", systemd.status().message());
  }
  return absl::FailedPreconditionError(absl::StrCat("the systemd cgroup driver cannot reach the ",
                                                    user ? "user's" : "system's", " systemd (", tried,
                                                    "); use the cgroupfs driver where there is none"));
}

absl::StatusOr<DBusMessage> Systemd::CallManager(const char* member, std::vector<DBusValue> body) {
  DBusMessage call;
  call.path = kObject;
  call.interface = kManager;
  call.destination = kService;
  call.member = member;
  call.body = std::move(body);
  return bus_.Call(std::move(call), deadline_);
}

absl::Status Systemd::AwaitJob(const DBusMessage& answer, absl::string_view what) {
  if (answer.body.size() != 1 || answer.body[0].signature != "o") {
    return absl::InternalError(absl::StrCat("systemd: ", what, ": its answer names no job"));
  }
  for (;;) {
    auto signal = bus_.NextSignal("JobRemoved", deadline_);
    if (!signal.ok()) return sys::Annotate(signal.status(), absl::StrCat("systemd: ", what));
    // u id, o job, s unit, s result
    if (signal->body.size() != 4 || signal->body[1].text != answer.body[0].text) continue;
    const std::string& result = signal->body[3].text;
    if (result == "done") return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("systemd: ", what, ": the job ended as \"", result, "\""));
  }
}

absl::Status Systemd::StartScope(const SystemdScope& scope, pid_t pid) {
  constexpr int kMostTries = 24;
  constexpr int kPauseMs = 20;
  SystemdScope wanted = scope;
  wanted.properties.push_back(
      {"PIDs", DBusValue::Array("u", {DBusValue::Uint32(static_cast<uint32_t>(pid))})});
  const std::string what = "start " + scope.unit;
  int existed = 0;
  for (int i = 0;; ++i) {
    auto answer = CallManager("StartTransientUnit",
                              {DBusValue::Text(scope.unit), DBusValue::Text("replace"),
                               PropertyArray(wanted.properties), DBusValue::Array("(sa(sv))", {})});
    if (answer.ok()) return AwaitJob(*answer, what);
    if (i == kMostTries) return sys::Annotate(answer.status(), "systemd: " + what);
    if (absl::IsAlreadyExists(answer.status()) && existed++ < 3) {
      // Left of an earlier one: failed, or just about to go.
      CallManager("ResetFailedUnit", {DBusValue::Text(scope.unit)}).status().IgnoreError();
      internal::Pause(kPauseMs);
    } else if (!DropRefused(answer.status().message(), &wanted.properties)) {
      return sys::Annotate(answer.status(), "systemd: " + what);
    }
  }
}

absl::Status Systemd::SetProperties(const SystemdScope& scope) {
  std::vector<SystemdProperty> properties = scope.properties;
  while (!properties.empty()) {
    const absl::Status status =
        CallManager("SetUnitProperties",
                    {DBusValue::Text(scope.unit), DBusValue::Bool(true), PropertyArray(properties)})
            .status();
    if (status.ok()) break;
    if (!DropRefused(status.message(), &properties)) {
      return sys::Annotate(status, absl::StrCat("systemd: change ", scope.unit));
    }
  }
  return absl::OkStatus();
}

absl::Status Systemd::StopUnit(const std::string& unit) {
  auto answer = CallManager("StopUnit", {DBusValue::Text(unit), DBusValue::Text("replace")});
  absl::Status status = answer.ok() ? AwaitJob(*answer, "stop " + unit) : answer.status();
  if (absl::IsNotFound(status)) return absl::OkStatus();
  // Only a unit that failed is left; of one that is not there systemd says so.
  CallManager("ResetFailedUnit", {DBusValue::Text(unit)}).status().IgnoreError();
  return sys::Annotate(status, "systemd");
}

absl::StatusOr<std::string> Systemd::ControlGroup() {
  DBusMessage call;
  call.path = kObject;
  call.interface = "org.freedesktop.DBus.Properties";
  call.destination = kService;
  call.member = "Get";
  call.body = {DBusValue::Text(kManager), DBusValue::Text("ControlGroup")};
  GANTRY_ASSIGN_OR_RETURN(const DBusMessage answer, bus_.Call(std::move(call), deadline_));
  if (answer.body.size() != 1 || answer.body[0].signature != "v" ||
      answer.body[0].items[0].signature != "s") {
    return absl::InternalError("systemd: its ControlGroup is no text");
  }
  const std::string& path = answer.body[0].items[0].text;
  if (path.empty() || path == "/") return std::string();
  if (path[0] != '/' || absl::StrContains(path, "/../") || absl::EndsWith(path, "/..")) {
    return absl::InternalError(absl::StrCat("systemd: its ControlGroup is \"", path, "\""));
  }
  return path;
}

}  // namespace gantry::cgroup
