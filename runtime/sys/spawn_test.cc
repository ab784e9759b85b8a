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

TEST(Spawn, ABadDirectoryNamesIt) {
  SpawnOptions options;
  options.path = "/bin/true";
  options.cwd = "/no/such/dir";
  EXPECT_EQ(Spawn(options).status().message(), "chdir /no/such/dir: No such file or directory");
}

}  // namespace
}  // namespace gantry::sys
