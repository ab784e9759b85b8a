// The Plan: an ordered list of typed kernel operations that makes a container, or joins one, as plain data.
//
//   plan::Plan plan = *plan::PlanCreate(request, facts);   (planner.h; pure: no system calls)
//   plan::ToText(plan), plan::ToJson(plan)                 (print.h; what `explain` shows)
//   linux::Execute(plan, ...)                              (runtime/linux; runs it)
//
// Who runs an operation. The *parent* is the caller of Create; everything before Clone is its. Clone makes the
// *child*, which becomes the container's process. If Clone::helper is set, a *helper* process stands between:
// it enters namespaces that only a child can be born into (user, pid, time), clones the child with
// CLONE_PARENT, and ends. After Clone, the parent's and the child's operations run side by side; where one
// waits for the other it says so (AwaitIdMaps, HostHooks, AwaitStart).
//
// An operation owns the strings that it needs, so the child, a copy of the parent's memory, can run it without
// allocating. Descriptors that are opened before the clone and used after it go through numbered *slots*.
//
// Every operation has `kName` and Fields(visitor), which calls visitor("member", value) for each member worth
// printing: the printer's only source. All types are values; thread-safe as such.
#ifndef GANTRY_RUNTIME_PLAN_PLAN_H_
#define GANTRY_RUNTIME_PLAN_PLAN_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/cgroup/plan.h"
#include "runtime/oci/spec.h"

namespace gantry::plan {

using Slot = int;
inline constexpr Slot kNoSlot = -1;
inline constexpr Slot kRootSlot = 0;  // the root mount, in every plan of Create

// Flag words that print by name.
struct CloneFlags {
  uint64_t value = 0;  // CLONE_NEW*
};
struct Propagation {
  uint64_t value = 0;  // MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE; 0: as it is
  bool recursive = false;
};

// What mount_setattr(2) is to change: MOUNT_ATTR_* bits.
struct MountAttr {
  uint64_t set = 0, clear = 0;                      // of the mount itself
  uint64_t recursive_set = 0, recursive_clear = 0;  // of all mounts below it too
  Propagation propagation;

  bool empty() const { return (set | clear | recursive_set | recursive_clear | propagation.value) == 0; }
};

// fsconfig(2): a flag when `value` is absent.
struct Param {
  std::string key;
  std::optional<std::string> value;
};

#define GANTRY_FIELDS(...)         \
  template <typename Visitor>      \
  void Fields(Visitor&& v) const { \
    (void)v;                       \
    __VA_ARGS__                    \
  }

// ---- the parent, before the clone ------------------------------------------------------------------------

struct CreateCgroup {
  static constexpr char kName[] = "CreateCgroup";
  cgroup::Plan plan;
  bool optional = false;  // left out with a warning if we may not make it
  GANTRY_FIELDS(v("optional", optional); v("plan", plan);)
};

// Opens an existing namespace and checks its type.
struct OpenNamespace {
  static constexpr char kName[] = "OpenNamespace";
  Slot slot = kNoSlot;
  oci::NamespaceType type = oci::NamespaceType::kNetwork;
  std::string path;
  bool must_not_be_ours = false;  // the spec sets sysctls of it
  GANTRY_FIELDS(v("slot", slot); v("type", type); v("path", path); v("must_not_be_ours", must_not_be_ours);)
};

// open_tree(2): a detached copy of a mount of the host. By the parent, if it stands before Clone; else by the
// child, which as an ordinary user has the right only in its own user namespace.
struct OpenTree {
  static constexpr char kName[] = "OpenTree";
  Slot slot = kNoSlot;
  std::string source;
  bool recursive = false;
  MountAttr attr;
  std::vector<oci::IdMapping> uid_mappings, gid_mappings;  // not empty: an id-mapped mount
  bool idmap_recursive = false;
  Slot mount_namespace = kNoSlot;  // where `source` is looked up; kNoSlot: here
  GANTRY_FIELDS(v("slot", slot); v("source", source); v("recursive", recursive); v("attr", attr);
                v("uid_mappings", uid_mappings); v("gid_mappings", gid_mappings);)
};

// fsopen(2), fsconfig(2), fsmount(2): a detached mount of a new file system.
struct NewMount {
  static constexpr char kName[] = "NewMount";
  Slot slot = kNoSlot;
  std::string type, source;
  std::vector<Param> params;
  MountAttr attr;
  GANTRY_FIELDS(v("slot", slot); v("type", type); v("source", source); v("params", params); v("attr", attr);)
};

struct CompileSeccomp {
  static constexpr char kName[] = "CompileSeccomp";
  oci::Seccomp profile;
  GANTRY_FIELDS(v("profile", profile);)
};

// Connects to the seccomp agent, so that an unreachable one is an error before anything ran.
struct ConnectSeccompAgent {
  static constexpr char kName[] = "ConnectSeccompAgent";
  Slot slot = kNoSlot;
  std::string path;
  GANTRY_FIELDS(v("slot", slot); v("path", path);)
};

// clone3(2) with CLONE_PIDFD. `flags` are those of the child; a helper does its JoinNamespace operations
// first.
struct Clone {
  static constexpr char kName[] = "Clone";
  CloneFlags flags;
  bool helper = false;
  bool dumpable = false;  // until AwaitIdMaps, so that an ordinary user may write the maps
  std::vector<std::pair<std::string, oci::TimeOffset>> time_offsets;  // of a new time namespace
  GANTRY_FIELDS(v("flags", flags); v("helper", helper); v("time_offsets", time_offsets);)
};

// Which CPUs we ourselves run on until the clone, and so the child until its cgroup says more
// (process.execCPUAffinity.initial). Undone after the clone.
struct RunOnCpus {
  static constexpr char kName[] = "RunOnCpus";
  std::vector<uint64_t> mask;  // bit n of word n/64: CPU n
  GANTRY_FIELDS(v("mask", mask);)
};

// A class of service of the CPU's resource control (linux.intelRdt).
struct OpenResctrlGroup {
  static constexpr char kName[] = "OpenResctrlGroup";
  std::string group;                   // below the mount point; empty: the default class
  bool exclusive = false;              // the container's own: must not be there yet
  bool create = false;                 // is made if it is not there; otherwise that is an error
  std::vector<std::string> must_hold;  // lines that an existing group must have already
  std::vector<std::string> schemata;   // lines that are written
  std::string monitor;                 // the monitoring group to be made; empty: none
  GANTRY_FIELDS(v("group", group); v("exclusive", exclusive); v("create", create); v("must_hold", must_hold);
                v("schemata", schemata); v("monitor", monitor);)
};

// ---- the parent, after the clone -------------------------------------------------------------------------

// Writes the child's pid there.
struct JoinResctrlGroup {
  static constexpr char kName[] = "JoinResctrlGroup";
  std::string group, monitor;  // as in OpenResctrlGroup
  GANTRY_FIELDS(v("group", group); v("monitor", monitor);)
};

// Moves a device of our network namespace into the container's, with its addresses, and sets it up.
struct MoveNetDevice {
  static constexpr char kName[] = "MoveNetDevice";
  std::string name, new_name;
  Slot network = kNoSlot;  // kNoSlot: the child's new namespace
  GANTRY_FIELDS(v("name", name); v("new_name", new_name);)
};

struct WriteIdMaps {
  static constexpr char kName[] = "WriteIdMaps";
  std::vector<oci::IdMapping> uid_mappings, gid_mappings;
  // The programs that write a map for an ordinary user who has more than his own number (subuid(5)); empty: we
  // write it.
  std::string uid_program, gid_program;
  bool deny_setgroups =
      false;  // user_namespaces(7): otherwise an ordinary user may not write the groups' map
  GANTRY_FIELDS(v("uid_mappings", uid_mappings); v("gid_mappings", gid_mappings);
                v("uid_program", uid_program); v("gid_program", gid_program);
                v("deny_setgroups", deny_setgroups);)
};

// ---- the child: namespaces -------------------------------------------------------------------------------

// cgroup v1: writes "0" to the `tasks` files.
struct JoinCgroup {
  static constexpr char kName[] = "JoinCgroup";
  bool by_helper = false;
  GANTRY_FIELDS(v("by_helper", by_helper);)
};

struct JoinNamespace {
  static constexpr char kName[] = "JoinNamespace";
  Slot slot = kNoSlot;
  oci::NamespaceType type = oci::NamespaceType::kNetwork;
  bool by_helper = false;  // before the clone, see Clone
  GANTRY_FIELDS(v("slot", slot); v("type", type); v("by_helper", by_helper);)
};

// All namespaces of a process at once: setns(2) on a pidfd. By the helper, which then closes what is not the
// child's: born into the pid namespace, the child can be looked at from inside, and must lead nowhere
// (CVE-2016-9962).
struct JoinProcess {
  static constexpr char kName[] = "JoinProcess";
  CloneFlags flags;
  bool enter_root = false;  // init's root is not that of its mount namespace
  GANTRY_FIELDS(v("flags", flags); v("enter_root", enter_root);)
};

struct AwaitIdMaps {
  static constexpr char kName[] = "AwaitIdMaps";
  GANTRY_FIELDS()
};

// After the child has entered its cgroup, so that this becomes the namespace's root.
struct UnshareCgroupNamespace {
  static constexpr char kName[] = "UnshareCgroupNamespace";
  GANTRY_FIELDS()
};

// setresgid(2), setresuid(2) to 0 in a user namespace.
struct BecomeRoot {
  static constexpr char kName[] = "BecomeRoot";
  GANTRY_FIELDS()
};

struct NewSession {
  static constexpr char kName[] = "NewSession";
  GANTRY_FIELDS()
};

struct LoopbackUp {
  static constexpr char kName[] = "LoopbackUp";
  GANTRY_FIELDS()
};

// The parent has moved all network devices: what follows may be about them.
struct AwaitNetDevices {
  static constexpr char kName[] = "AwaitNetDevices";
  GANTRY_FIELDS()
};

struct SetHostname {
  static constexpr char kName[] = "SetHostname";
  std::string name;
  GANTRY_FIELDS(v("name", name);)
};

struct SetDomainname {
  static constexpr char kName[] = "SetDomainname";
  std::string name;
  GANTRY_FIELDS(v("name", name);)
};

struct WriteSysctl {
  static constexpr char kName[] = "WriteSysctl";
  std::string key;   // "net.ipv4.ip_forward"
  std::string path;  // "sys/net/ipv4/ip_forward", below the host's /proc
  std::string value;
  GANTRY_FIELDS(v("key", key); v("value", value);)
};

// ---- the child: file systems -----------------------------------------------------------------------------

// Makes "/" of the new mount namespace a recursive slave: nothing done here reaches the host.
struct SlaveMounts {
  static constexpr char kName[] = "SlaveMounts";
  GANTRY_FIELDS()
};

// move_mount(2) of the root onto `path` of the host's tree, as this namespace sees it.
struct AttachRoot {
  static constexpr char kName[] = "AttachRoot";
  Slot slot = kNoSlot;
  std::string path;
  MountAttr attr;  // set afterwards, where the kernel cannot do it before
  GANTRY_FIELDS(v("slot", slot); v("path", path); v("attr", attr);)
};

// mount(2) of the root, where the kernel or a parameter's length rules out a detached mount.
struct MountRootByPath {
  static constexpr char kName[] = "MountRootByPath";
  Slot slot = kNoSlot;  // the root mount's descriptor is opened here afterwards
  std::string type, source, path, data;
  uint64_t flags = 0;  // MS_*
  GANTRY_FIELDS(v("slot", slot); v("type", type); v("path", path); v("data", data); v("flags", flags);)
};

// A new file system on `destination` (resolved inside the root, made if missing).
struct MountFilesystem {
  static constexpr char kName[] = "MountFilesystem";
  std::string type, source, destination;
  std::vector<Param> params;
  MountAttr attr;
  bool copy_up = false;              // tmpfs: filled with what it covers
  bool mode_of_destination = false;  // tmpfs without mode=: takes the covered directory's
  bool keep = false;                 // stays open: paths are looked up in it, see HiddenPath
  GANTRY_FIELDS(v("type", type); v("source", source); v("destination", destination); v("params", params);
                v("attr", attr); v("copy_up", copy_up);)
};

// A detached mount of the parent's onto `destination` (made if missing: a file for a file).
struct AttachMount {
  static constexpr char kName[] = "AttachMount";
  Slot slot = kNoSlot;
  std::string source, destination;
  MountAttr attr;  // as AttachRoot's
  GANTRY_FIELDS(v("slot", slot); v("source", source); v("destination", destination); v("attr", attr);)
};

struct SetMountAttr {
  static constexpr char kName[] = "SetMountAttr";
  std::string destination;
  MountAttr attr;
  GANTRY_FIELDS(v("destination", destination); v("attr", attr);)
};

struct MakeSymlink {
  static constexpr char kName[] = "MakeSymlink";
  std::string path, target;
  bool replace = false;  // removes what is there; otherwise that stays
  GANTRY_FIELDS(v("path", path); v("target", target);)
};

struct MakeDevice {
  static constexpr char kName[] = "MakeDevice";
  std::string path;
  char type = 'c';  // 'c', 'b' or 'p'
  uint32_t major = 0, minor = 0;
  uint32_t mode = 0666;
  uint32_t uid = 0, gid = 0;
  GANTRY_FIELDS(v("path", path); v("type", std::string(1, type)); v("major", major); v("minor", minor);
                v("mode", mode); v("uid", uid); v("gid", gid);)
};

// Opens a pseudoterminal in the container's devpts, hands the master to the parent, makes the slave the
// controlling terminal and standard input, output and error.
struct OpenTerminal {
  static constexpr char kName[] = "OpenTerminal";
  uint32_t uid = 0;
  uint32_t rows = 0, columns = 0;
  bool console = false;  // also bind it over /dev/console
  GANTRY_FIELDS(v("uid", uid); v("rows", rows); v("columns", columns); v("console", console);)
};

// Where a path is that must be covered. If a file system of the kernel was mounted on a folder of it (`in`, "/proc";
// MountFilesystem::keep) it is looked up in that mount, by its descriptor: the image's own names, which another
// container may be exchanging meanwhile, play no part (CVE-2025-31133 and its like).
struct HiddenPath {
  std::string path;
  std::string in;  // empty: looked up from the root
};

// An empty, read-only file or directory over the path, if it exists.
struct MaskPath {
  static constexpr char kName[] = "MaskPath";
  HiddenPath hidden;
  GANTRY_FIELDS(v("path", hidden.path); v("in", hidden.in);)
};

struct ReadonlyPath {
  static constexpr char kName[] = "ReadonlyPath";
  HiddenPath hidden;
  GANTRY_FIELDS(v("path", hidden.path); v("in", hidden.in);)
};

// pivot_root(2) and umount2(2), or MS_MOVE and chroot(2), or chroot(2) alone.
struct SwitchRoot {
  static constexpr char kName[] = "SwitchRoot";
  bool pivot = true;
  bool shared = false;  // others live in this mount namespace: it keeps its root
  GANTRY_FIELDS(v("pivot", pivot); v("shared", shared);)
};

struct SetRootAttr {
  static constexpr char kName[] = "SetRootAttr";
  bool readonly = false;
  Propagation propagation;
  GANTRY_FIELDS(v("readonly", readonly); v("propagation", propagation);)
};

// ---- hooks -----------------------------------------------------------------------------------------------

// The parent runs these in its own namespaces while the child waits.
struct HostHooks {
  static constexpr char kName[] = "HostHooks";
  std::vector<oci::Hook> prestart, create_runtime;
  GANTRY_FIELDS(v("prestart", prestart); v("create_runtime", create_runtime);)
};

// The child runs these where it is.
struct ContainerHooks {
  static constexpr char kName[] = "ContainerHooks";
  bool start = false;  // startContainer, else createContainer
  std::vector<oci::Hook> hooks;
  GANTRY_FIELDS(v("start", start); v("hooks", hooks);)
};

// ---- the child: the process ------------------------------------------------------------------------------

struct SetStdio {
  static constexpr char kName[] = "SetStdio";
  uint32_t uid = 0;  // becomes the owner, so that /dev/stdout can be opened again
  GANTRY_FIELDS(v("uid", uid);)
};

struct SetRlimit {
  static constexpr char kName[] = "SetRlimit";
  std::string type;
  int resource = 0;
  uint64_t soft = 0, hard = 0;
  GANTRY_FIELDS(v("type", type); v("soft", soft); v("hard", hard);)
};

struct SetOomScore {
  static constexpr char kName[] = "SetOomScore";
  std::string value;
  GANTRY_FIELDS(v("value", value);)
};

struct SetPersonality {
  static constexpr char kName[] = "SetPersonality";
  uint64_t persona = 0;
  GANTRY_FIELDS(v("persona", persona);)
};

struct SetIoPriority {
  static constexpr char kName[] = "SetIoPriority";
  int priority = 0;  // class and level, as ioprio_set(2) takes them
  GANTRY_FIELDS(v("priority", priority);)
};

struct SetScheduler {
  static constexpr char kName[] = "SetScheduler";
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0, deadline = 0, period = 0;  // nanoseconds
  GANTRY_FIELDS(v("policy", policy); v("flags", flags); v("nice", nice); v("priority", priority);
                v("runtime", runtime); v("deadline", deadline); v("period", period);)
};

struct SetCpuAffinity {
  static constexpr char kName[] = "SetCpuAffinity";
  std::vector<uint64_t> mask;  // bit n of word n/64: CPU n
  GANTRY_FIELDS(v("mask", mask);)
};

// After the cgroup was joined: its cpuset limits the nodes.
struct SetMemoryPolicy {
  static constexpr char kName[] = "SetMemoryPolicy";
  std::string name;             // "MPOL_BIND"
  int mode = 0;                 // with its flags, as set_mempolicy(2) takes it
  std::vector<uint64_t> nodes;  // bit n of word n/64: node n
  GANTRY_FIELDS(v("name", name); v("mode", mode); v("nodes", nodes);)
};

struct NewKeyring {
  static constexpr char kName[] = "NewKeyring";
  std::string name;
  GANTRY_FIELDS(v("name", name);)
};

// Written to the verified procfs of the host.
struct SetLabel {
  static constexpr char kName[] = "SetLabel";
  std::string path;   // "self/attr/apparmor/exec"
  std::string label;  // what is written
  GANTRY_FIELDS(v("path", path); v("label", label);)
};

struct SetUmask {
  static constexpr char kName[] = "SetUmask";
  uint32_t mask = 022;
  GANTRY_FIELDS(v("mask", mask);)
};

// Looks the user's home up in the container's /etc/passwd, for HOME.
struct FindHome {
  static constexpr char kName[] = "FindHome";
  uint32_t uid = 0;
  GANTRY_FIELDS(v("uid", uid);)
};

// Before SetUser: makes the directory and enters it, if it may be searched; EnterDirectory after SetUser tries
// what failed. Both check that it is inside the root.
struct EnterDirectory {
  static constexpr char kName[] = "EnterDirectory";
  std::string path;
  bool make = false;
  bool may_be_denied = false;
  GANTRY_FIELDS(v("path", path); v("make", make);)
};

struct SetUser {
  static constexpr char kName[] = "SetUser";
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> groups;
  bool set_groups = true;  // false: a user namespace that denies setgroups, and no groups wanted
  GANTRY_FIELDS(v("uid", uid); v("gid", gid); v("groups", groups);)
};

// All five sets, exactly, as bit masks.
struct SetCapabilities {
  static constexpr char kName[] = "SetCapabilities";
  uint64_t bounding = 0, effective = 0, permitted = 0, inheritable = 0, ambient = 0;
  bool final = true;  // false: a later one follows, CAP_SYS_ADMIN is kept for the filter
  GANTRY_FIELDS(v("bounding", bounding); v("effective", effective); v("permitted", permitted);
                v("inheritable", inheritable); v("ambient", ambient); v("final", final);)
};

// The first of `candidates` that is there and may be executed is what Exec runs.
struct FindProgram {
  static constexpr char kName[] = "FindProgram";
  std::string name;  // argv[0]
  std::vector<std::string> candidates;
  GANTRY_FIELDS(v("name", name); v("candidates", candidates);)
};

// Everything but 0, 1, 2, the next `preserve` and the line to the parent is closed.
struct CloseDescriptors {
  static constexpr char kName[] = "CloseDescriptors";
  int preserve = 0;
  GANTRY_FIELDS(v("preserve", preserve);)
};

// Tells the parent that all is set up, and waits for start.
struct AwaitStart {
  static constexpr char kName[] = "AwaitStart";
  GANTRY_FIELDS()
};

struct SetNoNewPrivileges {
  static constexpr char kName[] = "SetNoNewPrivileges";
  GANTRY_FIELDS()
};

struct LoadSeccomp {
  static constexpr char kName[] = "LoadSeccomp";
  uint32_t flags = 0;    // SECCOMP_FILTER_FLAG_*
  Slot agent = kNoSlot;  // where the notification descriptor goes
  std::string agent_metadata;
  GANTRY_FIELDS(v("flags", flags); v("agent", agent);)
};

struct Exec {
  static constexpr char kName[] = "Exec";
  std::vector<std::string> argv, env;
  bool add_home = false;  // env has no HOME: add what FindHome found
  GANTRY_FIELDS(v("argv", argv); v("env", env); v("add_home", add_home);)
};

#undef GANTRY_FIELDS

using Operation =
    std::variant<CreateCgroup, OpenNamespace, OpenTree, NewMount, CompileSeccomp, ConnectSeccompAgent,
                 RunOnCpus, OpenResctrlGroup, Clone, WriteIdMaps, JoinResctrlGroup, MoveNetDevice,
                 AwaitNetDevices, SetMemoryPolicy, JoinCgroup, JoinNamespace, JoinProcess, AwaitIdMaps,
                 UnshareCgroupNamespace, BecomeRoot, NewSession, LoopbackUp, SetHostname, SetDomainname,
                 WriteSysctl, SlaveMounts, AttachRoot, MountRootByPath, MountFilesystem, AttachMount,
                 SetMountAttr, MakeSymlink, MakeDevice, OpenTerminal, MaskPath, ReadonlyPath, SwitchRoot,
                 SetRootAttr, HostHooks, ContainerHooks, SetStdio, SetRlimit, SetOomScore, SetPersonality,
                 SetIoPriority, SetScheduler, SetCpuAffinity, NewKeyring, SetLabel, SetUmask, FindHome,
                 EnterDirectory, SetUser, SetCapabilities, FindProgram, CloseDescriptors, AwaitStart,
                 SetNoNewPrivileges, LoadSeccomp, Exec>;

struct Plan {
  std::vector<Operation> operations;
  int slots = 0;                      // how many descriptors the operations pass on
  bool remount = false;               // attributes of mounts by mount(2): before Linux 5.12
  std::vector<std::string> warnings;  // settings that were left out, and why
};

}  // namespace gantry::plan

#endif  // GANTRY_RUNTIME_PLAN_PLAN_H_
