#include <sys/mount.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/plan/builder.h"
#include "runtime/plan/mount_options.h"
#include "runtime/sys/status.h"

namespace gantry::plan {
namespace {

// config-linux.md, "Default Devices".
struct DefaultDevice {
  const char* path;
  uint32_t major, minor;
};
constexpr DefaultDevice kDefaultDevices[] = {{"/dev/null", 1, 3},    {"/dev/zero", 1, 5},
                                             {"/dev/full", 1, 7},    {"/dev/random", 1, 8},
                                             {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};

// runtime-linux.md, "Dev symbolic links".
struct DefaultLink {
  const char* path;
  const char* target;
  bool replace;
};
constexpr DefaultLink kDefaultLinks[] = {{"/dev/fd", "/proc/self/fd", false},
                                         {"/dev/stdin", "/proc/self/fd/0", false},
                                         {"/dev/stdout", "/proc/self/fd/1", false},
                                         {"/dev/stderr", "/proc/self/fd/2", false},
                                         {"/dev/ptmx", "pts/ptmx", true}};

// The host's node, bound: in a user namespace nobody may make one.
void PlanBoundDevice(const std::string& path, Builder* builder) {
  OpenTree tree;
  tree.slot = builder->NewSlot();
  tree.source = path;
  tree.attr.propagation = {MS_PRIVATE, false};
  builder->Child(AttachMount{tree.slot, path, path});
  builder->Tree(std::move(tree));
}

absl::Status PlanDevice(const oci::Device& device, Builder* builder) {
  MakeDevice operation;
  operation.path = device.path;
  if (device.type == "c" || device.type == "u") {
    operation.type = 'c';
  } else if (device.type == "b" || device.type == "p") {
    operation.type = device.type[0];
  } else {
    return absl::InvalidArgumentError(absl::StrCat(
        "linux.devices: ", device.path, ": the type must be c, u, b or p; found \"", device.type, "\""));
  }
  if (device.major < 0 || device.minor < 0 || device.major > 0xfff || device.minor > 0xfffff) {
    return absl::InvalidArgumentError(absl::StrCat(
        "linux.devices: ", device.path, ": no such device number: ", device.major, ":", device.minor));
  }
  operation.major = static_cast<uint32_t>(device.major);
  operation.minor = static_cast<uint32_t>(device.minor);
  operation.mode = device.file_mode.value_or(0666) & 07777;
  operation.uid = device.uid.value_or(0);
  operation.gid = device.gid.value_or(0);
  if (builder->only_bound_devices() && operation.type != 'p') {
    PlanBoundDevice(device.path, builder);
  } else {
    builder->Child(std::move(operation));
  }
  return absl::OkStatus();
}

// Whether /dev is the host's (a bind mount): then nothing is made in it.
const oci::Mount* FindDevMount(const oci::Spec& spec) {
  const oci::Mount* found = nullptr;
  for (const oci::Mount& mount : spec.mounts) {
    if (mount.destination == "/dev" || mount.destination == "/dev/" || mount.destination == "dev")
      found = &mount;
  }
  return found;
}

}  // namespace

absl::Status PlanDevices(const oci::Spec& spec, Builder* builder) {
  const oci::Mount* dev = FindDevMount(spec);
  MountOptions dev_options;
  if (dev != nullptr) {
    GANTRY_ASSIGN_OR_RETURN(dev_options, ParseMountOptions(dev->options));
  }
  const bool hosts_dev = dev != nullptr && (dev->type == "bind" || dev_options.bind);
  if (!hosts_dev) {
    const auto& devices = spec.linux->devices;
    for (const DefaultDevice& device : kDefaultDevices) {
      const auto same = [&device](const oci::Device& other) { return other.path == device.path; };
      if (std::any_of(devices.begin(), devices.end(), same))
        continue;  // the specification's own is made below
      if (builder->only_bound_devices()) {
        PlanBoundDevice(device.path, builder);
      } else {
        builder->Child(MakeDevice{device.path, 'c', device.major, device.minor, 0666, 0, 0});
      }
    }
    for (const DefaultLink& link : kDefaultLinks)
      builder->Child(MakeSymlink{link.path, link.target, link.replace});
  }
  for (const oci::Device& device : spec.linux->devices) {
    // Made above, as the link to the container's own: `ctr run --privileged` lists every device of the host.
    if (!hosts_dev && device.path == "/dev/ptmx") continue;
    GANTRY_RETURN_IF_ERROR(PlanDevice(device, builder));
  }
  if (spec.process.has_value() && spec.process->terminal) {
    const oci::ConsoleSize size = spec.process->console_size.value_or(oci::ConsoleSize());
    builder->Child(OpenTerminal{spec.process->user.uid, size.height, size.width, !hosts_dev});
  }
  if (dev != nullptr && dev->type == "tmpfs" && (dev_options.attr.set & MOUNT_ATTR_RDONLY) != 0) {
    MountAttr attr;
    attr.set = MOUNT_ATTR_RDONLY;
    builder->Child(SetMountAttr{"/dev", attr});
  }
  return absl::OkStatus();
}

}  // namespace gantry::plan
