// The person's terminal: raw while a container has it, and its size. Not thread-safe.
#ifndef GANTRY_CMD_GANTRY_IO_TERMINAL_H_
#define GANTRY_CMD_GANTRY_IO_TERMINAL_H_

#include <termios.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"

namespace gantry::cli {

struct TerminalSize {
  uint16_t width = 0;   // characters
  uint16_t height = 0;  // lines
};

// The size of the terminal that `fd` is; nothing if it is none or doesn't know.
std::optional<TerminalSize> SizeOf(int fd);

// Raw mode (cfmakeraw(3)) from Enter until the object goes.
class RawTerminal {
 public:
  // INVALID_ARGUMENT if `fd` is no terminal. `fd` must outlive the object.
  static absl::StatusOr<std::unique_ptr<RawTerminal>> Enter(int fd);
  ~RawTerminal();

  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  RawTerminal(int fd, const termios& saved) : fd_(fd), saved_(saved) {}

  int fd_;
  termios saved_;
};

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_IO_TERMINAL_H_
