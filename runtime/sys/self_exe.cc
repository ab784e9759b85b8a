#include "runtime/sys/self_exe.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <linux/prctl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount_api.h"
#include "runtime/sys/sanitizer.h"
#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

uintptr_t PageDown(uintptr_t address) { return address & ~(getauxval(AT_PAGESZ) - 1); }
uintptr_t PageUp(uintptr_t address) { return PageDown(address + getauxval(AT_PAGESZ) - 1); }

// Where the program headers of this program are, and what is added to the addresses in them.
struct Program {
  const ElfW(Phdr) * begin;
  const ElfW(Phdr) * end;
  uintptr_t bias = 0;
};

Program FindProgram() {
  const auto* headers = reinterpret_cast<const ElfW(Phdr)*>(getauxval(AT_PHDR));
  Program program = {headers, headers + getauxval(AT_PHNUM)};
  for (const auto* header = program.begin; header != program.end; header++) {
    if (header->p_type == PT_PHDR) program.bias = reinterpret_cast<uintptr_t>(headers) - header->p_vaddr;
  }
  return program;
}

// Maps one segment anew from `fd`, at its place. What was written to it since the start is kept: pages that
// differ from the file are copied before the new mapping replaces the old one. Nothing here writes to the
// program's own data meanwhile.
absl::Status MapAnew(int fd, const ElfW(Phdr) & header, uintptr_t bias) {
  const uintptr_t begin = PageDown(bias + header.p_vaddr);
  const size_t size = PageUp(bias + header.p_vaddr + header.p_filesz) - begin;
  const auto offset = static_cast<off_t>(PageDown(header.p_offset));
  auto* const place = reinterpret_cast<char*>(begin);
  if ((header.p_flags & PF_W) == 0) {
    const int protection = PROT_READ | ((header.p_flags & PF_X) != 0 ? PROT_EXEC : 0);
    void* mapped = mmap(place, size, protection, MAP_PRIVATE | MAP_FIXED, fd, offset);
    return mapped == MAP_FAILED ? ErrnoStatus("mmap", "this program's file") : absl::OkStatus();
  }
  void* mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, offset);
  if (mapped == MAP_FAILED) return ErrnoStatus("mmap", "this program's file");
  auto* const copy = static_cast<char*>(mapped);
  const size_t page = getauxval(AT_PAGESZ);
  for (size_t at = 0; at < size; at += page) {
    if (memcmp(copy + at, place + at, page) != 0) memcpy(copy + at, place + at, page);
  }
  if (mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place) != MAP_FAILED) return absl::OkStatus();
  absl::Status status = ErrnoStatus("mremap", "this program's data");
  munmap(copy, size);
  return status;
}

// What the C library protected after its relocations is protected again.
absl::Status ProtectRelocated(const Program& program) {
  for (const auto* header = program.begin; header != program.end; header++) {
    if (header->p_type != PT_GNU_RELRO) continue;
    const uintptr_t begin = PageDown(program.bias + header->p_vaddr);
    const uintptr_t end = PageDown(program.bias + header->p_vaddr + header->p_memsz);
    if (end <= begin) continue;
    if (mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_READ) != 0)
      return ErrnoStatus("mprotect", "");
  }
  return absl::OkStatus();
}

// The layout that the kernel has noted, which PR_SET_MM_MAP sets as a whole: fields of proc_pid_stat(5).
absl::StatusOr<prctl_mm_map> CurrentMap() {
  constexpr size_t kMaxStat = 4096;
  GANTRY_ASSIGN_OR_RETURN(const std::string stat, ReadFileAt(AT_FDCWD, "/proc/self/stat", kMaxStat));
  // The second field, the name in parentheses, may hold anything; the third follows it.
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return absl::InternalError("/proc/self/stat: no name");
  std::array<uint64_t, 52> fields = {};
  size_t number = 3;
  for (absl::string_view text : absl::StrSplit(absl::string_view(stat).substr(name_end + 2), ' ')) {
    if (number < fields.size()) (void)absl::SimpleAtoi(text, &fields[number]);
    number++;
  }
  if (number < fields.size()) return absl::InternalError("/proc/self/stat: too short");
  prctl_mm_map map = {};
  map.start_code = fields[26];
  map.end_code = fields[27];
  map.start_stack = fields[28];
  map.start_data = fields[45];
  map.end_data = fields[46];
  map.start_brk = fields[47];
  map.brk = reinterpret_cast<uintptr_t>(sbrk(0));
  map.arg_start = fields[48];
  map.arg_end = fields[49];
  map.env_start = fields[50];
  map.env_end = fields[51];
  return map;
}

constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

// Before Linux 5.12 a detached mount cannot be made read-only: a copy in memory that nobody can change.
absl::StatusOr<UniqueFd> SealedCopy() {
  GANTRY_ASSIGN_OR_RETURN(const UniqueFd self, OpenAt(AT_FDCWD, "/proc/self/exe", O_RDONLY));
  struct stat st;
  if (fstat(self.get(), &st) != 0) return ErrnoStatus("fstat", "/proc/self/exe");
  UniqueFd copy(memfd_create("self", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!copy) return ErrnoStatus("memfd_create", "self");
  for (off_t done = 0; done < st.st_size;) {
    const ssize_t n = sendfile(copy.get(), self.get(), nullptr, static_cast<size_t>(st.st_size - done));
    if (n <= 0) return ErrnoStatus("sendfile", "/proc/self/exe", n < 0 ? errno : EIO);
    done += n;
  }
  if (fcntl(copy.get(), F_ADD_SEALS, kSeals) != 0) return ErrnoStatus("fcntl", "F_ADD_SEALS");
  return copy;
}

bool RunsSealed() {
  const auto self = OpenAt(AT_FDCWD, "/proc/self/exe", O_RDONLY);
  return self.ok() && fcntl(self->get(), F_GET_SEALS) == kSeals;
}

}  // namespace

absl::StatusOr<UniqueFd> OpenSelfReadOnly() {
  GANTRY_ASSIGN_OR_RETURN(DetachedMount mount, DetachedMount::Copy(AT_FDCWD, "/proc/self/exe", false));
  DetachedMount::Attributes change;
  change.set = MOUNT_ATTR_RDONLY;
  const absl::Status status = mount.SetAttributes(change);
  if (ErrnoOf(status) == ENOSYS) return SealedCopy();
  GANTRY_RETURN_IF_ERROR(status);
  return mount.release();
}

absl::Status MoveOntoMount(const UniqueFd& self) {
  if (kSanitized) return absl::UnimplementedError("a sanitizer does not let its program be mapped anew");
  // First what may be refused, so that nothing is mapped in vain.
  unsigned size = 0;
  if (prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) != 0 || size != sizeof(prctl_mm_map))
    return ErrnoStatus("PR_SET_MM_MAP_SIZE", "");
  GANTRY_ASSIGN_OR_RETURN(prctl_mm_map map, CurrentMap());
  // `self` was opened with O_PATH.
  GANTRY_ASSIGN_OR_RETURN(const UniqueFd file,
                          OpenAt(AT_FDCWD, absl::StrCat("/proc/self/fd/", self.get()), O_RDONLY));
  const Program program = FindProgram();
  for (const auto* header = program.begin; header != program.end; header++) {
    if (header->p_type == PT_LOAD) GANTRY_RETURN_IF_ERROR(MapAnew(file.get(), *header, program.bias));
  }
  GANTRY_RETURN_IF_ERROR(ProtectRelocated(program));
  map.exe_fd = static_cast<uint32_t>(file.get());
  // prctl_set_mm_exe_file: EBUSY while anything is mapped from the file through the old mount.
  if (prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) != 0) return ErrnoStatus("PR_SET_MM_MAP", "");
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> RunFromReadOnlyMount(char** argv) {
  struct statvfs fs;
  if (statvfs("/proc/self/exe", &fs) != 0) return ErrnoStatus("statvfs", "/proc/self/exe");
  if ((fs.f_flag & ST_RDONLY) != 0) return UniqueFd();
  bool mount = HasMountSetattr();
  if (!mount && RunsSealed()) return UniqueFd();
  auto opened = OpenSelfReadOnly();
  if (ErrnoOf(opened.status()) == EPERM) {
    // An ordinary user makes no mounts.
    if (RunsSealed()) return UniqueFd();
    mount = false;
    opened = SealedCopy();
  }
  GANTRY_ASSIGN_OR_RETURN(UniqueFd self, std::move(opened));
  if (mount && MoveOntoMount(self).ok()) return self;
  execveat(self.get(), "", argv, environ, AT_EMPTY_PATH);
  return ErrnoStatus("execveat", "this program, through a read-only mount");
}

}  // namespace gantry::sys
