// Moves network devices between network namespaces (config-linux.md, "Network Devices").
//
// For single-threaded programs: the target is entered for a moment. Needs CAP_NET_ADMIN over both namespaces.
#ifndef GANTRY_RUNTIME_LINUX_NET_DEVICES_H_
#define GANTRY_RUNTIME_LINUX_NET_DEVICES_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/plan/plan.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::linux {

// Moves the device `name` of the namespace `from` to the namespace `to` (descriptors) as `new_name`, with its
// permanent addresses of global scope, and sets it up. "eth%d" as the new name lets the kernel choose the
// number. Returns the name that it has there.
//
// NOT_FOUND: there is no such device. ALREADY_EXISTS: `to` has one of the new name. After an error the device is
// where it was, as it was, as far as the kernel allows it.
absl::StatusOr<std::string> MoveNetDevice(int from, int to, const std::string& name,
                                          const std::string& new_name);

// The devices of one container on their way: Undo takes them back.
class NetDeviceMoves {
 public:
  // Moves `op`'s device from our network namespace to `network` (of a joined namespace), or with -1 to that of
  // the process `pid`. `proc` is the host's procfs. All borrowed for the call.
  absl::Status Move(const plan::MoveNetDevice& op, int proc, pid_t pid, int network);
  bool empty() const { return moved_.empty(); }
  // Before the namespace goes: it would take virtual devices with it. As far as it is possible.
  void Undo();

 private:
  struct Moved {
    std::string name, new_name;
    sys::UniqueFd home, network;
  };
  std::vector<Moved> moved_;
};

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_NET_DEVICES_H_
