// The child after clone3: runs its operations of a plan, with what the parent prepared.
//
// Everything here runs in a copy of a single-threaded parent's memory: it may use libc, but it allocates
// nothing, takes no lock and throws nothing. Strings are those of the plan; buffers are on the stack. Each step
// returns true, or has recorded the failure (errno, step, detail), which is then sent to the parent.
#ifndef GANTRY_RUNTIME_LINUX_CHILD_H_
#define GANTRY_RUNTIME_LINUX_CHILD_H_

#include <limits.h>
#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/linux/message.h"
#include "runtime/plan/plan.h"

namespace gantry::linux {

// The vectors that execve(2) takes, pointing into strings that live as long as the plan.
struct ExecVectors {
  std::vector<char*> argv, env;
};

// What the parent makes before the clone. Descriptors are borrowed from its owners in the parent, which are
// copied with everything else.
struct Prepared {
  const plan::Plan* plan = nullptr;
  size_t first = 0;               // the operation after Clone
  std::vector<int> slots;         // descriptors by plan::Slot; -1: none
  std::vector<int> cgroup_tasks;  // v1
  int proc = -1;                  // the host's procfs
  int sync = -1;                  // the child's end of the socketpair
  int listen = -1;                // where start orders come; -1: over `sync`
  int init_pidfd = -1;            // for JoinProcess
  int unwanted = -1;              // closed first of all
  int stdio[3] = {0, 1, 2};
  std::vector<sock_filter> filter;
  ExecVectors exec;                // env has a free place before its end, for HOME
  std::vector<ExecVectors> hooks;  // of all ContainerHooks, in the plan's order
  int hook_state = -1;             // a memfd that the parent fills with the state after the clone
  int start_hook_state = -1;       // the same for startContainer
  char* agent_message = nullptr;   // shared memory: a size_t, then the text, filled after the clone
  size_t fail_at = SIZE_MAX;       // failpoint: this operation fails with `fail_errno`
  int fail_errno = 0;
};

class Child {
 public:
  explicit Child(const Prepared& prepared) : p_(prepared) {}
  // Never returns: execve, or _exit(1) after the failure was sent.
  [[noreturn]] void Run();

 private:
  friend struct Runner;  // child.cc: from operation to method

  // One method per operation, in the file that the heading names.
  // child_namespaces.cc
  bool Do(const plan::JoinCgroup& op);
  bool Do(const plan::JoinNamespace& op);
  bool Do(const plan::JoinProcess& op);
  bool Do(const plan::AwaitIdMaps& op);
  bool Do(const plan::AwaitNetDevices& op);
  bool Do(const plan::UnshareCgroupNamespace& op);
  bool Do(const plan::BecomeRoot& op);
  bool Do(const plan::NewSession& op);
  bool Do(const plan::LoopbackUp& op);
  bool Do(const plan::SetHostname& op);
  bool Do(const plan::SetDomainname& op);
  bool Do(const plan::WriteSysctl& op);
  // child_mounts.cc
  bool Do(const plan::OpenTree& op);
  bool Do(const plan::SlaveMounts& op);
  bool Do(const plan::AttachRoot& op);
  bool Do(const plan::MountRootByPath& op);
  bool Do(const plan::MountFilesystem& op);
  bool Do(const plan::AttachMount& op);
  bool Do(const plan::SetMountAttr& op);
  bool Do(const plan::MaskPath& op);
  bool Do(const plan::ReadonlyPath& op);
  bool Do(const plan::SwitchRoot& op);
  bool Do(const plan::SetRootAttr& op);
  // child_devices.cc
  bool Do(const plan::MakeSymlink& op);
  bool Do(const plan::MakeDevice& op);
  bool Do(const plan::OpenTerminal& op);
  bool Do(const plan::SetStdio& op);
  // child_hooks.cc
  bool Do(const plan::HostHooks& op);
  bool Do(const plan::ContainerHooks& op);
  // child_process.cc
  bool Do(const plan::SetRlimit& op);
  bool Do(const plan::SetPersonality& op);
  bool Do(const plan::SetIoPriority& op);
  bool Do(const plan::SetScheduler& op);
  bool Do(const plan::SetCpuAffinity& op);
  bool Do(const plan::SetMemoryPolicy& op);
  bool Do(const plan::NewKeyring& op);
  bool Do(const plan::SetLabel& op);
  bool Do(const plan::SetUmask& op);
  bool Do(const plan::FindHome& op);
  bool Do(const plan::EnterDirectory& op);
  bool Do(const plan::SetUser& op);
  bool Do(const plan::SetCapabilities& op);
  // child_start.cc
  bool Do(const plan::FindProgram& op);
  bool Do(const plan::CloseDescriptors& op);
  bool Do(const plan::AwaitStart& op);
  bool Do(const plan::SetNoNewPrivileges& op);
  bool Do(const plan::LoadSeccomp& op);
  bool Do(const plan::Exec& op);

  // Records errno and the step; always false. `step` must be a literal, `detail` is copied.
  bool Fail(const char* step, const char* detail = "");
  bool FailAs(Failure failure, const char* step, const char* detail);
  void Warn(const char* step, const char* detail, int error);
  // The message of a failed new file system, with what the kernel logged.
  bool FailMount(const char* step, const char* detail, int fs_fd);

  int Slot(plan::Slot slot) const { return p_.slots[static_cast<size_t>(slot)]; }
  int Root() const { return root_; }
  bool WaitForGo();
  bool Attach(int mount, int target, const char* destination);
  // The directory of `path`, made if it is missing, and the last component. Borrowed: kept for the next path in the
  // same directory, until a mount may have covered it.
  int OpenParent(const char* path, const char** name);
  void ForgetParent();
  // A descriptor of the directory `path`, made if it is missing.
  int OpenMountPoint(const char* path, bool* existed);
  bool ApplyAttr(int mount, const plan::MountAttr& attr, const char* subject);
  bool Remount(int mount, const plan::MountAttr& attr, const char* subject);
  bool RemountHere(const char* path, int mount, const plan::MountAttr& attr);
  bool Keep(const char* destination, int mount);
  int OpenHidden(const plan::HiddenPath& hidden);
  bool BindConsole(int slave);
  bool AwaitConnection();
  void Announce();
  bool SendToAgent(int agent, int notify_fd);

  const Prepared& p_;
  Message failure_;
  int root_ = -1;      // the container's root directory
  int control_ = -1;   // who is told: sync, or the connection that ordered the start
  int null_ = -1;      // the host's /dev/null, checked
  int empty_ = -1;     // an attached empty read-only tmpfs, to be copied over directories
  int terminal_ = -1;  // the slave
  int parent_ = -1;    // see OpenParent
  int fresh_ = -1;     // the directory that OpenMountPoint has made last, below parent_
  size_t parent_size_ = 0;
  char parent_path_[PATH_MAX];
  struct {
    const char* destination = nullptr;
    int mount = -1;
  } kept_[4];             // MountFilesystem::keep
  size_t next_hook_ = 0;  // in p_.hooks
  mode_t umask_ = 0;
  bool in_directory_ = false;
  bool announced_ = false;
  bool bounded_ = false;
  const char* program_ = nullptr;
  char home_[512] = "HOME=/";
};

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_CHILD_H_
