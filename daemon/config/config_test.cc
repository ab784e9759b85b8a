#include "daemon/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include "runtime/sys/file.h"

namespace gantry::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Parsed {
  absl::Status status;
  Config config;
  std::vector<std::string> warnings;
};

Parsed ParseText(const std::string& text) {
  Parsed out;
  out.config = Defaults("gantryd");
  out.status = Parse(text, "f.toml", &out.config, &out.warnings);
  return out;
}

TEST(ConfigTest, ReadsTheTablesOfVersionTwo) {
  const Parsed p = ParseText(R"(version = 2
oom_score = -10
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "/x/c.sock"
  uid = 5
  max_recv_message_size = 1234
[timeouts]
  "io.containerd.timeout.shim.cleanup" = "7s"
[plugins."io.containerd.gc.v1.scheduler"]
  pause_threshold = 0.0000001
  mutation_threshold = 1000000
  startup_delay = "10ms"
[plugins."io.containerd.runtime.v2.task".runtimes]
  "io.containerd.runc.v2" = "/usr/bin/containerd-shim-runc-v2"
)");
  ASSERT_TRUE(p.status.ok()) << p.status;
  EXPECT_THAT(p.warnings, ElementsAre());
  EXPECT_EQ(p.config.version, 2);
  EXPECT_EQ(p.config.grpc.socket.address, "/x/c.sock");
  EXPECT_EQ(p.config.TtrpcAddress(), "/x/c.sock.ttrpc");
  EXPECT_EQ(p.config.grpc.socket.uid, 5u);
  EXPECT_EQ(p.config.grpc.max_recv_message_bytes, 1234);
  EXPECT_EQ(p.config.timeouts.shim_cleanup, absl::Seconds(7));
  EXPECT_EQ(p.config.gc.mutation_threshold, 1000000);
  EXPECT_EQ(p.config.gc.startup_delay, absl::Milliseconds(10));
  EXPECT_DOUBLE_EQ(p.config.gc.pause_threshold, 1e-7);
  EXPECT_EQ(p.config.runtime.runtimes.at("io.containerd.runc.v2"), "/usr/bin/containerd-shim-runc-v2");
  EXPECT_TRUE(p.config.Disabled("io.containerd.grpc.v1.cri"));
}

TEST(ConfigTest, ReadsTheServerTablesOfVersionFour) {
  const Parsed p = ParseText(R"(version = 4
[plugins."io.containerd.server.v1.grpc"]
  address = "/x/c.sock"
[plugins."io.containerd.server.v1.ttrpc"]
  address = "/x/t.sock"
[plugins."io.containerd.server.v1.metrics"]
  address = "127.0.0.1:1338"
)");
  ASSERT_TRUE(p.status.ok()) << p.status;
  EXPECT_EQ(p.config.grpc.socket.address, "/x/c.sock");
  EXPECT_EQ(p.config.TtrpcAddress(), "/x/t.sock");
  EXPECT_EQ(p.config.metrics.address, "127.0.0.1:1338");
}

TEST(ConfigTest, UnknownKeyIsAWarningWithItsFileAndLine) {
  const Parsed p = ParseText("version = 2\n[grpc]\n  adress = \"/x\"\n[plugins.\"made.up\"]\n  x = 1\n");
  ASSERT_TRUE(p.status.ok()) << p.status;
  EXPECT_THAT(p.warnings, ElementsAre(HasSubstr("f.toml:3: unknown key grpc.adress"),
                                      HasSubstr("f.toml:4: unknown key plugins.\"made.up\"")));
}

TEST(ConfigTest, TableOfAPartThatIsNotBuiltIsOneWarning) {
  const Parsed p = ParseText("version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  y = 1\n");
  ASSERT_TRUE(p.status.ok()) << p.status;
  EXPECT_THAT(p.warnings, ElementsAre(HasSubstr("not built")));
}

TEST(ConfigTest, SettingsWithoutEffectAreNamed) {
  EXPECT_THAT(SettingsWithoutEffect(Defaults("gantryd")), ElementsAre());
  const Parsed p = ParseText("[cgroup]\npath = \"/c\"\n[metrics]\naddress = \"127.0.0.1:1\"\n");
  EXPECT_THAT(SettingsWithoutEffect(p.config),
              ElementsAre(HasSubstr("cgroup.path"), HasSubstr("metrics.address")));
}

TEST(ConfigTest, WrongTypeIsAnErrorThatNamesFileLineAndRule) {
  EXPECT_EQ(ParseText("version = 2\n[grpc]\naddress = 5\n").status.message(),
            "f.toml:3: grpc.address must be a string");
  EXPECT_THAT(
      std::string(ParseText("[timeouts]\n\"io.containerd.timeout.task.state\" = 3\n").status.message()),
      HasSubstr("f.toml:2: timeouts.\"io.containerd.timeout.task.state\" must be a duration"));
  EXPECT_THAT(std::string(ParseText("version = 1\n").status.message()),
              HasSubstr("f.toml:1: version must be a whole number from 2 to 4"));
  EXPECT_THAT(std::string(ParseText("[grpc]\nuid = -1\n").status.message()), HasSubstr("f.toml:2: grpc.uid"));
  EXPECT_FALSE(ParseText("grpc = 3\n").status.ok());
  EXPECT_FALSE(ParseText("disabled_plugins = [1]\n").status.ok());
}

TEST(ConfigTest, BrokenTomlNamesItsLine) {
  EXPECT_THAT(std::string(ParseText("version = 2\n[grpc\n").status.message()),
              HasSubstr("f.toml:2: not valid TOML"));
}

TEST(ConfigTest, MalformedKeysAreErrorsInEveryBuild) {
  for (const char* bad : {"[!]", "[\x10]", "[t\xff]", "[a.\n", "[[\x01]]", "a.:b = 1"}) {
    Config config = Defaults("gantryd");
    std::vector<std::string> warnings;
    EXPECT_EQ(Parse(bad, "f.toml", &config, &warnings).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(ConfigTest, DumpReadsBackAsTheSame) {
  Config config = Defaults("containerd");
  config.runtime.runtimes["a.b"] = "/x \"y\"";
  config.proxy_plugins["p"].type = "snapshot";
  config.stream_processors["s"].args = {"a", "b"};
  const std::string text = ToToml(config);
  Config again;
  std::vector<std::string> warnings;
  ASSERT_TRUE(Parse(text, "dump", &again, &warnings).ok()) << text;
  EXPECT_THAT(warnings, ElementsAre());
  EXPECT_EQ(ToToml(again), text);
}

TEST(ConfigTest, ContainerdsNameTakesContainerdsPaths) {
  EXPECT_EQ(Defaults("containerd").root, "/var/lib/containerd");
  EXPECT_EQ(Defaults("containerd").grpc.socket.address, "/run/containerd/containerd.sock");
  EXPECT_EQ(DefaultConfigPath("containerd"), "/etc/containerd/config.toml");
  EXPECT_EQ(Defaults("gantryd").root, "/var/lib/gantry");
}

TEST(ConfigTest, ImportsAreReadAfterTheFileEachOnce) {
  char directory[] = "/tmp/gantry-config-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  const std::string dir = directory;
  auto write = [&](const std::string& name, const std::string& text) {
    ASSERT_TRUE(
        sys::WriteFileAtomic(AT_FDCWD, dir + "/" + name, text, 0600, sys::Durability::kVolatile).ok());
  };
  write("a.toml",
        "version = 2\nroot = \"/one\"\nstate = \"/s\"\nimports = [\"b*.toml\", \"a.toml\"]\n"
        "disabled_plugins = [\"x\"]\n");
  write("b1.toml", "version = 2\nroot = \"/two\"\nimports = [\"a.toml\"]\ndisabled_plugins = [\"y\"]\n");
  const auto loaded = Load(dir + "/a.toml", Defaults("gantryd"));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->config.root, "/two");
  EXPECT_EQ(loaded->config.state, "/s");
  EXPECT_THAT(loaded->config.disabled_plugins, ElementsAre("x", "y"));
  EXPECT_EQ(Load(dir + "/none.toml", Defaults("gantryd")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, dir).ok());
}

}  // namespace
}  // namespace gantry::config
