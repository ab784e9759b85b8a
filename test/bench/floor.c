// The kernel's floor of test/bench/oci: only the system calls that no OCI runtime can do without, for the bundle
// that the benchmark makes. What a runtime is asked for beyond that (masked and read-only paths, device rules,
// capabilities, limits, seccomp, state that survives it) is not in here, and nothing is checked.
//
//   oci-floor run ROOTFS NAME CGROUP_MOUNT... -- PROGRAM [ARGUMENT...]
//       one container: its cgroups, five namespaces, mounts, device nodes, pivot_root, execve, wait, removal.
//       The cgroup mounts are those of every hierarchy; version 2, if there, is last.
//   oci-floor exec PID DIRECTORY... -- PROGRAM [ARGUMENT...]
//       a further process in the namespaces and cgroup directories of PID.
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kMax = 32 };
enum { kNamespaces = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS };

static char paths[kMax][512];    // the cgroup's directory in each hierarchy
static int tasks[kMax];          // its tasks file; -1: version 2
static int bind_mounts[kMax];    // of it, detached
static const char* names[kMax];  // of the hierarchy: the last part of its mount point
static int cgroups;
static int unified = -1;

#define OK(call)                                                      \
  do {                                                                \
    if ((call) < 0) {                                                 \
      fprintf(stderr, "oci-floor: %s: %s\n", #call, strerror(errno)); \
      _exit(99);                                                      \
    }                                                                 \
  } while (0)

static int Open(const char* directory, const char* file, int flags) {
  char path[600];
  snprintf(path, sizeof path, "%s/%s", directory, file);
  return open(path, flags | O_CLOEXEC);
}

static void CopyFromParent(const char* parent, const char* child, const char* file) {
  char value[4096];
  const int from = Open(parent, file, O_RDONLY), to = Open(child, file, O_WRONLY);
  ssize_t n;
  OK(n = read(from, value, sizeof value));
  OK(write(to, value, (size_t)n));
  close(from);
  close(to);
}

static void OpenCgroup(int i) {
  tasks[i] = Open(paths[i], "tasks", O_WRONLY);
  if (tasks[i] < 0) OK(unified = open(paths[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static void Attach(int mount, const char* target) {
  OK(move_mount(mount, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH));
  close(mount);
}

// `options`: pairs of keys and values, a null value for a flag, ended by a null key.
static void NewMount(const char* type, const char* target, unsigned attributes, const char** options) {
  int fs, mount;
  OK(fs = fsopen(type, FSOPEN_CLOEXEC));
  for (; *options != NULL; options += 2) {
    OK(fsconfig(fs, options[1] == NULL ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING, options[0], options[1], 0));
  }
  OK(fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
  OK(mount = fsmount(fs, FSMOUNT_CLOEXEC, attributes));
  close(fs);
  Attach(mount, target);
}

static void MakeDev(void) {
  static const struct {
    const char* name;
    unsigned minor;
  } kNodes[] = {{"dev/null", 3}, {"dev/zero", 5}, {"dev/full", 7}, {"dev/random", 8}, {"dev/urandom", 9}};
  for (size_t i = 0; i < sizeof kNodes / sizeof *kNodes; i++) {
    OK(mknod(kNodes[i].name, S_IFCHR | 0666, makedev(1, kNodes[i].minor)));
  }
  OK(mknod("dev/tty", S_IFCHR | 0666, makedev(5, 0)));
}

static void MakeMounts(void) {
  enum { kSafe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC };
  const char* none[] = {NULL};
  const char* dev[] = {"mode", "755", "size", "65536k", NULL};
  const char* pts[] = {"newinstance", NULL, "ptmxmode", "0666", "mode", "0620", "gid", "5", NULL};
  const char* shm[] = {"mode", "1777", "size", "65536k", NULL};
  const char* cgroup[] = {"mode", "755", NULL};
  NewMount("proc", "proc", 0, none);
  NewMount("tmpfs", "dev", MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME, dev);
  OK(mkdir("dev/pts", 0755));
  NewMount("devpts", "dev/pts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, pts);
  OK(mkdir("dev/shm", 0755));
  NewMount("tmpfs", "dev/shm", kSafe, shm);
  OK(mkdir("dev/mqueue", 0755));
  NewMount("mqueue", "dev/mqueue", kSafe, none);
  NewMount("sysfs", "sys", kSafe | MOUNT_ATTR_RDONLY, none);
  NewMount("tmpfs", "sys/fs/cgroup", kSafe, cgroup);
  OK(chdir("sys/fs/cgroup"));
  for (int i = 0; i < cgroups; i++) {
    OK(mkdir(names[i], 0755));
    Attach(bind_mounts[i], names[i]);
  }
}

static void JoinCgroups(void) {
  for (int i = 0; i < cgroups; i++) {
    if (tasks[i] >= 0) OK(write(tasks[i], "0", 1));
  }
}

static void Child(const char* rootfs, int root, char** program) {
  JoinCgroups();
  OK(setsid());
  OK(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
  OK(move_mount(root, "", AT_FDCWD, rootfs, MOVE_MOUNT_F_EMPTY_PATH));
  OK(fchdir(root));
  MakeMounts();
  OK(fchdir(root));
  MakeDev();
  OK(sethostname("floor", 5));
  OK(syscall(SYS_pivot_root, ".", "."));
  OK(umount2(".", MNT_DETACH));
  OK(chdir("/"));
  struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
  OK(mount_setattr(root, "", AT_EMPTY_PATH, &read_only, sizeof read_only));
  OK(execv(program[0], program));
}

static pid_t Clone(unsigned long long flags, int cgroup) {
  struct clone_args args = {.flags = flags, .exit_signal = SIGCHLD};
  if (cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = (unsigned)cgroup;
  }
  pid_t pid;
  OK(pid = (pid_t)syscall(SYS_clone3, &args, sizeof args));
  return pid;
}

static int Wait(pid_t pid) {
  int status;
  OK(waitpid(pid, &status, 0));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

static int Run(const char* rootfs, const char* name, char** program) {
  for (int i = 0; i < cgroups; i++) {
    const char* mount_point = strdup(paths[i]);
    snprintf(paths[i], sizeof paths[i], "%s/%s", mount_point, name);
    names[i] = strrchr(mount_point, '/') + 1;
    OK(mkdir(paths[i], 0755));
    if (strcmp(names[i], "cpuset") == 0) {
      CopyFromParent(mount_point, paths[i], "cpuset.cpus");
      CopyFromParent(mount_point, paths[i], "cpuset.mems");
    }
    OpenCgroup(i);
    OK(bind_mounts[i] = open_tree(AT_FDCWD, paths[i], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  }
  int root;
  OK(root = open_tree(AT_FDCWD, rootfs, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
  const pid_t pid = Clone(kNamespaces, unified);
  if (pid == 0) Child(rootfs, root, program);
  const int status = Wait(pid);
  for (int i = 0; i < cgroups; i++) OK(rmdir(paths[i]));
  return status;
}

static int Exec(pid_t init, char** program) {
  int pidfd;
  OK(pidfd = (int)syscall(SYS_pidfd_open, init, 0));
  for (int i = 0; i < cgroups; i++) OpenCgroup(i);
  // Of our own kind until the clone: a process cannot move itself into a pid namespace.
  JoinCgroups();
  OK(setns(pidfd, kNamespaces));
  const pid_t pid = Clone(0, unified);
  if (pid == 0) {
    OK(setsid());
    OK(execv(program[0], program));
  }
  return Wait(pid);
}

int main(int argc, char** argv) {
  int end = 3;
  while (end < argc && strcmp(argv[end], "--") != 0) end++;
  if (argc < 5 || end + 1 >= argc || end - 3 > kMax) {
    fputs(
        "usage: oci-floor run ROOTFS NAME CGROUP_MOUNT... -- PROGRAM...\n"
        "       oci-floor exec PID DIRECTORY... -- PROGRAM...\n",
        stderr);
    return 2;
  }
  const int run = strcmp(argv[1], "run") == 0;
  for (int i = run ? 4 : 3; i < end; i++) snprintf(paths[cgroups++], sizeof *paths, "%s", argv[i]);
  return run ? Run(argv[2], argv[3], argv + end + 1) : Exec(atoi(argv[2]), argv + end + 1);
}
