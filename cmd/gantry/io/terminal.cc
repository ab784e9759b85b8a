#include "cmd/gantry/io/terminal.h"

#include <sys/ioctl.h>

#include "runtime/sys/status.h"

namespace gantry::cli {

std::optional<TerminalSize> SizeOf(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return std::nullopt;
  return TerminalSize{.width = size.ws_col, .height = size.ws_row};
}

absl::StatusOr<std::unique_ptr<RawTerminal>> RawTerminal::Enter(int fd) {
  termios saved{};
  if (::tcgetattr(fd, &saved) != 0) {
    return absl::InvalidArgumentError("-t needs a terminal, and standard input is none");
  }
  termios raw = saved;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd, TCSADRAIN, &raw) != 0) return sys::ErrnoStatus("tcsetattr", "standard input");
  return std::unique_ptr<RawTerminal>(new RawTerminal(fd, saved));
}

RawTerminal::~RawTerminal() { ::tcsetattr(fd_, TCSADRAIN, &saved_); }

}  // namespace gantry::cli
