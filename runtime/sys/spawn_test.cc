#include "runtime/sys/spawn.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

// Runs a shell script with standard output on a pipe; what it wrote.
std::string OutputOf(SpawnOptions options, const std::string& script) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return "pipe failed";
  UniqueFd reader(fds[0]), writer(fds[1]);
  options.path = "/bin/sh";
  options.argv = {"sh", "-c", script};
  options.fds.emplace_back(writer.get(), 1);
  auto child = Spawn(options);
  if (!child.ok()) return std::string(child.status().message());
  writer.reset();
  auto output = ReadAll(reader.get(), 1 << 20);
  auto reaped = child->pidfd.Reap(PidFd::Block::kWait);
  if (!reaped.ok()) return std::string(reaped.status().message());
  return output.ok() ? *output : std::string(output.status().message());
}

TEST(Spawn, AMissingProgramIsTheCallersError) {
  SpawnOptions options;
  options.path = "/no/such/program";
  auto child = Spawn(options);
  EXPECT_EQ(ErrnoOf(child.status()), ENOENT);
  EXPECT_EQ(child.status().message(), "execve /no/such/program: No such file or directory");
}

TEST(Spawn, EnvironmentIsExact) {
  SpawnOptions options;
  options.env = {"A=1"};
  EXPECT_EQ(OutputOf(options, "tr '\\0' '\\n' < /proc/$$/environ"), "A=1\n");
}

TEST(Spawn, OnlyListedDescriptorsAreOpen) {
  UniqueFd leak(open("/", O_RDONLY));  // not close-on-exec on purpose
  UniqueFd wanted(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  SpawnOptions options;
  options.fds = {{wanted.get(), 5}};
  // 10 and above are the shell's own.
  EXPECT_EQ(
      OutputOf(options, "for f in 0 1 2 3 4 5 6 7 8 9; do test -e /proc/$$/fd/$f && echo $f; done; true"),
      "0\n1\n2\n5\n");
}

TEST(Spawn, DescriptorsMayTradePlaces) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  UniqueFd reader(fds[0]), writer(fds[1]);
  SpawnOptions options;
  options.fds = {{reader.get(), writer.get()}, {writer.get(), reader.get()}};
  const std::string script =
      "readlink /proc/$$/fd/" + std::to_string(reader.get()) + " >/dev/null && echo fine";
  EXPECT_EQ(OutputOf(options, script), "fine\n");
}

TEST(Spawn, NewSessionAndDirectory) {
  SpawnOptions options;
  options.session = SpawnOptions::Session::kNewSession;
  options.cwd = "/tmp";
  EXPECT_EQ(OutputOf(options, "pwd; test $(cut -d' ' -f6 /proc/$$/stat) = $$ && echo leader"),
            "/tmp\nleader\n");
}

TEST(Spawn, AnOrphanIsNoChildOfOursButItsPidFdIs) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  UniqueFd reader(fds[0]), writer(fds[1]);
  SpawnOptions options;
  options.path = "/bin/sh";
  options.argv = {"sh", "-c", "read -r line < /proc/$$/stat; echo \"$line\""};
  options.fds = {{writer.get(), 1}};
  options.orphan = true;
  auto child = Spawn(options);
  ASSERT_TRUE(child.ok()) << child.status();
  writer.reset();
  const std::string output = *ReadAll(reader.get(), 4096);
  const std::string own = std::to_string(child->pid) + " (sh) R ";
  EXPECT_EQ(output.substr(0, own.size()), own);
  EXPECT_NE(output.substr(own.size(), output.find(' ', own.size()) - own.size()), std::to_string(getpid()));
  EXPECT_TRUE(child->pidfd.WaitExited(absl::Seconds(10)));
  EXPECT_FALSE(child->pidfd.Reap(PidFd::Block::kNoWait).ok());  // init's to reap
  options.path = "/no/such/program";
  EXPECT_EQ(ErrnoOf(Spawn(options).status()), ENOENT);
}

TEST(Spawn, ABadDirectoryNamesIt) {
  SpawnOptions options;
  options.path = "/bin/true";
  options.cwd = "/no/such/dir";
  EXPECT_EQ(Spawn(options).status().message(), "chdir /no/such/dir: No such file or directory");
}

}  // namespace
}  // namespace gantry::sys
