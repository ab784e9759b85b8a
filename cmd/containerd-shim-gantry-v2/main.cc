#include <cstdio>
#include <cstring>
#include <string>

#include "runtime/sys/early_mount.h"
#include "runtime/sys/self_exe.h"
#include "shim/bootstrap/commands.h"

const char gantry_moving_commands[][8] = {"start", ""};

int main(int argc, char** argv) {
  // Containers are forked from this process: none may get a file of it that it could write (CVE-2019-5736).
  if (argc > 1 && strcmp(argv[argc - 1], "start") == 0) {
    const bool moved = gantry::sys::TakeEarlyMount().valid();
    const absl::Status status = moved ? absl::OkStatus() : gantry::sys::RunFromReadOnlyMount(argv).status();
    if (!status.ok()) {
      fprintf(stderr, "containerd-shim-gantry-v2: %s\n", std::string(status.message()).c_str());
      return 1;
    }
  }
  return gantry::shim::Main(argc, argv);
}
