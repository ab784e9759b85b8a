#include "runtime/linux/home.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "runtime/linux/in_root.h"

namespace gantry::linux {
namespace {

constexpr size_t kMaxBytes = 10 << 20;

// passwd(5): name:password:uid:gid:comment:home:shell. One character at a time; no line is ever held.
class PasswdScanner {
 public:
  PasswdScanner(uint32_t uid, char* buffer, size_t size) : wanted_(uid), buffer_(buffer), size_(size) {}

  // true once the line of the user has been read.
  bool Take(char c) {
    if (c == '\n') {
      if (Matches() && field_ >= 5) return true;
      field_ = 0;
      uid_ = 0;
      digits_ = 0;
      length_ = 0;
      return false;
    }
    if (c == ':') {
      field_++;
    } else if (field_ == 2) {
      if (c < '0' || c > '9' || digits_ > 10) digits_ = 100;  // no number: never matches
      uid_ = uid_ * 10 + static_cast<uint64_t>(c - '0');
      digits_++;
    } else if (field_ == 5 && length_ < size_) {
      buffer_[length_++] = c;
    }
    return false;
  }

  // The home, or "" when it does not fit or is not absolute.
  bool Finish() {
    if (length_ == 0 || length_ >= size_ || buffer_[0] != '/') return false;
    buffer_[length_] = '\0';
    return true;
  }

 private:
  bool Matches() const { return digits_ > 0 && digits_ <= 10 && uid_ == wanted_; }

  const uint32_t wanted_;
  char* const buffer_;
  const size_t size_;
  int field_ = 0;
  int digits_ = 0;
  uint64_t uid_ = 0;
  size_t length_ = 0;
};

bool Scan(int fd, PasswdScanner* scanner) {
  char chunk[4096];
  size_t total = 0;
  while (total < kMaxBytes) {
    const ssize_t n = read(fd, chunk, sizeof chunk);
    if (n <= 0) return total > 0 && scanner->Take('\n');  // the last line may lack its end
    total += static_cast<size_t>(n);
    for (ssize_t i = 0; i < n; i++) {
      if (scanner->Take(chunk[i])) return true;
    }
  }
  return false;
}

}  // namespace

void FindHomeInPasswd(int root, uint32_t uid, char* buffer, size_t size) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const int fd = OpenInRoot(root, "/etc/passwd", O_RDONLY | O_NONBLOCK | O_NOCTTY);
  bool found = false;
  if (fd >= 0) {
    struct stat st;
    PasswdScanner scanner(uid, buffer, size);
    found = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && Scan(fd, &scanner) && scanner.Finish();
    close(fd);
  }
  if (!found) memcpy(buffer, "/", 2);
}

}  // namespace gantry::linux
