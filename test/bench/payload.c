// The program in the containers of test/bench/oci: ends at once, or (with an argument) never.
#include <unistd.h>

int main(int argc, char** argv) {
  (void)argv;
  while (argc > 1) pause();
  return 0;
}
