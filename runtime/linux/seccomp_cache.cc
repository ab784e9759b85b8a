#include "runtime/linux/seccomp_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <seccomp.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/linux/seccomp.h"
#include "runtime/sys/file.h"
#include "runtime/sys/sha256.h"
#include "runtime/sys/status.h"

namespace gantry::linux {
namespace {

// Raised when CompileSeccomp makes another program of the same profile.
constexpr char kFormat[] = "gantry-seccomp-1\n";
constexpr size_t kMaxInstructions = 4096;  // BPF_MAXINSNS
constexpr size_t kDigest = 64;
constexpr size_t kHead = sizeof kFormat - 1 + kDigest + 1;  // format, digest, newline
constexpr size_t kMaxBytes = kHead + kMaxInstructions * sizeof(sock_filter);

struct DirCloser {
  void operator()(DIR* dir) const { closedir(dir); }
};

// Every member, each with its length before it, so that no two profiles make the same text.
class Text {
 public:
  void Add(absl::string_view part) { absl::StrAppend(&text_, part.size(), ":", part, ","); }
  void Add(uint64_t number) { absl::StrAppend(&text_, number, ","); }
  void Add(std::optional<uint32_t> number) { Add(number.has_value() ? uint64_t{*number} + 1 : 0); }
  void Add(const std::vector<std::string>& list) {
    Add(uint64_t{list.size()});
    for (const std::string& item : list) Add(item);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

bool OnlyOurs(const struct stat& st) { return st.st_uid == geteuid() && (st.st_mode & 077) == 0; }

absl::string_view Bytes(const std::vector<sock_filter>& program) {
  return {reinterpret_cast<const char*>(program.data()), program.size() * sizeof(sock_filter)};
}

}  // namespace

absl::StatusOr<SeccompCache> SeccompCache::Open(const std::string& directory) {
  auto fd = sys::OpenAt(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!fd.ok() && sys::ErrnoOf(fd.status()) == ENOENT) {
    if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) return sys::ErrnoStatus("mkdir", directory);
    fd = sys::OpenAt(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  }
  if (!fd.ok()) return fd.status();
  struct stat st;
  if (fstat(fd->get(), &st) != 0) return sys::ErrnoStatus("fstat", directory);
  if (!OnlyOurs(st)) {
    return absl::PermissionDeniedError(
        absl::StrCat(directory, ": must be ours, with mode 0700, to keep filters"));
  }
  return SeccompCache(*std::move(fd));
}

std::string SeccompCache::KeyOf(const oci::Seccomp& profile) {
  Text text;
  text.Add(kFormat);
  struct utsname name;
  if (uname(&name) == 0) {
    text.Add(name.release);
    text.Add(name.version);
    text.Add(name.machine);
  }
  const scmp_version* version = seccomp_version();
  for (const unsigned part : {version->major, version->minor, version->micro}) text.Add(uint64_t{part});
  text.Add(static_cast<uint64_t>(profile.default_action));
  text.Add(profile.default_errno_ret);
  text.Add(profile.architectures);
  text.Add(uint64_t{profile.syscalls.size()});
  for (const oci::SeccompSyscall& rule : profile.syscalls) {
    text.Add(rule.names);
    text.Add(static_cast<uint64_t>(rule.action));
    text.Add(rule.errno_ret);
    text.Add(uint64_t{rule.args.size()});
    for (const oci::SeccompArg& arg : rule.args) {
      text.Add(uint64_t{arg.index});
      text.Add(arg.value);
      text.Add(arg.value_two);
      text.Add(static_cast<uint64_t>(arg.op));
    }
  }
  return sys::Sha256Hex(text.text());
}

absl::StatusOr<std::vector<sock_filter>> SeccompCache::Get(const std::string& key) const {
  GANTRY_ASSIGN_OR_RETURN(const sys::UniqueFd file,
                          sys::OpenAt(directory_.get(), key, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  struct stat st;
  if (fstat(file.get(), &st) != 0) return sys::ErrnoStatus("fstat", key);
  if (!S_ISREG(st.st_mode) || !OnlyOurs(st))
    return absl::DataLossError("a cached filter that somebody else could write");
  GANTRY_ASSIGN_OR_RETURN(const std::string text, sys::ReadAll(file.get(), kMaxBytes));
  const absl::string_view format(kFormat);
  if (text.size() <= kHead || text.compare(0, format.size(), kFormat) != 0 ||
      (text.size() - kHead) % sizeof(sock_filter) != 0) {
    return absl::DataLossError("a cached filter of another form");
  }
  const absl::string_view body = absl::string_view(text).substr(kHead);
  if (sys::Sha256Hex(body) != absl::string_view(text).substr(format.size(), kDigest)) {
    return absl::DataLossError("a cached filter whose digest is wrong");
  }
  std::vector<sock_filter> program(body.size() / sizeof(sock_filter));
  memcpy(program.data(), body.data(), body.size());
  if (BPF_CLASS(program.back().code) != BPF_RET) return absl::DataLossError("a cached filter without an end");
  return program;
}

absl::Status SeccompCache::Put(const std::string& key, const std::vector<sock_filter>& program) const {
  const absl::string_view body = Bytes(program);
  GANTRY_RETURN_IF_ERROR(sys::WriteFileAtomic(directory_.get(), key,
                                              absl::StrCat(kFormat, sys::Sha256Hex(body), "\n", body), 0600,
                                              sys::Durability::kVolatile));
  DropOldest();
  return absl::OkStatus();
}

void SeccompCache::DropOldest() const {
  const int fd = openat(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, DirCloser> dir(fd >= 0 ? fdopendir(fd) : nullptr);
  if (dir == nullptr) return;
  std::vector<std::pair<std::pair<int64_t, int64_t>, std::string>> files;
  while (const dirent* entry = readdir(dir.get())) {
    struct stat st;
    if (entry->d_type == DT_DIR || fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    files.push_back({{st.st_mtim.tv_sec, st.st_mtim.tv_nsec}, entry->d_name});
  }
  if (files.size() <= kMaxCachedFilters) return;
  std::sort(files.begin(), files.end());
  // Room for some more, so that not every new one looks through all.
  files.resize(files.size() - kMaxCachedFilters / 2);
  for (const auto& [time, name] : files) unlinkat(fd, name.c_str(), 0);
}

absl::StatusOr<std::vector<sock_filter>> CompileSeccomp(const oci::Seccomp& profile,
                                                        const std::string& directory) {
  if (directory.empty()) return CompileSeccomp(profile);
  auto cache = SeccompCache::Open(directory);
  if (!cache.ok()) return CompileSeccomp(profile);
  const std::string key = SeccompCache::KeyOf(profile);
  auto kept = cache->Get(key);
  if (kept.ok()) return kept;
  auto program = CompileSeccomp(profile);
  if (program.ok()) cache->Put(key, *program).IgnoreError();
  return program;
}

}  // namespace gantry::linux
