// The program in the containers of test/bench: ends at once; or, with an argument, never; or, with "spew" and a number,
// after it has written that many bytes to standard output.
#include <stdlib.h>
#include <unistd.h>

static char block[64 << 10];

int main(int argc, char** argv) {
  if (argc == 3) {
    for (long long left = atoll(argv[2]); left > 0;) {
      const size_t size = left < (long long)sizeof block ? (size_t)left : sizeof block;
      const ssize_t n = write(STDOUT_FILENO, block, size);
      if (n < 0) return 1;
      left -= n;
    }
    return 0;
  }
  while (argc > 1) pause();
  return 0;
}
