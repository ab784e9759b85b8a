// A stand-in for criu: a test program that includes this is it, when it is started as `criu swrk 3`. It takes the
// directory of the images as its stage: writes there what it was asked ("request", "cgroup"), and fails when there is
// a file "fail". A restored process writes "restored" to its standard output, and waits.
#ifndef GANTRY_RUNTIME_CONTAINER_TEST_CRIU_H_
#define GANTRY_RUNTIME_CONTAINER_TEST_CRIU_H_

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"

namespace gantry::container::test_criu {

inline std::string Field(uint32_t field, uint64_t number) {
  std::string out(1, static_cast<char>(field << 3));
  for (; number >= 0x80; number >>= 7) out.push_back(static_cast<char>(number | 0x80));
  out.push_back(static_cast<char>(number));
  return out;
}
inline std::string Field(uint32_t field, const std::string& bytes) {  // shorter than 128
  return std::string(1, static_cast<char>(field << 3 | 2)) + static_cast<char>(bytes.size()) + bytes;
}

// The number of a varint field near the start: good enough for what EncodeOpts writes first.
inline uint64_t NumberAt(const std::string& data, size_t at) {
  uint64_t value = 0;
  for (int shift = 0; at < data.size(); at++, shift += 7) {
    value |= static_cast<uint64_t>(data[at] & 0x7f) << shift;
    if ((data[at] & 0x80) == 0) break;
  }
  return value;
}

inline void Say(const std::string& message) { send(3, message.data(), message.size(), MSG_NOSIGNAL); }
inline std::string Hear() {
  char buffer[65536];
  const ssize_t n = recv(3, buffer, sizeof buffer, 0);
  return std::string(buffer, n > 0 ? static_cast<size_t>(n) : 0);
}
inline void Notify(const std::string& script, pid_t pid) {
  Say(Field(1, 6) + Field(2, 1) + Field(5, Field(1, script) + Field(2, static_cast<uint64_t>(pid))));
  if (Hear() != Field(1, 6) + Field(3, 1)) _exit(9);
}

// The images' directory is a descriptor of whoever made the socket.
inline std::string Stage(const std::string& request) {
  ucred peer = {};
  socklen_t size = sizeof peer;
  getsockopt(3, SOL_SOCKET, SO_PEERCRED, &peer, &size);
  // {1: type} {2: length, {1: images_dir_fd} ...}
  const size_t length_bytes = (request[3] & 0x80) != 0 ? 2 : 1;
  const std::string link = absl::StrCat("/proc/", peer.pid, "/fd/", NumberAt(request, 3 + length_bytes + 1));
  char path[4096];
  const ssize_t n = readlink(link.c_str(), path, sizeof path);
  return n > 0 ? std::string(path, static_cast<size_t>(n)) : "";
}

inline void WriteOn(const std::string& stage, const std::string& name, const std::string& text) {
  sys::WriteFileAtomic(AT_FDCWD, absl::StrCat(stage, "/", name), text, 0644, sys::Durability::kVolatile)
      .IgnoreError();
}

[[noreturn]] inline void Dump(const std::string& request) {
  const std::string stage = Stage(request);
  WriteOn(stage, "request", request);
  if (access((stage + "/fail").c_str(), F_OK) == 0) {
    WriteOn(stage, "dump.log", "(00.001) all is well\n(00.002) Error (x.c:7): cannot see\n(00.003) bye\n");
    Say(Field(1, 1) + Field(2, 0) + Field(7, ESRCH));
    _exit(1);
  }
  Notify("network-lock", 0);
  Notify("post-dump", 0);
  Say(request.substr(0, 2) + Field(2, 1));
  _exit(0);
}

[[noreturn]] inline void DoRestore(const std::string& request) {
  const std::string stage = Stage(request);
  WriteOn(stage, "request", request);
  std::string cgroup = sys::ReadFileAt(AT_FDCWD, "/proc/self/cgroup", 1 << 20).value_or("");
  WriteOn(stage, "cgroup", cgroup);
  // A sibling: the child of whoever called us.
  const long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (pid == 0) {
    dprintf(1, "restored\n");
    pause();
    _exit(0);
  }
  Notify("setup-namespaces", static_cast<pid_t>(pid));
  if (access((stage + "/fail").c_str(), F_OK) == 0) {
    kill(static_cast<pid_t>(pid), SIGKILL);
    Say(Field(1, 2) + Field(2, 0));
    _exit(1);
  }
  Notify("post-restore", static_cast<pid_t>(pid));
  Say(Field(1, 2) + Field(2, 1) + Field(4, Field(1, static_cast<uint64_t>(pid))));
  _exit(0);
}

__attribute__((constructor)) inline void BeCriu(int argc, char** argv) {
  if (argc != 3 || strcmp(argv[1], "swrk") != 0) return;
  const std::string request = Hear();
  if (request.size() < 2) _exit(2);
  switch (request[1]) {
    case 1:
    case 4:
      Dump(request);
    case 2:
      DoRestore(request);
    case 9:
      Say(Field(1, 9) + Field(2, 1) + Field(8, Field(1, 1)));
      _exit(0);
    case 10:
      Say(Field(1, 10) + Field(2, 1) + Field(10, Field(1, 3) + Field(2, 17) + Field(4, 1)));
      _exit(0);
    default:
      _exit(3);
  }
}

}  // namespace gantry::container::test_criu

namespace gantry::container {
using test_criu::Field;
}

#endif  // GANTRY_RUNTIME_CONTAINER_TEST_CRIU_H_
