// The systemd driver against a systemd of our own making; the real one is tried in the virtual machine (test/vm).
#include "runtime/cgroup/systemd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::cgroup {
namespace {

using sys::DBusMessage;
using sys::DBusValue;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Host Unified(bool user = false) {
  Host host = ParseHost("26 22 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/x\n",
                        "cpuset cpu io memory hugetlb pids rdma\n");
  host.systemd.emplace();
  host.systemd->user = user;
  if (user) host.systemd->root = "/user.slice/user-5.slice/user@5.service";
  host.systemd->device_names =
      ParseDevices("Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n");
  return host;
}

absl::StatusOr<Plan> PlanIt(const std::string& path, const oci::Resources& resources = {},
                            const std::map<std::string, std::string>& annotations = {},
                            const Host& host = Unified()) {
  Placement placement = {path, "id"};
  placement.systemd = true;
  placement.annotations = &annotations;
  return PlanCreate(host, placement, &resources);
}

std::vector<std::string> Properties(const absl::StatusOr<Plan>& plan) {
  if (!plan.ok()) return {plan.status().ToString()};
  std::vector<std::string> lines;
  for (const SystemdProperty& property : plan->scope->properties) {
    lines.push_back(absl::StrCat(property.name, "=", sys::ToText(property.value)));
  }
  return lines;
}

TEST(SystemdPlanTest, ThePathNamesSliceAndScope) {
  auto plan = PlanIt("machine-a-b.slice:docker:ab12");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->directories[0].path,
            "/sys/fs/cgroup/machine.slice/machine-a.slice/machine-a-b.slice/docker-ab12.scope");
  EXPECT_EQ(plan->directories[0].unit, "docker-ab12.scope");
  EXPECT_EQ(plan->scope->slice, "machine-a-b.slice");
  EXPECT_EQ(PlanIt("")->directories[0].path, "/sys/fs/cgroup/system.slice/gantry-id.scope");
  EXPECT_EQ(PlanIt("::x")->directories[0].path, "/sys/fs/cgroup/system.slice/x.scope");
  EXPECT_EQ(PlanIt("-.slice:p:x")->directories[0].path, "/sys/fs/cgroup/p-x.scope");
  EXPECT_EQ(PlanIt("", {}, {}, Unified(true))->directories[0].path,
            "/sys/fs/cgroup/user.slice/user-5.slice/user@5.service/user.slice/gantry-id.scope");
}

TEST(SystemdPlanTest, APathThatIsNoneIsRefused) {
  for (const char* path : {"/a/b", "a:b", "a:b:c:d", "a.slice:b:", "a:b:c", "../x.slice:b:c", "a/b.slice:p:c",
                           "a.slice:p:../c", "a--b.slice:p:c", ".slice:p:c", "a.slice:p:c d"}) {
    EXPECT_THAT(PlanIt(path).status().message(), HasSubstr("linux.cgroupsPath")) << path;
  }
  EXPECT_FALSE(PlanIt(absl::StrCat("a.slice:p:", std::string(300, 'x'))).ok());
  Host none = Unified();
  none.systemd.reset();
  EXPECT_EQ(PlanIt("", {}, {}, none).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(SystemdPlanTest, LimitsAreProperties) {
  oci::Resources r;
  r.memory.emplace().limit = 1000;
  r.memory->swap = 1500;
  r.memory->reservation = 10;
  r.cpu.emplace().shares = 1024;
  r.cpu->quota = 25000;
  r.cpu->period = 50000;
  r.cpu->cpus = "0-2,9";
  r.pids_limit = 33;
  r.block_io.emplace().weight = 1000;
  r.unified = {{"memory.high", "900"}, {"memory.oom.group", "1"}, {"hugetlb.2MB.max", "0"}};
  const std::vector<std::string> properties = Properties(PlanIt("", r));
  for (const char* line :
       {"Slice='system.slice'", "Delegate=true", "DefaultDependencies=false", "MemoryMax=uint64 1000",
        "MemorySwapMax=uint64 500", "MemoryLow=uint64 10", "CPUWeight=uint64 100",
        "CPUQuotaPeriodUSec=uint64 50000", "CPUQuotaPerSecUSec=uint64 500000", "AllowedCPUs=[byte 7, byte 2]",
        "TasksMax=uint64 33", "IOWeight=uint64 10000", "MemoryHigh=uint64 900", "OOMPolicy='kill'",
        "DevicePolicy='strict'"}) {
    EXPECT_THAT(properties, Contains(line));
  }
  EXPECT_THAT(properties, Contains(HasSubstr("('/dev/char/1:3', 'rwm')")));
  EXPECT_THAT(properties, Contains(HasSubstr("('char-pts', 'rwm')")));
  r = {};
  r.cpu.emplace().quota = -1;
  r.pids_limit = -1;
  EXPECT_THAT(Properties(PlanIt("", r)), Contains("CPUQuotaPerSecUSec=uint64 18446744073709551615"));
  EXPECT_THAT(Properties(PlanIt("", r)), Contains("TasksMax=uint64 18446744073709551615"));
}

TEST(SystemdPlanTest, ALimitOfOneProcessWaitsForTheHolderToGo) {
  oci::Resources r;
  r.pids_limit = 1;
  auto plan = PlanIt("", r);
  EXPECT_THAT(Properties(plan), Contains("TasksMax=uint64 2"));
  EXPECT_TRUE(plan->writes.empty());
  ASSERT_EQ(plan->late_writes.size(), 1u);
  EXPECT_EQ(plan->late_writes[0].file, "pids.max");
}

TEST(SystemdPlanTest, AnUpdateChangesOnlyWhatIsAsked) {
  oci::Resources r;
  r.memory.emplace().limit = 5;
  auto plan = PlanUpdate(PlanIt("")->directories, r);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Properties(plan), ElementsAre("MemoryMax=uint64 5"));
  EXPECT_EQ(plan->scope->unit, "gantry-id.scope");
  Placement cgroupfs = {"/a", "id"};
  EXPECT_FALSE(PlanUpdate(PlanCreate(Unified(), cgroupfs, nullptr)->directories, r)->scope.has_value());
}

// CVE-2024-3154.
TEST(SystemdPlanTest, AnnotationsSetOnlyHarmlessProperties) {
  EXPECT_THAT(Properties(PlanIt("", {},
                                {{"org.systemd.property.TimeoutStopSec", "5"},
                                 {"org.systemd.property.CollectMode", "'inactive'"},
                                 {"other", "ignored"}})),
              testing::AllOf(Contains("TimeoutStopUSec=uint64 5000000"), Contains("CollectMode='inactive'")));
  for (const char* name :
       {"ExecStart", "SuccessAction", "FailureAction", "OnFailure", "Conflicts", "Wants", "Slice", "Delegate",
        "PIDs", "DeviceAllow", "Controller", "User", "", "a b", "MemoryMax=1\nUser"}) {
    EXPECT_THAT(PlanIt("", {}, {{absl::StrCat("org.systemd.property.", name), "'x'"}}).status().message(),
                HasSubstr("may not be set by an annotation"))
        << name;
  }
  EXPECT_THAT(PlanIt("", {}, {{"org.systemd.property.MemoryMax", "uint64"}}).status().message(),
              HasSubstr("org.systemd.property.MemoryMax"));
  EXPECT_FALSE(PlanIt("", {}, {{"org.systemd.property.TimeoutStopSec", "'x'"}}).ok());
  EXPECT_FALSE(PlanIt("", {}, {{"org.systemd.property.TimeoutStopSec", "-1"}}).ok());
}

TEST(SystemdPlanTest, UnitsAreSavedWithTheirDirectories) {
  for (const bool user : {false, true}) {
    const std::vector<Directory> directories = PlanIt("", {}, {}, Unified(user))->directories;
    auto again = ParseDirectories(FormatDirectories(directories));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, directories);
  }
}

TEST(SystemdProbeTest, AUserNamespaceIsKnownByItsMap) {
  EXPECT_TRUE(IsInitialIdMap("         0          0 4294967295\n"));
  EXPECT_FALSE(IsInitialIdMap("         0       1000          1\n"));
  EXPECT_FALSE(IsInitialIdMap(""));
}

// Serves one connection as systemd's private socket does; `answer` gets each call and writes what it likes.
class FakeSystemd {
 public:
  using Answer = std::function<void(FakeSystemd&, const DBusMessage&)>;

  explicit FakeSystemd(Answer answer) {
    char name[] = "/tmp/gantry-systemd-test-XXXXXX";
    directory_ = mkdtemp(name);
    path = directory_ + "/private";
    listen_ = *sys::ListenUnix(path, SOCK_STREAM, 0600);
    thread_ = std::thread([this, answer = std::move(answer)] {
      fd_ = sys::UniqueFd(accept4(listen_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!Read("DATA\r\n")) return;
      sys::WriteAll(fd_.get(), "DATA\r\nOK 12\r\n").IgnoreError();
      if (!Read("BEGIN\r\n")) return;
      for (std::string bytes(sys::kDBusFixedHeader, '\0'); Fill(&bytes, 0);
           bytes.resize(sys::kDBusFixedHeader)) {
        bytes.resize(*sys::DBusMessageSize(bytes));
        Fill(&bytes, sys::kDBusFixedHeader);
        const DBusMessage call = *sys::UnmarshalMessage(bytes);
        calls.push_back(call);
        answer(*this, call);
      }
    });
  }
  ~FakeSystemd() { Join(); }
  void Join() {
    if (thread_.joinable()) thread_.join();
    sys::RemoveAllAt(AT_FDCWD, directory_).IgnoreError();
  }

  void Send(DBusMessage::Type type, uint32_t reply, const std::string& name, std::vector<DBusValue> body) {
    DBusMessage message;
    message.type = type;
    message.serial = 1;
    message.reply_serial = reply;
    (type == DBusMessage::Type::kError ? message.error_name : message.member) = name;
    message.body = std::move(body);
    sys::WriteAll(fd_.get(), sys::MarshalMessage(message)).IgnoreError();
  }
  void Job(const DBusMessage& call, const std::string& job, const char* result) {
    const auto removed = [this](const std::string& path, const char* how) {
      Send(DBusMessage::Type::kSignal, 0, "JobRemoved",
           {DBusValue::Uint32(1), {"o", 0, 0, path}, DBusValue::Text("x.scope"), DBusValue::Text(how)});
    };
    removed("/job/of/another", "failed");
    Send(DBusMessage::Type::kReturn, call.serial, "", {{"o", 0, 0, job}});
    removed(job, result);
  }
  void Error(const DBusMessage& call, const char* name, const char* text) {
    Send(DBusMessage::Type::kError, call.serial, name, {DBusValue::Text(text)});
  }

  std::string path;
  std::vector<DBusMessage> calls;

 private:
  bool Read(absl::string_view end) {
    std::string seen;
    char byte;
    while (seen.find(std::string(end)) == std::string::npos) {
      if (read(fd_.get(), &byte, 1) != 1) return false;
      seen.push_back(byte);
    }
    return true;
  }
  bool Fill(std::string* bytes, size_t from) {
    const size_t size = bytes->size() - from;
    return recv(fd_.get(), bytes->data() + from, size, MSG_WAITALL) == static_cast<ssize_t>(size);
  }

  std::string directory_;
  sys::UniqueFd listen_, fd_;
  std::thread thread_;
};

std::vector<std::string> NamesIn(const DBusValue& properties) {
  std::vector<std::string> names;
  for (const DBusValue& pair : properties.items) names.push_back(pair.items[0].text);
  return names;
}

// Runs `use` on a connection to `systemd`, then ends both.
absl::Status With(FakeSystemd* systemd, const std::function<absl::Status(Systemd&)>& use) {
  auto connection = Systemd::ConnectTo(systemd->path, sys::DBusConnection::Peer::kDirect);
  if (!connection.ok()) return connection.status();
  absl::Status status = use(*connection);
  connection = absl::CancelledError();
  systemd->Join();
  return status;
}

SystemdScope SomeScope() {
  SystemdScope scope;
  scope.unit = "x.scope";
  scope.properties = {{"Delegate", DBusValue::Bool(true)}, {"AllowedCPUs", DBusValue::Array("y", {}), true}};
  return scope;
}

TEST(SystemdTest, AScopeStartsWhenItsJobIsDone) {
  FakeSystemd fake([](FakeSystemd& self, const DBusMessage& call) { self.Job(call, "/job/7", "done"); });
  const absl::Status status =
      With(&fake, [](Systemd& systemd) { return systemd.StartScope(SomeScope(), 42); });
  EXPECT_TRUE(status.ok()) << status;
  ASSERT_EQ(fake.calls.size(), 1u);
  EXPECT_EQ(fake.calls[0].member, "StartTransientUnit");
  EXPECT_EQ(fake.calls[0].body[0].text, "x.scope");
  EXPECT_THAT(NamesIn(fake.calls[0].body[2]), ElementsAre("Delegate", "AllowedCPUs", "PIDs"));
}

TEST(SystemdTest, AJobThatFailsIsAnError) {
  FakeSystemd fake([](FakeSystemd& self, const DBusMessage& call) { self.Job(call, "/job/7", "timeout"); });
  const absl::Status status =
      With(&fake, [](Systemd& systemd) { return systemd.StartScope(SomeScope(), 42); });
  EXPECT_THAT(status.message(), HasSubstr("start x.scope: the job ended as \"timeout\""));
}

TEST(SystemdTest, AnOldSystemdIsAskedAgainWithoutWhatItDoesNotKnow) {
  FakeSystemd fake([](FakeSystemd& self, const DBusMessage& call) {
    const std::vector<std::string> names = NamesIn(call.body[2]);
    if (std::find(names.begin(), names.end(), "AllowedCPUs") == names.end())
      return self.Job(call, "/j", "done");
    self.Error(call, "org.freedesktop.DBus.Error.PropertyReadOnly",
               "Cannot set property AllowedCPUs, or unknown property.");
  });
  EXPECT_TRUE(With(&fake, [](Systemd& systemd) { return systemd.StartScope(SomeScope(), 42); }).ok());
  FakeSystemd stubborn([](FakeSystemd& self, const DBusMessage& call) {
    self.Error(call, "org.freedesktop.DBus.Error.PropertyReadOnly", "Cannot set property Delegate.");
  });
  EXPECT_THAT(With(&stubborn, [](Systemd& systemd) { return systemd.StartScope(SomeScope(), 42); }).message(),
              HasSubstr("Cannot set property Delegate"));
}

TEST(SystemdTest, AFailedUnitOfTheNameIsClearedAway) {
  int starts = 0;
  FakeSystemd fake([&starts](FakeSystemd& self, const DBusMessage& call) {
    if (call.member == "ResetFailedUnit") return self.Send(DBusMessage::Type::kReturn, call.serial, "", {});
    if (starts++ == 0) return self.Error(call, "org.freedesktop.systemd1.UnitExists", "exists");
    self.Job(call, "/j", "done");
  });
  EXPECT_TRUE(With(&fake, [](Systemd& systemd) { return systemd.StartScope(SomeScope(), 42); }).ok());
  FakeSystemd living([](FakeSystemd& self, const DBusMessage& call) {
    self.Error(call, "org.freedesktop.systemd1.UnitExists", "Unit x.scope already exists.");
  });
  EXPECT_TRUE(absl::IsAlreadyExists(
      With(&living, [](Systemd& systemd) { return systemd.StartScope(SomeScope(), 42); })));
}

TEST(SystemdTest, AUnitThatIsNotThereIsStopped) {
  FakeSystemd fake([](FakeSystemd& self, const DBusMessage& call) {
    self.Error(call, "org.freedesktop.systemd1.NoSuchUnit", "Unit x.scope not loaded.");
  });
  EXPECT_TRUE(With(&fake, [](Systemd& systemd) { return systemd.StopUnit("x.scope"); }).ok());
}

TEST(SystemdTest, AHostileControlGroupIsRefused) {
  for (const char* path : {"relative", "/a/../..", "/.."}) {
    FakeSystemd fake([path](FakeSystemd& self, const DBusMessage& call) {
      self.Send(DBusMessage::Type::kReturn, call.serial, "", {DBusValue::Variant(DBusValue::Text(path))});
    });
    EXPECT_FALSE(With(&fake, [](Systemd& systemd) { return systemd.ControlGroup().status(); }).ok()) << path;
  }
}

TEST(ScopeHolderTest, LivesUntilItIsReleased) {
  auto holder = ScopeHolder::Start();
  ASSERT_TRUE(holder.ok()) << holder.status();
  const pid_t pid = holder->pid();
  EXPECT_EQ(kill(pid, 0), 0);
  holder->Release();
  EXPECT_NE(kill(pid, 0), 0);
  holder->Release();
}

}  // namespace
}  // namespace gantry::cgroup
