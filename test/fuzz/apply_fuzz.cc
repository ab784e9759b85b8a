// Extraction of a layer into a directory: whatever the archive says, nothing beside that directory changes.
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "runtime/sys/file.h"
#include "runtime/sys/unique_fd.h"
#include "snapshotter/diff/apply.h"
#include "snapshotter/diff/source.h"
#include "test/fuzz/input.h"

namespace gantry::fuzz {
namespace {

// <base>/outside/secret must stay as it is; <base>/lower, with links that lead out, is a layer below; <base>/root is
// extracted into.
class Arena {
 public:
  Arena() {
    char name[] = "/dev/shm/gantry-fuzz-XXXXXX";
    Check(mkdtemp(name) != nullptr, "mkdtemp in /dev/shm");
    base_ = name;
    for (const char* folder : {"/outside", "/lower", "/lower/d", "/root"}) {
      Check(mkdir((base_ + folder).c_str(), 0755) == 0, "mkdir");
    }
    sys::UniqueFd secret(open((base_ + "/outside/secret").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    Check(secret.valid() && sys::WriteAll(secret.get(), "secret").ok(), "write");
    Check(symlink("../outside", (base_ + "/lower/out").c_str()) == 0, "symlink");
    Check(symlink((base_ + "/outside").c_str(), (base_ + "/lower/d/abs").c_str()) == 0, "symlink");
    before_ = Look();
  }
  ~Arena() {
    Check(Look() == before_, "nothing outside the root has changed");
    sys::RemoveAllAt(AT_FDCWD, base_).IgnoreError();
  }

  std::string Path(const char* name) const { return base_ + name; }

 private:
  static void Append(std::string& out, const std::string& path) {
    struct stat st;
    Check(lstat(path.c_str(), &st) == 0, "what was there is there");
    for (auto value :
         {uint64_t{st.st_ino}, uint64_t{st.st_mode}, uint64_t{st.st_uid}, uint64_t{st.st_gid},
          uint64_t{st.st_nlink}, static_cast<uint64_t>(st.st_size), static_cast<uint64_t>(st.st_mtim.tv_nsec),
          static_cast<uint64_t>(st.st_ctim.tv_nsec)}) {
      out += std::to_string(value) + " ";
    }
  }
  std::string Look() const {
    std::string out;
    for (const char* name :
         {"/outside", "/outside/secret", "/lower", "/lower/out", "/lower/d", "/lower/d/abs"}) {
      Append(out, base_ + name);
    }
    int entries = 0;
    DIR* folder = opendir((base_ + "/outside").c_str());
    while (readdir(folder) != nullptr) ++entries;
    closedir(folder);
    return out + std::to_string(entries);
  }

  std::string base_;
  std::string before_;
};

}  // namespace
}  // namespace gantry::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gantry;
  absl::string_view input = fuzz::View(data, size);
  const uint8_t choice = fuzz::TakeByte(input);
  fuzz::Arena arena;
  diff::TargetOptions target;
  target.directory = arena.Path("/root");
  target.overlay = choice & 1;
  if (target.overlay) target.lowers = {arena.Path("/lower")};
  diff::Apply(std::make_unique<diff::StringSource>(input), std::move(target)).IgnoreError();
  return 0;
}
