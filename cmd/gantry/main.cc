#include <cstdio>

#include "cmd/gantry/commands/flags.h"
#include "cmd/gantry/ui/failure.h"

int main(int argc, char** argv) {
  const absl::StatusOr<int> code = gantry::cli::Dispatch(argc, argv);
  std::fflush(stdout);
  if (code.ok()) return *code;
  const gantry::cli::FailureText text = gantry::cli::Describe(code.status());
  std::fputs(gantry::cli::Render(text).c_str(), stderr);
  return text.exit_code;
}
