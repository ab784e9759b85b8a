// The owner of one file descriptor.
//
// Every descriptor in Gantry is held by a UniqueFd (or by a type built on it: PidFd, DetachedMount, ...), so
// that a descriptor cannot leak on an error path. It is born O_CLOEXEC by whoever makes it.
//
// Not thread-safe: one thread owns it, or a lock outside guards it.
#ifndef GANTRY_RUNTIME_SYS_UNIQUE_FD_H_
#define GANTRY_RUNTIME_SYS_UNIQUE_FD_H_

#include <unistd.h>

#include <cerrno>
#include <utility>

namespace gantry::sys {

class UniqueFd {
 public:
  UniqueFd() = default;
  // Takes ownership of `fd`; -1 makes an empty owner.
  explicit UniqueFd(int fd) : fd_(fd) {}
  ~UniqueFd() { reset(); }

  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  explicit operator bool() const { return valid(); }

  // Gives the descriptor up without closing it.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }

  // Closes what is held and holds `fd` instead. errno is unchanged. close(2) is never retried: on Linux the
  // descriptor is gone even after EINTR.
  void reset(int fd = -1) {
    const int old = std::exchange(fd_, fd);
    if (old >= 0) {
      const int saved = errno;
      ::close(old);
      errno = saved;
    }
  }

 private:
  int fd_ = -1;
};

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_UNIQUE_FD_H_
