#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fstream>

#include "cmd/gantry/run/environment.h"
#include "cmd/gantry/run/health.h"
#include "cmd/gantry/run/merged_root.h"
#include "cmd/gantry/run/mounts.h"
#include "cmd/gantry/run/spec.h"
#include "cmd/gantry/run/users.h"

namespace gantry::cli {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kPasswd[] =
    "root:x:0:0:root:/root:/bin/sh\n"
    "broken\n"
    "huge:x:4294967295:1::/:/\n"
    "web:x:33:33:web:/var/www:/bin/sh\n"
    "1000:x:7:7:a number for a name:/:/\n";
constexpr char kGroup[] = "root:x:0:\nadm:x:4:web,root\nweb:x:33:\nextra:x:50:web\n";

TEST(UsersTest, NamesNumbersAndGroups) {
  const auto web = ResolveUser("web", kPasswd, kGroup);
  ASSERT_TRUE(web.ok()) << web.status();
  EXPECT_EQ(web->user.uid, 33u);
  EXPECT_EQ(web->user.gid, 33u);
  EXPECT_THAT(web->user.additional_gids, ElementsAre(33, 4, 50));
  EXPECT_EQ(web->home, "/var/www");
  EXPECT_EQ(ResolveUser("33", kPasswd, kGroup)->user.gid, 33u);
  EXPECT_EQ(ResolveUser("web:adm", kPasswd, kGroup)->user.gid, 4u);
  EXPECT_THAT(ResolveUser("web:adm", kPasswd, kGroup)->user.additional_gids, ElementsAre(4));
  EXPECT_EQ(ResolveUser("", kPasswd, kGroup)->user.uid, 0u);
  EXPECT_EQ(ResolveUser("4000:5000", "", "")->user.gid, 5000u);
}

TEST(UsersTest, ANumberIsNeverAName) { EXPECT_EQ(ResolveUser("1000", kPasswd, kGroup)->user.uid, 1000u); }

TEST(UsersTest, CVE_2026_30892_WrongUsersAreRefused) {
  for (const char* typed : {"nobody", "huge", "2147483648", "4294967296", "-1", "+1", "1x", "0:none", "0:-1",
                            "99999999999999999999", "0x10"}) {
    EXPECT_FALSE(ResolveUser(typed, kPasswd, kGroup).ok()) << typed;
  }
  EXPECT_THAT(ResolveUser("nobody", kPasswd, kGroup).status().message(), HasSubstr("no user \"nobody\""));
}

class MergedRootTest : public ::testing::Test {
 protected:
  MergedRootTest() {
    EXPECT_NE(::mkdtemp(dir_), nullptr);
    for (const char* layer : {"upper", "lower", "outside"}) ::mkdir(Path(layer).c_str(), 0700);
  }
  ~MergedRootTest() override { EXPECT_EQ(::system(("rm -rf " + std::string(dir_)).c_str()), 0); }
  std::string Path(const std::string& name) const { return std::string(dir_) + "/" + name; }
  void Put(const std::string& name, const std::string& data) const {
    ASSERT_EQ(::system(("mkdir -p $(dirname " + Path(name) + ")").c_str()), 0);
    std::ofstream(Path(name)) << data;
  }
  absl::StatusOr<std::string> Read(const std::string& path, size_t limit = 1000) const {
    absl::StatusOr<MergedRoot> root = MergedRoot::Open({Path("upper"), Path("lower")});
    return root.ok() ? root->ReadFile(path, limit) : root.status();
  }

  char dir_[32] = "/tmp/gantry-merged-XXXXXX";
};

TEST_F(MergedRootTest, TheTopmostLayerWins) {
  Put("lower/etc/passwd", "low");
  Put("lower/etc/group", "low");
  Put("upper/etc/passwd", "up");
  EXPECT_EQ(*Read("/etc/passwd"), "up");
  EXPECT_EQ(*Read("/etc/group"), "low");
  EXPECT_TRUE(absl::IsNotFound(Read("/etc/shadow").status()));
}

TEST_F(MergedRootTest, LinksStayInside) {
  Put("outside/secret", "secret");
  Put("lower/real/passwd", "low");
  ASSERT_EQ(::symlink("/real", Path("upper/etc").c_str()), 0);
  EXPECT_EQ(*Read("/etc/passwd"), "low");
  ASSERT_EQ(::symlink("../../../../outside/secret", Path("upper/escape").c_str()), 0);
  EXPECT_TRUE(absl::IsNotFound(Read("/escape").status()));
  ASSERT_EQ(::symlink(Path("outside/secret").c_str(), Path("upper/absolute").c_str()), 0);
  EXPECT_TRUE(absl::IsNotFound(Read("/absolute").status()));
  ASSERT_EQ(::symlink("loop", Path("upper/loop").c_str()), 0);
  EXPECT_THAT(Read("/loop").status().message(), HasSubstr("too many symbolic links"));
}

TEST_F(MergedRootTest, CVE_2024_9676_OnlyRegularFilesOfALimitedSizeAreRead) {
  Put("upper/big", std::string(2000, 'x'));
  EXPECT_TRUE(absl::IsResourceExhausted(Read("/big").status()));
  ASSERT_EQ(::mkfifo(Path("upper/fifo").c_str(), 0600), 0);
  EXPECT_THAT(Read("/fifo").status().message(), HasSubstr("no regular file"));
  ::mkdir(Path("upper/dir").c_str(), 0700);
  EXPECT_THAT(Read("/dir").status().message(), HasSubstr("is a directory"));
}

TEST_F(MergedRootTest, WhiteoutsAndOpaqueDirectoriesHide) {
  Put("lower/etc/passwd", "low");
  Put("lower/opt/file", "low");
  ::mkdir(Path("upper/etc").c_str(), 0700);
  ::mkdir(Path("upper/opt").c_str(), 0700);
  if (::mknod(Path("upper/etc/passwd").c_str(), S_IFCHR, makedev(0, 0)) != 0 ||
      ::setxattr(Path("upper/opt").c_str(), "trusted.overlay.opaque", "y", 1, 0) != 0) {
    GTEST_SKIP() << "whiteouts and trusted attributes cannot be made here: " << std::strerror(errno);
  }
  EXPECT_TRUE(absl::IsNotFound(Read("/etc/passwd").status()));
  EXPECT_TRUE(absl::IsNotFound(Read("/opt/file").status()));
}

TEST(LayerFoldersTest, OverlayAndBind) {
  EXPECT_THAT(
      *LayerFolders("overlay", "overlay", {"index=off", "workdir=/w", "upperdir=/u", "lowerdir=/a:/b\\:c"}),
      ElementsAre("/u", "/a", "/b:c"));
  EXPECT_THAT(*LayerFolders("bind", "/x", {"rbind", "rw"}), ElementsAre("/x"));
  EXPECT_FALSE(LayerFolders("btrfs", "/dev/x", {}).ok());
}

TEST(MountsTest, Volumes) {
  const auto mount = ParseVolume("/tmp:/data:ro");
  ASSERT_TRUE(mount.ok()) << mount.status();
  EXPECT_EQ(mount->destination, "/data");
  EXPECT_THAT(mount->options, Contains("ro"));
  for (const char* bad :
       {"", "/tmp", "/tmp:data", "/tmp:/", "/nonexistent:/x", "/tmp:/x:rx", "/tmp:/x:ro:z"}) {
    EXPECT_FALSE(ParseVolume(bad).ok()) << bad;
  }
}

TEST(MountsTest, MountsAndTmpfs) {
  EXPECT_THAT(ParseMount("type=bind,src=/tmp,dst=/x,readonly")->options, Contains("ro"));
  EXPECT_THAT(ParseMount("type=tmpfs,target=/x,tmpfs-size=1m")->options, Contains("size=1048576"));
  EXPECT_THAT(ParseMount("type=volume,target=/x").status().message(),
              HasSubstr("the types are bind and tmpfs"));
  EXPECT_THAT(ParseMount("kind=bind").status().message(), HasSubstr("unknown key \"kind\""));
  EXPECT_THAT(ParseTmpfs("/run:size=1m,exec")->options, Contains("exec"));
}

TEST(EnvironmentTest, LaterVariablesReplace) {
  std::vector<std::string> env = {"A=1", "AB=2"};
  ::setenv("GANTRY_TEST_TAKEN", "yes", 1);
  ASSERT_TRUE(AddVariables({"A=3", "GANTRY_TEST_TAKEN", "GANTRY_TEST_ABSENT"}, &env).ok());
  EXPECT_THAT(env, ElementsAre("A=3", "AB=2", "GANTRY_TEST_TAKEN=yes"));
  EXPECT_FALSE(AddVariables({"=x"}, &env).ok());
}

TEST(EnvironmentTest, FilesNameTheirWrongLine) {
  char path[] = "/tmp/gantry-env-XXXXXX";
  ASSERT_GE(::mkstemp(path), 0);
  std::ofstream(path) << "# comment\n\nA=1\r\nB C=2\n";
  EXPECT_THAT(ReadEnvFile(path).status().message(), HasSubstr("line 4"));
  std::ofstream(path, std::ios::trunc) << "A=1\nB";
  EXPECT_THAT(*ReadEnvFile(path), ElementsAre("A=1", "B"));
  ::unlink(path);
}

TEST(EnvironmentTest, CVE_2026_53488_ReservedLabelsOfImagesAreDropped) {
  const auto safe =
      SafeImageLabels({{"a", "b"}, {"containerd.io/gc.root", "x"}, {"io.cri-containerd.kind", "y"}});
  EXPECT_EQ(safe.size(), 1u);
  EXPECT_FALSE(ParseLabels({"containerd.io/x=1"}).ok());
}

class SpecTest : public ::testing::Test {
 protected:
  absl::StatusOr<oci::Spec> Build() { return BuildSpec(options_, image_, files_, "box", "default"); }
  std::string Error() { return std::string(Build().status().message()); }

  RunOptions options_;
  ImageConfig image_;
  UserFiles files_ = {kPasswd, kGroup};
};

TEST_F(SpecTest, TheImageDecidesWhereNothingWasTyped) {
  image_.entrypoint = {"/entry"};
  image_.cmd = {"arg"};
  image_.env = {"PATH=/bin", "X=1"};
  image_.working_dir = "/srv";
  image_.user = "web";
  const auto spec = Build();
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(spec->process->args, ElementsAre("/entry", "arg"));
  EXPECT_THAT(spec->process->env, ElementsAre("PATH=/bin", "HOSTNAME=box", "X=1", "HOME=/var/www"));
  EXPECT_EQ(spec->process->cwd, "/srv");
  EXPECT_EQ(spec->process->user.uid, 33u);
  EXPECT_EQ(spec->hostname, "box");
  EXPECT_EQ(spec->linux->cgroups_path, "/default/box");
  ASSERT_TRUE(spec->linux->seccomp.has_value());
}

TEST_F(SpecTest, FlagsWin) {
  image_.entrypoint = {"/entry"};
  image_.cmd = {"arg"};
  options_.command = {"other"};
  options_.entrypoint = "/mine";
  options_.memory = "64m";
  options_.cpus = "1.5";
  options_.network = "host";
  options_.read_only = true;
  options_.cap_drop = {"all"};
  options_.cap_add = {"net_raw"};
  const auto spec = Build();
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(spec->process->args, ElementsAre("/mine", "other"));
  EXPECT_EQ(spec->linux->resources->memory->limit, 64 << 20);
  EXPECT_EQ(spec->linux->resources->cpu->quota, 150000);
  EXPECT_EQ(spec->linux->FindNamespace(oci::NamespaceType::kNetwork), nullptr);
  EXPECT_TRUE(spec->root->readonly);
  EXPECT_THAT(spec->process->capabilities->effective, ElementsAre("CAP_NET_RAW"));
}

TEST_F(SpecTest, WrongFlagsAreNamed) {
  EXPECT_THAT(Error(), HasSubstr("names no command"));
  options_.command = {"x"};
  options_.memory = "64q";
  EXPECT_THAT(Error(), HasSubstr("-m: \"64q\" is no size"));
  options_.memory = "1k";
  EXPECT_THAT(Error(), HasSubstr("less than the 512k"));
  options_.memory.clear();
  options_.network = "bridge";
  EXPECT_THAT(Error(), HasSubstr("the networks are none and host"));
  options_.network = "none";
  options_.workdir = "srv";
  EXPECT_THAT(Error(), HasSubstr("must be an absolute path"));
  options_.workdir.clear();
  options_.user = "nobody";
  EXPECT_THAT(Error(), HasSubstr("-u: the image's /etc/passwd has no user"));
}

TEST(ValidateIdTest, IdsAreContainerds) {
  for (const char* good : {"a", "web-1", "a.b_c", "0123456789ab"}) EXPECT_TRUE(ValidateId(good).ok()) << good;
  for (const char* bad : {"", "-a", "a-", "a--b", "a/b", "../x", "ä"})
    EXPECT_FALSE(ValidateId(bad).ok()) << bad;
  EXPECT_FALSE(ValidateId(std::string(77, 'a')).ok());
}

TEST(Health, TheImagesCheckIsChangedByWhatWasTyped) {
  constexpr char kImage[] = R"({"config":{"Healthcheck":{"Test":["CMD","probe"],"Retries":5}}})";
  RunOptions options;
  EXPECT_EQ(*HealthCheckOf(kImage, options), R"({"Test":["CMD","probe"],"Retries":5})");
  EXPECT_EQ(*HealthCheckOf(R"({"config":{"Healthcheck":{"Test":["NONE"]}}})", options), "");
  EXPECT_EQ(*HealthCheckOf("{}", options), "");
  options.health_interval = "1m30s";
  options.health_retries = "2";
  EXPECT_EQ(*HealthCheckOf(kImage, options),
            R"({"Test":["CMD","probe"],"Interval":90000000000,"Retries":2})");
  EXPECT_THAT(std::string(HealthCheckOf("{}", options).status().message()), HasSubstr("--health-cmd"));
  options.health_cmd = "curl -f \"x\"";
  EXPECT_EQ(*HealthCheckOf("{}", options),
            R"({"Test":["CMD-SHELL","curl -f \"x\""],"Interval":90000000000,"Retries":2})");
  options.health_timeout = "soon";
  EXPECT_THAT(std::string(HealthCheckOf("{}", options).status().message()), HasSubstr("--health-timeout"));
  options.health_timeout = "";
  options.health_retries = "many";
  EXPECT_THAT(std::string(HealthCheckOf("{}", options).status().message()), HasSubstr("--health-retries"));
  options.health_retries = "";
  options.no_health_check = true;
  EXPECT_THAT(std::string(HealthCheckOf(kImage, options).status().message()),
              HasSubstr("exclude each other"));
  RunOptions none;
  none.no_health_check = true;
  EXPECT_EQ(*HealthCheckOf(kImage, none), "");
}

}  // namespace
}  // namespace gantry::cli
