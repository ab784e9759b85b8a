// The real file system needs a CPU with resource control, so a directory plays it: files are those of a group.
#include "runtime/linux/resctrl.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"

namespace gantry::linux {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ResctrlTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(directory_), nullptr);
    root_ = directory_;
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, root_).ok()); }

  void Group(const std::string& name, const std::string& schemata) {
    const std::string path = absl::StrCat(root_, "/", name);
    ASSERT_EQ(mkdir(path.c_str(), 0755), 0);
    ASSERT_EQ(mkdir((path + "/mon_groups").c_str(), 0755), 0);
    Write(name + "/schemata", schemata);
    Write(name + "/tasks", "");
  }
  void Write(const std::string& file, const std::string& text) {
    ASSERT_TRUE(
        sys::WriteFileAtomic(AT_FDCWD, absl::StrCat(root_, "/", file), text, 0644, sys::Durability::kVolatile)
            .ok());
  }
  std::string Read(const std::string& file) {
    return sys::ReadFileAt(AT_FDCWD, absl::StrCat(root_, "/", file), 1 << 20).value_or("none");
  }
  absl::Status Open(const plan::OpenResctrlGroup& op) { return OpenResctrlGroup(root_, op, &made_); }

  char directory_[32] = "/tmp/resctrl_test.XXXXXX";
  std::string root_;
  std::vector<std::string> made_;
};

TEST(Schemata, AreComparedByDomainAndValue) {
  constexpr char kThere[] = "    MB:0=100;1=70\n    L3:0=07ff;1=1f\n";
  EXPECT_TRUE(SchemataHold(kThere, "L3:0=7ff;1=1f"));
  EXPECT_TRUE(SchemataHold(kThere, "L3: 1=1F"));
  EXPECT_TRUE(SchemataHold(kThere, "MB:0=100"));
  EXPECT_FALSE(SchemataHold(kThere, "MB:0=10"));
  EXPECT_FALSE(SchemataHold(kThere, "L3:2=1"));
  EXPECT_FALSE(SchemataHold(kThere, "L2:0=1"));
}

TEST(Resctrl, IsFoundAmongTheMounts) {
  EXPECT_EQ(FindResctrl("22 1 0:20 / /sys rw - sysfs sysfs rw\n"
                        "30 22 0:31 / /sys/fs/resctrl rw,relatime - resctrl resctrl rw\n")
                .value_or(""),
            "/sys/fs/resctrl");
  const auto none = FindResctrl("22 1 0:20 / /resctrl rw - tmpfs resctrl rw\n");
  EXPECT_EQ(none.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("linux.intelRdt"));
}

TEST_F(ResctrlTest, AnExistingClassMustHaveWhatIsAsked) {
  Group("gold", "L3:0=f\nMB:0=20\n");
  plan::OpenResctrlGroup op;
  op.group = "gold";
  op.create = true;
  op.must_hold = {"L3:0=f", "MB:0=20"};
  EXPECT_TRUE(Open(op).ok());
  EXPECT_EQ(Read("gold/schemata"), "L3:0=f\nMB:0=20\n") << "nothing was to be written";
  op.must_hold = {"L3:0=7"};
  EXPECT_THAT(std::string(Open(op).message()), HasSubstr("does not have \"L3:0=7\""));
  op.must_hold = {};
  op.schemata = {"L2:0=1", "MB:0=30"};
  EXPECT_TRUE(Open(op).ok());
  EXPECT_THAT(Read("gold/schemata"), testing::StartsWith("L2:0=1\nMB:0=30\n"));
  EXPECT_THAT(made_, IsEmpty());
}

TEST_F(ResctrlTest, AClassIsMadeOnlyIfItIsDescribed) {
  plan::OpenResctrlGroup op;
  op.group = "silver";
  EXPECT_THAT(std::string(Open(op).message()), HasSubstr("there is no class of service"));
  op.create = true;
  EXPECT_TRUE(Open(op).ok());
  EXPECT_THAT(made_, ElementsAre(root_ + "/silver"));
  op.exclusive = true;
  EXPECT_EQ(Open(op).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(RemoveResctrlGroups(made_).ok());
  EXPECT_NE(access((root_ + "/silver").c_str(), F_OK), 0);
  EXPECT_TRUE(RemoveResctrlGroups(made_).ok()) << "a second time";
}

TEST_F(ResctrlTest, TheProcessIsPutIntoTheClassAndItsMonitor) {
  Group("gold", "");
  plan::OpenResctrlGroup op;
  op.group = "gold";
  op.monitor = "c1";
  ASSERT_TRUE(Open(op).ok());
  EXPECT_THAT(made_, ElementsAre(root_ + "/gold/mon_groups/c1"));
  EXPECT_FALSE(Open(op).ok()) << "the monitor is the container's own";
  Write("gold/mon_groups/c1/tasks", "");
  ASSERT_TRUE(JoinResctrlGroup(root_, {"gold", "c1"}, 42).ok());
  EXPECT_EQ(Read("gold/tasks"), "42");
  EXPECT_EQ(Read("gold/mon_groups/c1/tasks"), "42");
}

}  // namespace
}  // namespace gantry::linux
