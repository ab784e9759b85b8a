#include "cmd/gantry/run/merged_root.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <climits>
#include <deque>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

constexpr int kMaxLinks = 40;  // as the kernel's MAXSYMLINKS

// Splits "a:b\:c" into "a" and "b:c".
std::vector<std::string> SplitLayers(absl::string_view text) {
  std::vector<std::string> parts(1);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      parts.back().push_back(text[++i]);
    } else if (text[i] == ':') {
      if (!parts.back().empty()) parts.emplace_back();
    } else {
      parts.back().push_back(text[i]);
    }
  }
  if (parts.back().empty()) parts.pop_back();
  return parts;
}

bool IsOpaque(int fd) {
  char value[2];
  for (const char* name : {"trusted.overlay.opaque", "user.overlay.opaque"}) {
    if (::fgetxattr(fd, name, value, sizeof(value)) == 1 && value[0] == 'y') return true;
  }
  return false;
}

absl::StatusOr<std::string> ReadLink(int dirfd, const std::string& name) {
  std::string target(PATH_MAX, '\0');
  const ssize_t size = ::readlinkat(dirfd, name.c_str(), target.data(), target.size());
  if (size <= 0) return sys::ErrnoStatus("readlinkat", name);
  target.resize(static_cast<size_t>(size));
  return target;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> LayerFolders(const std::string& type, const std::string& source,
                                                      const std::vector<std::string>& options) {
  if (type == "bind" || type == "rbind") return std::vector<std::string>{source};
  if (type != "overlay") {
    return absl::UnimplementedError(
        absl::StrCat("the snapshotter's mounts are of the type ", type, ", which gantry cannot look into"));
  }
  std::vector<std::string> folders;
  for (const std::string& option : options) {
    absl::string_view value = option;
    if (absl::ConsumePrefix(&value, "upperdir=")) folders.insert(folders.begin(), std::string(value));
    if (absl::ConsumePrefix(&value, "lowerdir=")) {
      for (std::string& folder : SplitLayers(value)) folders.push_back(std::move(folder));
    } else if (absl::ConsumePrefix(&value, "lowerdir+=")) {
      folders.emplace_back(value);
    }
  }
  return folders;
}

absl::StatusOr<MergedRoot> MergedRoot::Open(const std::vector<std::string>& folders) {
  MergedRoot root;
  for (const std::string& folder : folders) {
    GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY));
    root.root_.push_back(std::make_shared<sys::UniqueFd>(std::move(fd)));
  }
  return root;
}

// Looks for one name. The topmost layer that has it decides what it is; of a directory, the ones below merge
// in until a layer hides them.
absl::StatusOr<MergedRoot::Found> MergedRoot::Step(const Directory& directory, const std::string& name) {
  Found found;
  for (const auto& layer : directory) {
    struct stat st {};
    if (::fstatat(layer->get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) continue;
      return sys::ErrnoStatus("fstatat", name);
    }
    if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0)) break;  // a whiteout hides what is below
    if (!S_ISDIR(st.st_mode)) {
      if (!found.directory.empty()) break;
      if (S_ISLNK(st.st_mode)) {
        GANTRY_ASSIGN_OR_RETURN(found.link, ReadLink(layer->get(), name));
        return found;
      }
      if (!S_ISREG(st.st_mode)) return absl::InvalidArgumentError(absl::StrCat(name, " is no regular file"));
      GANTRY_ASSIGN_OR_RETURN(found.file,
                              sys::OpenAt(layer->get(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
      return found;
    }
    GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd,
                            sys::OpenAt(layer->get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    const bool opaque = IsOpaque(fd.get());
    found.directory.push_back(std::make_shared<sys::UniqueFd>(std::move(fd)));
    if (opaque) break;
  }
  return found;
}

absl::StatusOr<std::string> MergedRoot::ReadFile(absl::string_view path, size_t limit_bytes) const {
  const absl::Status missing = absl::NotFoundError(absl::StrCat("the image has no file ", path));
  std::deque<std::string> rest = absl::StrSplit(path, '/', absl::SkipEmpty());
  std::vector<Directory> stack = {root_};
  int links = 0;
  while (!rest.empty()) {
    const std::string name = std::move(rest.front());
    rest.pop_front();
    if (name == ".") continue;
    if (name == "..") {
      if (stack.size() > 1) stack.pop_back();
      continue;
    }
    absl::StatusOr<Found> found = Step(stack.back(), name);
    if (!found.ok()) return sys::Annotate(found.status(), path);
    if (!found->directory.empty()) {
      stack.push_back(std::move(found->directory));
    } else if (!found->link.empty()) {
      if (++links > kMaxLinks)
        return absl::InvalidArgumentError(absl::StrCat(path, ": too many symbolic links"));
      if (found->link.front() == '/') stack.resize(1);
      const std::vector<std::string> parts = absl::StrSplit(found->link, '/', absl::SkipEmpty());
      rest.insert(rest.begin(), parts.begin(), parts.end());
    } else if (found->file.valid()) {
      if (!rest.empty()) return missing;
      absl::StatusOr<std::string> text = sys::ReadAll(found->file.get(), limit_bytes);
      if (!text.ok()) return sys::Annotate(text.status(), absl::StrCat("the image's ", path));
      return text;
    } else {
      return missing;
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(path, " is a directory"));
}

}  // namespace gantry::cli
