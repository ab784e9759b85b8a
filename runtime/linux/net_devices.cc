#include "runtime/linux/net_devices.h"

#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/rtnetlink.h"
#include "runtime/sys/status.h"

namespace gantry::linux {
namespace {

using sys::RouteSocket;

// What the administrator gave it, and not what the kernel or a server made up for that network. Of the flags
// those that are wishes; the others are states.
std::vector<RouteSocket::Address> Keep(std::vector<RouteSocket::Address> addresses) {
  constexpr uint32_t kWishes = IFA_F_NODAD | IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE |
                               IFA_F_MCAUTOJOIN | IFA_F_OPTIMISTIC;
  std::vector<RouteSocket::Address> kept;
  for (RouteSocket::Address& address : addresses) {
    if ((address.flags & IFA_F_PERMANENT) == 0 || address.scope != RT_SCOPE_UNIVERSE) continue;
    address.flags &= kWishes;
    kept.push_back(std::move(address));
  }
  return kept;
}

// The device that has come: the one whose number was not there before.
absl::StatusOr<RouteSocket::Link> FindArrival(const RouteSocket& socket, const std::string& name,
                                              const std::vector<RouteSocket::Link>& before) {
  if (!absl::StrContains(name, '%')) return socket.FindLink(name);
  GANTRY_ASSIGN_OR_RETURN(const std::vector<RouteSocket::Link> after, socket.Links());
  for (const RouteSocket::Link& link : after) {
    const auto same = [&link](const RouteSocket::Link& other) { return other.index == link.index; };
    if (std::none_of(before.begin(), before.end(), same)) return link;
  }
  return absl::NotFoundError(absl::StrCat("the moved device ", name, " cannot be found"));
}

absl::Status Configure(const RouteSocket& socket, const RouteSocket::Link& link, const std::string& old_name,
                       std::vector<RouteSocket::Address> addresses, bool up) {
  for (RouteSocket::Address& address : addresses) {
    // "eth0:web" follows its device's name.
    if (absl::StartsWith(address.label, old_name)) {
      const std::string label =
          absl::StrCat(link.name, absl::string_view(address.label).substr(old_name.size()));
      address.label = label.size() < 16 ? label : "";  // IFNAMSIZ
    }
    GANTRY_RETURN_IF_ERROR(socket.AddAddress(link.index, address));
  }
  return up ? socket.SetUp(link.index, true) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> MoveNetDevice(int from, int to, const std::string& name,
                                          const std::string& new_name) {
  GANTRY_ASSIGN_OR_RETURN(const RouteSocket source, RouteSocket::OpenIn(from));
  GANTRY_ASSIGN_OR_RETURN(const RouteSocket target, RouteSocket::OpenIn(to));
  GANTRY_ASSIGN_OR_RETURN(const RouteSocket::Link link, source.FindLink(name));
  GANTRY_ASSIGN_OR_RETURN(const std::vector<RouteSocket::Link> before, target.Links());
  // The kernel would see it too, but only after the device has moved.
  const auto same = [&new_name](const RouteSocket::Link& other) { return other.name == new_name; };
  if (std::any_of(before.begin(), before.end(), same)) {
    return absl::AlreadyExistsError(
        absl::StrCat("the network namespace of the container has a device ", new_name, " already"));
  }
  // Before it moves: it loses them.
  GANTRY_ASSIGN_OR_RETURN(std::vector<RouteSocket::Address> all, source.Addresses(link.index));
  const std::vector<RouteSocket::Address> addresses = Keep(std::move(all));
  absl::Status status = source.Move(link.index, new_name, to);
  if (!status.ok()) {
    // Some devices are bound to their namespace, and refuse before anything happened. Others fail halfway.
    if (auto still = source.FindLink(name); still.ok() && still->up != link.up) {
      Configure(source, *still, name, addresses, link.up).IgnoreError();
    }
    return status;
  }
  GANTRY_ASSIGN_OR_RETURN(const RouteSocket::Link arrived, FindArrival(target, new_name, before));
  status = Configure(target, arrived, name, addresses, true);
  if (status.ok()) return arrived.name;
  if (target.Move(arrived.index, name, from).ok()) {
    if (auto back = source.FindLink(name); back.ok()) {
      Configure(source, *back, arrived.name, addresses, link.up).IgnoreError();
    }
  }
  return status;
}

absl::Status NetDeviceMoves::Move(const plan::MoveNetDevice& op, int proc, pid_t pid, int network) {
  Moved moved;
  moved.name = op.name;
  GANTRY_ASSIGN_OR_RETURN(moved.home, sys::OpenAt(proc, "self/ns/net", O_RDONLY));
  if (network >= 0) {
    moved.network.reset(fcntl(network, F_DUPFD_CLOEXEC, 0));
    if (!moved.network) return sys::ErrnoStatus("fcntl", "F_DUPFD_CLOEXEC");
  } else {
    GANTRY_ASSIGN_OR_RETURN(moved.network, sys::OpenAt(proc, absl::StrCat(pid, "/ns/net"), O_RDONLY));
  }
  auto name = MoveNetDevice(moved.home.get(), moved.network.get(), op.name, op.new_name);
  if (!name.ok()) return sys::Annotate(name.status(), absl::StrCat("linux.netDevices: ", op.name));
  moved.new_name = *std::move(name);
  moved_.push_back(std::move(moved));
  return absl::OkStatus();
}

void NetDeviceMoves::Undo() {
  for (; !moved_.empty(); moved_.pop_back()) {
    const Moved& moved = moved_.back();
    MoveNetDevice(moved.network.get(), moved.home.get(), moved.new_name, moved.name).status().IgnoreError();
  }
}

}  // namespace gantry::linux
