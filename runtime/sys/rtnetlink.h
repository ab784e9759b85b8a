// Route netlink (rtnetlink(7)), as far as network devices and their addresses need it.
//
// A RouteSocket belongs to the network namespace in which it was opened, whatever its owner enters later. Every
// call sends one request and blocks for the kernel's answer, which is immediate. Errors carry errno and, where
// the kernel said more (extended acknowledgement), its words. Not thread-safe: one thread owns it.
#ifndef GANTRY_RUNTIME_SYS_RTNETLINK_H_
#define GANTRY_RUNTIME_SYS_RTNETLINK_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::sys {

class RouteSocket {
 public:
  struct Link {
    int index = 0;
    std::string name;
    bool up = false;
  };
  // An address with all that RTM_GETADDR tells of it, but for its device.
  struct Address {
    uint8_t family = 0;  // AF_INET, AF_INET6
    uint8_t prefix_length = 0;
    uint8_t scope = 0;   // RT_SCOPE_*
    uint32_t flags = 0;  // IFA_F_*
    std::string label;   // of version 4: the device's name, perhaps with ":..." behind it
    std::vector<std::pair<uint16_t, std::string>> attributes;  // the others: IFA_LOCAL, IFA_ADDRESS, ...
  };

  // In the caller's network namespace.
  static absl::StatusOr<RouteSocket> Open();
  // In the network namespace behind `namespace_fd`, which the caller enters for a moment: for single-threaded
  // programs. Should the way back fail, the program is aborted.
  static absl::StatusOr<RouteSocket> OpenIn(int namespace_fd);

  // All devices.
  absl::StatusOr<std::vector<Link>> Links() const;
  // The device of that name; NOT_FOUND when there is none.
  absl::StatusOr<Link> FindLink(const std::string& name) const;
  absl::Status SetUp(int index, bool up) const;
  // Renames it. "eth%d" lets the kernel choose a number.
  absl::Status Rename(int index, const std::string& name) const;
  // Into another network namespace, as `name` (as Rename takes it). The device is down afterwards, and has
  // lost its addresses.
  absl::Status Move(int index, const std::string& name, int namespace_fd) const;

  absl::StatusOr<std::vector<Address>> Addresses(int index) const;
  absl::Status AddAddress(int index, const Address& address) const;

 private:
  explicit RouteSocket(UniqueFd fd) : fd_(std::move(fd)) {}
  // Sends the request (its nlmsghdr to be completed) and calls `take` for each message of the answer.
  absl::Status Ask(std::string request, const char* what,
                   const std::function<void(uint16_t type, absl::string_view payload)>& take) const;

  UniqueFd fd_;
};

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_RTNETLINK_H_
