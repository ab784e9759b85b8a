// Standard streams through the real shim; its command line; its size.
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "api/proto/containerd/runtime/bootstrap/v1/bootstrap.pb.h"
#include "api/proto/containerd/types/introspection.pb.h"
#include "gmock/gmock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/sha256.h"
#include "shim/test/harness.h"

namespace gantry::shim {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

using StreamsTest = ShimTest;
using CommandTest = ShimTest;

sys::UniqueFd OpenReader(const std::string& path) {
  return sys::UniqueFd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

bool AtEnd(int fd) {
  char byte;
  return read(fd, &byte, 1) == 0;
}

TEST_F(StreamsTest, OutputArrivesApartAndEndsWithTheProcess) {
  MakeBundle({"sh", "-c", "echo out; echo err >&2"});
  Serve();
  const std::string out = MakeFifo("out"), err = MakeFifo("err");
  const sys::UniqueFd out_fd = OpenReader(out), err_fd = OpenReader(err);
  ASSERT_TRUE(Create({.out = out, .err = err}).ok());
  ASSERT_TRUE(Start().ok());
  EXPECT_EQ(*Wait(), 0);
  EXPECT_EQ(ReadSome(out_fd.get(), 100), "out\n");
  EXPECT_EQ(ReadSome(err_fd.get(), 100), "err\n");
  RunUntil([&out_fd] { return AtEnd(out_fd.get()); }, "the end of file, without Delete");
}

TEST_F(StreamsTest, AReaderWhoComesAfterTheEndFindsEverything) {
  MakeBundle({"sh", "-c", "echo out; echo err >&2"});
  Serve();
  const std::string out = MakeFifo("out"), err = MakeFifo("err");
  ASSERT_TRUE(Create({.out = out, .err = err}).ok());
  ASSERT_TRUE(Start().ok());
  EXPECT_EQ(*Wait(), 0);
  EXPECT_EQ(*Delete(), 0);
  RunFor(absl::Milliseconds(20));
  const sys::UniqueFd out_fd = OpenReader(out), err_fd = OpenReader(err);
  EXPECT_EQ(ReadSome(out_fd.get(), 100, absl::Seconds(1)), "out\n");
  EXPECT_EQ(ReadSome(err_fd.get(), 100, absl::Seconds(1)), "err\n");
  RunUntil([&] { return AtEnd(out_fd.get()) && AtEnd(err_fd.get()); }, "the end of file");
}

TEST_F(StreamsTest, StdinIsPassedOnAndCloseIoEndsIt) {
  MakeBundle({"cat"});
  Serve();
  const std::string in = MakeFifo("in"), out = MakeFifo("out");
  const sys::UniqueFd out_fd = OpenReader(out);
  ASSERT_TRUE(Create({.in = in, .out = out}).ok());
  ASSERT_TRUE(Start().ok());
  {
    const sys::UniqueFd writer(open(in.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_TRUE(sys::WriteAll(writer.get(), "first\n").ok());
    EXPECT_EQ(ReadSome(out_fd.get(), 6), "first\n");
  }
  // That writer is gone, which is not the end: another may come.
  const sys::UniqueFd writer(open(in.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK));
  ASSERT_TRUE(writer) << strerror(errno);
  ASSERT_TRUE(sys::WriteAll(writer.get(), "second\n").ok());
  EXPECT_EQ(ReadSome(out_fd.get(), 7), "second\n");
  containerd::task::v3::CloseIORequest request;
  request.set_id(id_);
  request.set_stdin(true);
  ASSERT_TRUE(CallRaw("containerd.task.v3.Task", "CloseIO", request.SerializeAsString()).ok());
  close(const_cast<sys::UniqueFd&>(writer).release());
  EXPECT_EQ(*Wait(), 0);
}

TEST_F(StreamsTest, AReaderThatStallsHoldsUpNeitherKillNorDelete) {
  MakeBundle({"sh", "-c", "while :; do echo 0123456789012345678901234567890123456789; done"});
  Serve();
  const std::string out = MakeFifo("out");
  const sys::UniqueFd reader = OpenReader(out);
  ASSERT_TRUE(Create({.out = out}).ok());
  ASSERT_TRUE(Start().ok());
  RunFor(absl::Milliseconds(300));
  ASSERT_TRUE(Kill(SIGKILL).ok());
  EXPECT_EQ(*Wait(), 137);
  EXPECT_EQ(*Delete(), 137);
  EXPECT_TRUE(Shutdown().ok());
  RunUntil([this] { return ShimGone(); }, "the shim to end");
}

TEST_F(StreamsTest, ALogFileHasEverythingWhenTheExitIsTold) {
  MakeBundle({"sh", "-c", "seq 1 1000; echo err >&2"});
  Serve();
  const std::string log = directory_ + "/new/dir/log";
  ASSERT_TRUE(Create({.out = "file://" + log, .err = "file://" + log}).ok());
  ASSERT_TRUE(Start().ok());
  EXPECT_EQ(*Wait(), 0);
  const auto text = sys::ReadFileAt(AT_FDCWD, log, 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, StartsWith("1\n2\n3\n"));
  EXPECT_THAT(*text, HasSubstr("\n1000\nerr\n"));
}

TEST_F(StreamsTest, ALoggerReadsBothStreams) {
  const std::string program = directory_ + "/logger";
  ASSERT_TRUE(sys::WriteFileAtomic(
                  AT_FDCWD, program,
                  absl::StrCat("#!/bin/sh\necho \"$CONTAINER_ID $CONTAINER_NAMESPACE $*\" >", directory_,
                               "/env\nexec 5>&-\ncat <&3 >", directory_, "/lout\ncat <&4 >", directory_,
                               "/lerr\necho end >", directory_, "/lend\n"),
                  0755, sys::Durability::kVolatile)
                  .ok());
  MakeBundle({"sh", "-c", "echo out; echo err >&2"});
  Serve();
  ASSERT_TRUE(Create({.out = absl::StrCat("binary://", program, "?level=high")}).ok());
  ASSERT_TRUE(Start().ok());
  EXPECT_EQ(*Wait(), 0);
  EXPECT_EQ(*Delete(), 0);
  ASSERT_TRUE(Shutdown().ok());
  RunUntil([this] { return access((directory_ + "/lend").c_str(), F_OK) == 0; }, "the logger to end");
  EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, directory_ + "/env", 1000), id_ + " shimtest level high\n");
  EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, directory_ + "/lout", 1000), "out\n");
  EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, directory_ + "/lerr", 1000), "err\n");
}

TEST_F(StreamsTest, AMissingLoggerIsAnErrorAndLeavesNothing) {
  MakeBundle({"true"});
  Serve();
  const absl::Status status = Create({.out = "binary:///no/such/logger"}).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/logger"));
  EXPECT_TRUE(CgroupGone());
  EXPECT_TRUE(absl::IsNotFound(State().status()));
}

TEST_F(StreamsTest, ATerminalHasItsSizeItsEchoAndItsExit) {
  MakeBundle({"sh"});
  Serve();
  const std::string in = MakeFifo("in"), out = MakeFifo("out");
  const sys::UniqueFd out_fd = OpenReader(out);
  const auto created = Create({.in = in, .out = out, .terminal = true});
  ASSERT_TRUE(created.ok()) << created.status();
  containerd::task::v3::ResizePtyRequest resize;
  resize.set_id(id_);
  resize.set_width(77);
  resize.set_height(33);
  ASSERT_TRUE(CallRaw("containerd.task.v3.Task", "ResizePty", resize.SerializeAsString()).ok());
  ASSERT_TRUE(Start().ok());
  const sys::UniqueFd writer(open(in.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(sys::WriteAll(writer.get(), "stty size; exit 6\n").ok());
  EXPECT_EQ(*Wait(), 6);
  std::string text;
  RunUntil(
      [&] {
        char chunk[4096];
        const ssize_t n = read(out_fd.get(), chunk, sizeof(chunk));
        if (n > 0) text.append(chunk, static_cast<size_t>(n));
        return n == 0;
      },
      "the end of the output");
  EXPECT_THAT(text, HasSubstr("33 77"));
  EXPECT_THAT(text, HasSubstr("stty size")) << "the echo";
}

// ---- the command line ------------------------------------------------------------------------------------

TEST_F(CommandTest, StartAnswersAnOldDaemonWithTheBareAddress) {
  MakeBundle({"sh", "-c", "exit 3"});
  const auto answer = StartCommand("", "2");
  ASSERT_TRUE(answer.ok()) << answer.status();
  const std::string path =
      absl::StrCat("/run/containerd/s/", sys::Sha256Hex(absl::StrCat(directory_, "/grpc/shimtest/", id_)));
  EXPECT_EQ(*answer, "unix://" + path);
  EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, bundle_ + "/address", 1000), *answer);
  Connect(path);
  EXPECT_THAT(std::string(StartCommand("", "2").status().message()), HasSubstr("serves"));
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Start().ok());
  EXPECT_EQ(*Wait(), 3);
  EXPECT_EQ(*Delete(), 3);
  ASSERT_TRUE(Shutdown().ok());
  RunUntil([this] { return ShimGone(); }, "the shim to end");
  EXPECT_NE(access(path.c_str(), F_OK), 0);
}

TEST_F(CommandTest, StartAnswersANewDaemonInItsOwnForm) {
  MakeBundle({"true"});
  containerd::runtime::bootstrap::v1::BootstrapParams params;
  params.set_instance_id(id_);
  params.set_namespace_("shimtest");
  params.set_containerd_ttrpc_address(events_path_);
  params.set_containerd_grpc_address(directory_ + "/grpc");
  params.set_socket_dir(directory_);
  const auto answer = StartCommand(params.SerializeAsString(), "2");
  ASSERT_TRUE(answer.ok()) << answer.status();
  containerd::runtime::bootstrap::v1::BootstrapResult result;
  ASSERT_TRUE(result.ParseFromString(*answer));
  EXPECT_EQ(result.protocol(), "ttrpc");
  EXPECT_THAT(result.address(), StartsWith("unix://" + directory_ + "/"));
  Connect(std::string(absl::StripPrefix(result.address(), "unix://")));
  ASSERT_TRUE(Shutdown().ok());
  RunUntil([this] { return ShimGone(); }, "the shim to end");
}

TEST_F(CommandTest, OptionsThatAreNoBootstrapParamsAddNothingToTheAnswer) {
  MakeBundle({"true"});
  // An Any whose value is not UTF-8, in a field that is text in BootstrapParams.
  const auto answer = StartCommand(std::string("\x0a\x01x\x12\x02\xff\xfe", 7), "3");
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_THAT(*answer, StartsWith("{\"version\":3,\"address\":\"unix:///run/containerd/s/"));
  Connect(
      absl::StrCat("/run/containerd/s/", sys::Sha256Hex(absl::StrCat(directory_, "/grpc/shimtest/", id_))));
  ASSERT_TRUE(Shutdown().ok());
  RunUntil([this] { return ShimGone(); }, "the shim to end");
}

TEST_F(CommandTest, InfoTellsTheRuntime) {
  const auto answer = RunShim({"-info"}, "", "2");
  ASSERT_TRUE(answer.ok()) << answer.status();
  containerd::types::RuntimeInfo info;
  ASSERT_TRUE(info.ParseFromString(*answer));
  EXPECT_EQ(info.name(), "io.containerd.gantry.v2");
  EXPECT_THAT(info.features().value(), HasSubstr("ociVersionMax"));
}

TEST_F(CommandTest, MistakesAreOneClearLine) {
  EXPECT_THAT(std::string(RunShim({"stop"}, "", "2").status().message()),
              HasSubstr("containerd-shim-gantry-v2: unknown action \"stop\""));
  EXPECT_THAT(std::string(RunShim({"-socket-fd", "9", "serve"}, "", "2").status().message()),
              HasSubstr("no listening stream socket"));
}

TEST_F(CommandTest, TheProgramIsStaticAndHoldsNoGrpc) {
  const auto bytes = sys::ReadFileAt(AT_FDCWD, SHIM_BINARY, 1 << 30);
  ASSERT_TRUE(bytes.ok());
  if (bytes->find("__asan_init") != std::string::npos || bytes->find("__tsan_init") != std::string::npos) {
    GTEST_SKIP() << "the sanitizers' runtimes don't exist as static programs";
  }
  ASSERT_GT(bytes->size(), sizeof(Elf64_Ehdr));
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(bytes->data());
  for (int i = 0; i < header->e_phnum; ++i) {
    const auto* segment = reinterpret_cast<const Elf64_Phdr*>(bytes->data() + header->e_phoff) + i;
    EXPECT_NE(segment->p_type, static_cast<Elf64_Word>(PT_INTERP)) << "it names a dynamic loader";
  }
  EXPECT_EQ(bytes->find("_ZN4grpc"), std::string::npos);
  EXPECT_EQ(bytes->find("grpc_call"), std::string::npos);
  EXPECT_EQ(bytes->find("rocksdb"), std::string::npos);
}

TEST_F(CommandTest, AnIdleShimIsSmallAndSilent) {
  MakeBundle({"sleep", "1000"});
  Serve();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Start().ok());
  RunFor(absl::Milliseconds(1500));
  const auto rollup = sys::ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", shim_pid_, "/smaps_rollup"), 1 << 16);
  ASSERT_TRUE(rollup.ok());
  const auto value = [&rollup](absl::string_view name) {
    int kilobytes = 0;
    for (absl::string_view line : absl::StrSplit(*rollup, '\n')) {
      if (!absl::ConsumePrefix(&line, name)) continue;
      EXPECT_TRUE(absl::SimpleAtoi(absl::StripSuffix(line, "kB"), &kilobytes));
    }
    return kilobytes;
  };
  RecordProperty("pss_kb", value("Pss:"));
  RecordProperty("anonymous_kb", value("Anonymous:"));
#ifndef GANTRY_SANITIZED
#ifdef NDEBUG
  EXPECT_LT(value("Pss:"), 1024) << *rollup;  // of the only shim: the program's pages are all its own
#endif
  EXPECT_LT(value("Anonymous:"), 512) << *rollup;
#endif
  const auto switches = [this] {
    const auto text = sys::ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", shim_pid_, "/status"), 1 << 16);
    return text->substr(text->find("voluntary_ctxt_switches"));
  };
  const std::string before = switches();
  RunFor(absl::Milliseconds(1500));
  EXPECT_EQ(switches(), before) << "an idle shim does not wake up";
}

}  // namespace
}  // namespace gantry::shim
