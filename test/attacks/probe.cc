// What the attacks need and a shell lacks: a static program that is copied into containers, and that also plays the
// attacker outside.
//
//   attack_probe socket FAMILY            tries a socket of that family; prints "ok" or the name of the errno
//   attack_probe open PATH                tries to open PATH for reading and writing; the same
//   attack_probe execs SECONDS            tries to write to the program of every process that appears; prints WRITTEN
//   attack_probe peeks SECONDS NAME       looks for a way to a file NAME through every process that appears
//   attack_probe swap A B                 exchanges two names for ever
//   attack_probe old-kernel PROGRAM...    runs PROGRAM where newer system calls answer ENOSYS
#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

int Report(long result) {
  printf("%s\n", result >= 0 ? "ok" : strerrorname_np(errno));
  return 0;
}

bool Passed(const timespec& start, int seconds) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec - start.tv_sec >= seconds;
}

// Calls `look`, a bool(int pid), with every process but this one and the first, again and again: for `seconds`, and on a
// busy machine for up to six times as long, until it met what it looks for.
template <typename Look>
int Watch(int seconds, Look look) {
  timespec start;
  clock_gettime(CLOCK_MONOTONIC, &start);
  const int self = getpid();
  bool met = false;
  puts("watching");
  fflush(stdout);
  while (!Passed(start, seconds) || (!met && !Passed(start, 6 * seconds))) {
    DIR* proc = opendir("/proc");
    if (proc == nullptr) return 1;
    while (const dirent* entry = readdir(proc)) {
      const int pid = atoi(entry->d_name);
      if (pid > 1 && pid != self) met = look(pid) || met;
    }
    closedir(proc);
  }
  if (met) puts("met");
  puts("done");
  return 0;
}

// CVE-2019-5736: keep the program open by a descriptor of ours, and write as soon as nobody executes it.
int WatchExecs(int seconds) {
  return Watch(seconds, [](int pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    const int exe = open(path, O_RDONLY | O_CLOEXEC);
    if (exe < 0) return false;
    // What joined may be the image's own program by now, which its owner may write.
    struct stat theirs, ours, images;
    bool met = false;
    const auto same = [&theirs](const struct stat& file) {
      return theirs.st_ino == file.st_ino && theirs.st_dev == file.st_dev;
    };
    if (fstat(exe, &theirs) == 0 && stat("/proc/self/exe", &ours) == 0 && !same(ours) &&
        stat("/bin/true", &images) == 0 && !same(images)) {
      snprintf(path, sizeof path, "/proc/self/fd/%d", exe);
      for (int i = 0; i < 2000; i++) {
        const int writable = open(path, O_WRONLY | O_CLOEXEC);
        if (writable >= 0) {
          // A sealed file in memory can be opened for writing, but not written.
          const int seals = fcntl(writable, F_GET_SEALS);
          if (seals < 0 || (seals & F_SEAL_WRITE) == 0) puts("WRITTEN");
          close(writable);
          break;
        }
        if (errno != ETXTBSY) break;
      }
      met = true;
    }
    close(exe);
    return met;
  });
}

// CVE-2016-9962: a joining process's descriptors, directory and root may lead to the host.
int WatchPeeks(int seconds, const char* name) {
  return Watch(seconds, [name](int pid) {
    char path[512];
    for (int fd = -2; fd < 40; fd++) {
      if (fd == -2) {
        snprintf(path, sizeof path, "/proc/%d/cwd/%s", pid, name);
      } else if (fd == -1) {
        snprintf(path, sizeof path, "/proc/%d/root/%s", pid, name);
      } else {
        snprintf(path, sizeof path, "/proc/%d/fd/%d/%s", pid, fd, name);
      }
      if (access(path, F_OK) == 0) printf("FOUND %s\n", path);
    }
    return true;
  });
}

int Swap(const char* a, const char* b) {
  for (;;) {
    if (syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 2 /* RENAME_EXCHANGE */) != 0) return 1;
  }
}

// System calls that Linux 5.6 lacks, and the name of an older kernel: PROGRAM sees what it would see there.
int OldKernel(char** argv) {
  constexpr unsigned kNewer[] = {SYS_mount_setattr, SYS_close_range, SYS_faccessat2, SYS_epoll_pwait2};
  sock_filter program[3 + 2 * (sizeof kNewer / sizeof *kNewer)];
  size_t n = 0;
  program[n++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
  for (const unsigned call : kNewer) {
    program[n++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1);
    program[n++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
  }
  program[n++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const sock_fprog filter = {static_cast<unsigned short>(n), program};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0) return 1;
  if (personality(UNAME26) < 0) return 1;
  execvp(argv[0], argv);
  perror(argv[0]);
  return 127;
}

}  // namespace

int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "";
  if (strcmp(what, "socket") == 0 && argc == 3) return Report(socket(atoi(argv[2]), SOCK_SEQPACKET, 0));
  if (strcmp(what, "open") == 0 && argc == 3) return Report(open(argv[2], O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (strcmp(what, "execs") == 0 && argc == 3) return WatchExecs(atoi(argv[2]));
  if (strcmp(what, "peeks") == 0 && argc == 4) return WatchPeeks(atoi(argv[2]), argv[3]);
  if (strcmp(what, "swap") == 0 && argc == 4) return Swap(argv[2], argv[3]);
  if (strcmp(what, "old-kernel") == 0 && argc > 2) return OldKernel(argv + 2);
  fputs("attack_probe: see the head of its source\n", stderr);
  return 2;
}
