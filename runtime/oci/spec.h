// The container's configuration: the OCI runtime specification 1.3 (config.md, config-linux.md) as plain
// structs.
//
//   ParseSpec(text) -> Spec        reads JSON: types and integer ranges, nothing else
//   Validate(spec)                 the rules between the values
//   ToJson(spec) / DefaultSpec()   the way back, and a sensible start
//
// An absent member is an empty string, vector or map, or an empty optional where absent and empty (or zero)
// differ. Everything is pure: no system call, no global state, so thread-safe. Names are the specification's
// own, in snake_case; units are the specification's own and stand beside the member where it has one.
// Unknown members of the JSON are ignored, as config.md ("Extensibility") demands; members for other
// platforms are not kept.
#ifndef GANTRY_RUNTIME_OCI_SPEC_H_
#define GANTRY_RUNTIME_OCI_SPEC_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::oci {

// The newest version of the specification that this code knows; written into what we generate.
inline constexpr char kSpecVersion[] = "1.3.0";

// ---- process ---------------------------------------------------------------------------------------------

struct ConsoleSize {
  uint32_t height = 0;  // in characters
  uint32_t width = 0;
};

struct User {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::optional<uint32_t> umask;
  std::vector<uint32_t> additional_gids;
};

// Names as in "CAP_KILL". An empty list is an empty set.
struct Capabilities {
  std::vector<std::string> bounding, effective, inheritable, permitted, ambient;
};

struct Rlimit {
  std::string type;  // "RLIMIT_NOFILE"
  uint64_t hard = 0;
  uint64_t soft = 0;
};

struct Scheduler {     // sched_setattr(2)
  std::string policy;  // "SCHED_OTHER"
  int32_t nice = 0;
  int32_t priority = 0;
  std::vector<std::string> flags;  // "SCHED_FLAG_RESET_ON_FORK"
  uint64_t runtime = 0;            // nanoseconds, as the next two
  uint64_t deadline = 0;
  uint64_t period = 0;
};

struct IoPriority {  // ioprio_set(2)
  std::string cls;   // "IOPRIO_CLASS_BE"
  int32_t priority = 0;
};

struct ExecCpuAffinity {  // CPU lists: "0-3,7"
  std::string initial;
  std::string final;
};

struct Process {
  bool terminal = false;
  std::optional<ConsoleSize> console_size;
  User user;
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::string cwd;
  std::optional<Capabilities> capabilities;  // absent: see config.md, no capabilities are changed
  std::vector<Rlimit> rlimits;
  bool no_new_privileges = false;
  std::string apparmor_profile;
  std::string selinux_label;
  std::optional<int32_t> oom_score_adj;
  std::optional<Scheduler> scheduler;
  std::optional<IoPriority> io_priority;
  std::optional<ExecCpuAffinity> exec_cpu_affinity;
};

// ---- root, mounts, hooks ---------------------------------------------------------------------------------

struct Root {
  std::string path;
  bool readonly = false;
};

struct IdMapping {
  uint32_t container_id = 0;
  uint32_t host_id = 0;
  uint32_t size = 0;
};

struct Mount {
  std::string destination;
  std::string type;
  std::string source;
  std::vector<std::string> options;
  std::vector<IdMapping> uid_mappings;
  std::vector<IdMapping> gid_mappings;
};

struct Hook {
  std::string path;
  std::vector<std::string> args;  // empty: the path alone
  std::vector<std::string> env;
  std::optional<int32_t> timeout;  // seconds, > 0
};

struct Hooks {
  std::vector<Hook> prestart, create_runtime, create_container, start_container, poststart, poststop;
};

// ---- linux -----------------------------------------------------------------------------------------------

enum class NamespaceType { kPid, kNetwork, kMount, kIpc, kUts, kUser, kCgroup, kTime };
// "network" and so on.
absl::string_view NamespaceTypeName(NamespaceType type);

struct Namespace {
  NamespaceType type = NamespaceType::kPid;
  std::string path;  // empty: a new one
};

struct TimeOffset {
  int64_t secs = 0;
  uint32_t nanosecs = 0;
};

struct Device {
  std::string path;
  std::string type;  // "c", "b", "u" (a "c" by another name) or "p"
  int64_t major = 0;
  int64_t minor = 0;
  std::optional<uint32_t> file_mode;  // permission bits
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
};

struct NetDevice {
  std::string name;  // empty: the name it has on the host, which is the map's key
};

enum class SeccompAction {
  kKillThread,  // SCMP_ACT_KILL and SCMP_ACT_KILL_THREAD
  kKillProcess,
  kTrap,
  kErrno,
  kTrace,
  kAllow,
  kLog,
  kNotify,
};
absl::string_view SeccompActionName(SeccompAction action);  // "SCMP_ACT_ERRNO"

enum class SeccompOp { kNe, kLt, kLe, kEq, kGe, kGt, kMaskedEq };
absl::string_view SeccompOpName(SeccompOp op);  // "SCMP_CMP_EQ"

struct SeccompArg {
  uint32_t index = 0;  // 0 to 5
  uint64_t value = 0;  // for kMaskedEq the mask
  uint64_t value_two = 0;
  SeccompOp op = SeccompOp::kEq;
};

struct SeccompSyscall {
  std::vector<std::string> names;
  SeccompAction action = SeccompAction::kErrno;
  std::optional<uint32_t> errno_ret;
  std::vector<SeccompArg> args;
};

struct Seccomp {
  SeccompAction default_action = SeccompAction::kErrno;
  std::optional<uint32_t> default_errno_ret;
  std::vector<std::string> architectures;  // "SCMP_ARCH_X86_64"
  std::vector<std::string> flags;          // "SECCOMP_FILTER_FLAG_LOG"
  std::string listener_path;
  std::string listener_metadata;
  std::vector<SeccompSyscall> syscalls;
};

struct Personality {
  std::string domain;  // "LINUX" or "LINUX32"
  std::vector<std::string> flags;
};

struct IntelRdt {
  std::string clos_id;
  std::vector<std::string> schemata;
  std::string l3_cache_schema;
  std::string mem_bw_schema;
  bool enable_monitoring = false;
};

struct MemoryPolicy {  // set_mempolicy(2)
  std::string mode;    // "MPOL_BIND"
  std::string nodes;   // "0-3,7"
  std::vector<std::string> flags;
};

// ---- linux.resources -------------------------------------------------------------------------------------

struct DeviceRule {
  bool allow = false;
  std::string type;              // "a" or empty (all), "c", "b"
  std::optional<int64_t> major;  // absent or -1: all
  std::optional<int64_t> minor;
  std::string access;  // of "rwm"; empty: all three
};

struct MemoryResources {  // bytes; -1: unlimited
  std::optional<int64_t> limit, reservation, swap, kernel, kernel_tcp;
  std::optional<uint64_t> swappiness;  // 0 to 100
  std::optional<bool> disable_oom_killer, use_hierarchy, check_before_update;
};

struct CpuResources {
  std::optional<uint64_t> shares;
  std::optional<int64_t> quota;  // microseconds, as the next four; quota -1: unlimited
  std::optional<uint64_t> burst;
  std::optional<uint64_t> period;
  std::optional<int64_t> realtime_runtime;
  std::optional<uint64_t> realtime_period;
  std::string cpus;  // "0-3,7"
  std::string mems;
  std::optional<int64_t> idle;
};

struct WeightDevice {
  int64_t major = 0;
  int64_t minor = 0;
  std::optional<uint16_t> weight, leaf_weight;
};

struct ThrottleDevice {
  int64_t major = 0;
  int64_t minor = 0;
  uint64_t rate = 0;  // bytes or operations per second
};

struct BlockIoResources {
  std::optional<uint16_t> weight, leaf_weight;  // 10 to 1000
  std::vector<WeightDevice> weight_device;
  std::vector<ThrottleDevice> throttle_read_bps, throttle_write_bps, throttle_read_iops, throttle_write_iops;
};

struct HugepageLimit {
  std::string page_size;  // "2MB"
  uint64_t limit = 0;     // bytes
};

struct InterfacePriority {
  std::string name;
  uint32_t priority = 0;
};

struct NetworkResources {
  std::optional<uint32_t> class_id;
  std::vector<InterfacePriority> priorities;
};

struct RdmaLimit {
  std::optional<uint32_t> hca_handles, hca_objects;
};

struct Resources {
  std::vector<DeviceRule> devices;
  std::optional<MemoryResources> memory;
  std::optional<CpuResources> cpu;
  std::optional<int64_t> pids_limit;  // pids.limit; -1 (and, as runc reads it, 0 in an update): unlimited
  std::optional<BlockIoResources> block_io;
  std::vector<HugepageLimit> hugepage_limits;
  std::optional<NetworkResources> network;
  std::map<std::string, RdmaLimit> rdma;
  std::map<std::string, std::string> unified;  // cgroup v2 file name -> what is written
};

struct Linux {
  std::vector<Namespace> namespaces;
  std::vector<IdMapping> uid_mappings;
  std::vector<IdMapping> gid_mappings;
  std::map<std::string, TimeOffset> time_offsets;  // "boottime", "monotonic"
  std::vector<Device> devices;
  std::map<std::string, NetDevice> net_devices;
  std::string cgroups_path;
  std::optional<Resources> resources;
  std::string rootfs_propagation;  // "private", "rslave", ...
  std::optional<Seccomp> seccomp;
  std::map<std::string, std::string> sysctl;
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
  std::string mount_label;
  std::optional<IntelRdt> intel_rdt;
  std::optional<MemoryPolicy> memory_policy;
  std::optional<Personality> personality;

  // The namespace entry of that type; null if the container stays in the caller's.
  const Namespace* FindNamespace(NamespaceType type) const;
};

struct Spec {
  std::string oci_version;
  std::optional<Process> process;  // only `start` needs it
  std::optional<Root> root;
  std::string hostname;
  std::string domainname;
  std::vector<Mount> mounts;
  Hooks hooks;
  std::map<std::string, std::string> annotations;
  std::optional<Linux> linux;
};

// ---- functions -------------------------------------------------------------------------------------------

// The limits of the parser. A document beyond them is RESOURCE_EXHAUSTED.
inline constexpr size_t kMaxSpecBytes = 16 << 20;
inline constexpr int kMaxDepth = 128;            // of unknown members too
inline constexpr size_t kMaxElements = 1 << 20;  // values in the whole document

// Reads config.json. INVALID_ARGUMENT messages read "config.json: linux.resources.pids.limit: must be an
// integer between ..., found the string "many"". `name` is how messages call the document. Of a key given
// twice the last counts, as encoding/json does; null counts as absent.
absl::StatusOr<Spec> ParseSpec(absl::string_view json, absl::string_view name = "config.json");
// Reads a process document (config.md, "Process"), as `exec --process` and containerd's exec pass it.
absl::StatusOr<Process> ParseProcess(absl::string_view json, absl::string_view name = "process.json");
// Reads a resources document (config-linux.md, "Control groups"), as `update --resources` and
// containerd's update pass it.
absl::StatusOr<Resources> ParseResources(absl::string_view json, absl::string_view name = "resources");

// The rules of config.md and config-linux.md that hold between values, and those that keep a container from
// reaching the host (sysctls of namespaces it doesn't own, identities of 2^32-1, ...). INVALID_ARGUMENT names
// the member and the rule.
absl::Status Validate(const Spec& spec);
// The same for a process alone; for exec, and as a part of Validate.
absl::Status ValidateProcess(const Process& process);
// The same for resources alone; for update, and as a part of Validate.
absl::Status ValidateResources(const Resources& resources);

// What `runc spec` writes and containerd's default spec holds: the usual mounts, namespaces, masked and
// read-only paths, capabilities, a limit of 1024 files, an interactive `sh` in `rootfs`.
Spec DefaultSpec();
// The capabilities of a container that asked for none in particular (Docker's and containerd's list).
std::vector<std::string> DefaultCapabilities();

// JSON that ParseSpec reads back to an equal value; indented by tabs if `pretty`.
std::string ToJson(const Spec& spec, bool pretty = false);
std::string ToJson(const Process& process, bool pretty = false);
std::string ToJson(const Resources& resources, bool pretty = false);

}  // namespace gantry::oci

#endif  // GANTRY_RUNTIME_OCI_SPEC_H_
