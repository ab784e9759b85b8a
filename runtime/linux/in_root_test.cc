// What the child does inside a root that belongs to someone else: paths, /etc/passwd, tmpcopyup.
#include "runtime/linux/in_root.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "runtime/linux/copy_up.h"
#include "runtime/linux/home.h"
#include "runtime/sys/file.h"

namespace gantry::linux {
namespace {

class InRootTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(directory_), nullptr);
    ASSERT_EQ(mkdir(Path("root").c_str(), 0755), 0);
    ASSERT_EQ(mkdir(Path("host").c_str(), 0755), 0);
    root_.reset(open(Path("root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, directory_).ok()); }

  std::string Path(const std::string& name) const { return absl::StrCat(directory_, "/", name); }
  bool Exists(const std::string& name) const { return access(Path(name).c_str(), F_OK) == 0; }
  void Link(const std::string& target, const std::string& name) {
    ASSERT_EQ(symlink(target.c_str(), Path(name).c_str()), 0);
  }
  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, Path(name), text, 0644, sys::Durability::kVolatile).ok());
  }
  std::string HomeOf(uint32_t uid) {
    char home[64];
    FindHomeInPasswd(root_.get(), uid, home, sizeof home);
    return home;
  }

  char directory_[32] = "/tmp/in_root_test.XXXXXX";
  sys::UniqueFd root_;
};

TEST_F(InRootTest, DirectoriesAreMadeInside) {
  sys::UniqueFd fd(MakeDirectoryInRoot(root_.get(), "/a/b//c/", 0755));
  EXPECT_TRUE(fd.valid());
  EXPECT_TRUE(Exists("root/a/b/c"));
  sys::UniqueFd relative(MakeDirectoryInRoot(root_.get(), "d/e", 0755));
  EXPECT_TRUE(relative.valid());
  EXPECT_TRUE(Exists("root/d/e"));
}

TEST_F(InRootTest, SymlinksLeadNowhereElse) {
  Link(Path("host"), "root/absolute");
  Link("../../../../../../../../../../../../" + Path("host"), "root/up");
  for (const char* path : {"/absolute/new", "/up/new", "/../../host/new"}) {
    sys::UniqueFd fd(MakeDirectoryInRoot(root_.get(), path, 0755));
    sys::UniqueFd file(MakeFileInRoot(root_.get(), absl::StrCat(path, "-file").c_str()));
  }
  EXPECT_FALSE(Exists("host/new"));
  EXPECT_FALSE(Exists("host/new-file"));
}

TEST_F(InRootTest, MagicLinksAreRefused) {
  // A link to a descriptor of this process, which is a directory outside.
  sys::UniqueFd host(open(Path("host").c_str(), O_PATH | O_CLOEXEC));
  sys::UniqueFd real_root(open("/", O_PATH | O_CLOEXEC));
  const std::string path = absl::StrCat("/proc/self/fd/", host.get());
  sys::UniqueFd fd(OpenInRoot(real_root.get(), path.c_str(), O_PATH));
  EXPECT_FALSE(fd.valid());
  EXPECT_EQ(errno, ELOOP);
}

TEST_F(InRootTest, FilesAreMadeOrTakenAsTheyAre) {
  sys::UniqueFd made(MakeFileInRoot(root_.get(), "/x/y/file"));
  EXPECT_TRUE(made.valid());
  EXPECT_TRUE(Exists("root/x/y/file"));
  sys::UniqueFd directory(
      MakeFileInRoot(root_.get(), "/x/y"));  // exists, is a directory: the mount will refuse
  EXPECT_TRUE(directory.valid());
  char buffer[PATH_MAX];
  const char* name = nullptr;
  EXPECT_LT(MakeParentInRoot(root_.get(), "/x/..", buffer, &name), 0);
  EXPECT_LT(MakeParentInRoot(root_.get(), "/", buffer, &name), 0);
}

TEST_F(InRootTest, HomeIsThatOfTheUser) {
  ASSERT_EQ(mkdir(Path("root/etc").c_str(), 0755), 0);
  Write("root/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n# comment\nbad:x:-1:0::/bad:\nlong:x:7:7::/" +
                               std::string(100, 'x') +
                               ":\nrel:x:8:8::home:\nuser:x:1000:1000::/home/user:/bin/sh");
  EXPECT_EQ(HomeOf(0), "/root");
  EXPECT_EQ(HomeOf(1000), "/home/user");
  EXPECT_EQ(HomeOf(7), "/");
  EXPECT_EQ(HomeOf(8), "/");
  EXPECT_EQ(HomeOf(4294967295u), "/");
}

TEST_F(InRootTest, AnEndlessPasswdIsNotRead) {
  ASSERT_EQ(mkdir(Path("root/etc").c_str(), 0755), 0);
  ASSERT_EQ(mkfifo(Path("root/etc/passwd").c_str(), 0644), 0);
  EXPECT_EQ(HomeOf(0), "/");
  ASSERT_EQ(unlink(Path("root/etc/passwd").c_str()), 0);
  Link("/dev/zero", "root/etc/passwd");  // dangles inside
  EXPECT_EQ(HomeOf(0), "/");
  ASSERT_EQ(unlink(Path("root/etc/passwd").c_str()), 0);
  Write("root/etc/passwd", "");
  ASSERT_EQ(truncate(Path("root/etc/passwd").c_str(), off_t{1} << 40), 0);  // sparse
  EXPECT_EQ(HomeOf(0), "/");
}

TEST_F(InRootTest, CopyUpKeepsWhatItCopies) {
  for (const char* name : {"from", "from/sub", "to"}) ASSERT_EQ(mkdir(Path(name).c_str(), 0755), 0);
  Write("from/sub/file", "text");
  ASSERT_EQ(chmod(Path("from/sub/file").c_str(), 0640), 0);
  Link("sub/file", "from/link");
  Link(Path("host"), "from/out");
  sys::UniqueFd from(open(Path("from").c_str(), O_PATH | O_CLOEXEC)),
      to(open(Path("to").c_str(), O_PATH | O_CLOEXEC));
  ASSERT_EQ(CopyTree(from.get(), to.get()), 0);
  struct stat st;
  ASSERT_EQ(stat(Path("to/link").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0640u);
  EXPECT_EQ(st.st_size, 4);
  ASSERT_EQ(lstat(Path("to/out").c_str(), &st), 0);
  EXPECT_TRUE(S_ISLNK(st.st_mode));
}

}  // namespace
}  // namespace gantry::linux
