// On the real kernel, in two network namespaces of the test's own. Needs root.
#include "runtime/linux/net_devices.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>

#include "runtime/sys/file.h"
#include "runtime/sys/rtnetlink.h"
#include "runtime/sys/spawn.h"

namespace gantry::linux {
namespace {

using sys::RouteSocket;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

// A new network namespace; the caller's stays.
sys::UniqueFd NewNetwork() {
  const int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  sys::UniqueFd made;
  if (unshare(CLONE_NEWNET) == 0) made.reset(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(setns(home, CLONE_NEWNET), 0);
  close(home);
  return made;
}

class NetDevicesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    home_.reset(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    a_ = NewNetwork();
    b_ = NewNetwork();
    if (!a_.valid() || !b_.valid()) GTEST_SKIP() << "cannot make network namespaces";
    if (!Ip(a_, {"link", "add", "one", "type", "veth", "peer", "name", "two"})) {
      GTEST_SKIP() << "needs ip(8) and a kernel with veth";
    }
  }

  bool Ip(const sys::UniqueFd& network, std::vector<std::string> arguments) {
    EXPECT_EQ(setns(network.get(), CLONE_NEWNET), 0);
    sys::SpawnOptions options;
    options.path = access("/sbin/ip", X_OK) == 0 ? "/sbin/ip" : "/usr/sbin/ip";
    options.argv = {"ip"};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.fds = {{2, 1}, {2, 2}};
    auto child = sys::Spawn(options);
    EXPECT_EQ(setns(home_.get(), CLONE_NEWNET), 0);
    if (!child.ok()) return false;
    auto status = child->pidfd.Reap(sys::PidFd::Block::kWait);
    return status.ok() && (*status)->Code() == 0;
  }

  // "10.0.0.1/24" and so on, of global scope; nothing when there is no such device.
  std::vector<std::string> Addresses(const sys::UniqueFd& network, const std::string& name,
                                     bool* up = nullptr) {
    std::vector<std::string> texts;
    auto socket = RouteSocket::OpenIn(network.get());
    EXPECT_TRUE(socket.ok()) << socket.status();
    auto link = socket->FindLink(name);
    if (!link.ok()) return {"no device"};
    if (up != nullptr) *up = link->up;
    const auto addresses = socket->Addresses(link->index);
    EXPECT_TRUE(addresses.ok());
    for (const RouteSocket::Address& address : *addresses) {
      if (address.scope != RT_SCOPE_UNIVERSE) continue;
      const uint16_t wanted = address.family == AF_INET ? IFA_LOCAL : IFA_ADDRESS;
      for (const auto& [type, value] : address.attributes) {
        char text[INET6_ADDRSTRLEN];
        if (type == wanted && inet_ntop(address.family, value.data(), text, sizeof text) != nullptr) {
          texts.push_back(std::string(text) + "/" + std::to_string(address.prefix_length));
        }
      }
    }
    return texts;
  }

  sys::UniqueFd home_, a_, b_;
};

TEST_F(NetDevicesTest, ADeviceMovesWithItsPermanentAddressesAndIsUp) {
  ASSERT_TRUE(Ip(a_, {"addr", "add", "10.1.2.3/24", "dev", "one"}));
  ASSERT_TRUE(Ip(a_, {"addr", "add", "10.1.2.4/24", "dev", "one", "label", "one:web"}));
  ASSERT_TRUE(
      Ip(a_, {"addr", "add", "10.9.9.9/24", "valid_lft", "600", "preferred_lft", "600", "dev", "one"}));
  ASSERT_TRUE(Ip(a_, {"addr", "add", "10.8.8.8/32", "scope", "link", "dev", "one"}));
  const bool six = Ip(a_, {"addr", "add", "fd00::7/64", "dev", "one", "nodad"});
  ASSERT_TRUE(Ip(a_, {"link", "set", "one", "up"}));
  const auto name = MoveNetDevice(a_.get(), b_.get(), "one", "inner");
  ASSERT_TRUE(name.ok()) << name.status();
  EXPECT_EQ(*name, "inner");
  EXPECT_THAT(Addresses(a_, "one"), UnorderedElementsAre("no device"));
  bool up = false;
  const std::vector<std::string> there = Addresses(b_, "inner", &up);
  EXPECT_TRUE(up);
  if (six) {
    EXPECT_THAT(there, UnorderedElementsAre("10.1.2.3/24", "10.1.2.4/24", "fd00::7/64"));
  } else {
    EXPECT_THAT(there, UnorderedElementsAre("10.1.2.3/24", "10.1.2.4/24"));
  }
}

TEST_F(NetDevicesTest, TheKernelChoosesANumber) {
  ASSERT_TRUE(Ip(b_, {"link", "add", "eth0", "type", "veth", "peer", "name", "other"}));
  const auto name = MoveNetDevice(a_.get(), b_.get(), "one", "eth%d");
  ASSERT_TRUE(name.ok()) << name.status();
  EXPECT_EQ(*name, "eth1");
}

TEST_F(NetDevicesTest, ATakenNameIsAnErrorAndNothingMoves) {
  ASSERT_TRUE(Ip(a_, {"addr", "add", "10.1.2.3/24", "dev", "one"}));
  const auto taken = MoveNetDevice(a_.get(), b_.get(), "one", "lo");
  EXPECT_EQ(taken.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(Addresses(a_, "one"), UnorderedElementsAre("10.1.2.3/24"));
  const auto missing = MoveNetDevice(a_.get(), b_.get(), "absent", "x");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  const auto bound = MoveNetDevice(a_.get(), b_.get(), "lo", "lo0");
  EXPECT_FALSE(bound.ok()) << "the loopback device cannot leave";
}

TEST_F(NetDevicesTest, UndoTakesItBack) {
  ASSERT_TRUE(Ip(a_, {"addr", "add", "10.1.2.3/24", "dev", "one"}));
  ASSERT_EQ(setns(a_.get(), CLONE_NEWNET), 0);
  auto proc = sys::OpenAt(AT_FDCWD, "/proc", O_PATH | O_DIRECTORY);
  NetDeviceMoves moves;
  plan::MoveNetDevice op;
  op.name = "one";
  op.new_name = "inner";
  const absl::Status status = moves.Move(op, proc->get(), 0, b_.get());
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(Addresses(b_, "inner"), UnorderedElementsAre("10.1.2.3/24"));
  moves.Undo();
  ASSERT_EQ(setns(home_.get(), CLONE_NEWNET), 0);
  EXPECT_THAT(Addresses(b_, "inner"), UnorderedElementsAre("no device"));
  EXPECT_THAT(Addresses(a_, "one"), UnorderedElementsAre("10.1.2.3/24"));
}

}  // namespace
}  // namespace gantry::linux
