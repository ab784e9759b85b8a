// Runs one command and writes what it took to the file RESULT, as JSON: wall time and CPU time of it and of all its descendants that
// were waited for, their minor page faults, the exit status. Started by test/bench/oci, whose own fork would be a
// good part of what is measured here.
//
//   stopwatch RESULT PROGRAM [ARGUMENT...]
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long Now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long long Micros(struct timeval time) { return time.tv_sec * 1000000LL + time.tv_usec; }

int main(int argc, char** argv) {
  if (argc < 3) {
    fputs("usage: stopwatch RESULT PROGRAM [ARGUMENT...]\n", stderr);
    return 2;
  }
  const long long start = Now();
  const pid_t pid = vfork();
  if (pid == 0) {
    execv(argv[2], argv + 2);
    _exit(127);
  }
  int status = -1;
  struct rusage usage;
  if (pid < 0 || wait4(pid, &status, 0, &usage) != pid) return 1;
  const long long end = Now();
  FILE* result = fopen(argv[1], "w");
  if (result == NULL) return 1;
  fprintf(result, "{\"wall_ns\": %lld, \"cpu_us\": %lld, \"faults\": %ld, \"exit\": %d}\n", end - start,
          Micros(usage.ru_utime) + Micros(usage.ru_stime), usage.ru_minflt,
          WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  return fclose(result) == 0 ? 0 : 1;
}
