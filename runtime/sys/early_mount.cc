// Nothing in here may call the C library, not even memset: its functions for this processor have not been chosen
// yet, and there is no errno. The compiler must not make such calls of loops, either (CMakeLists.txt has the rest).
#if !defined(__clang__)
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif

#include "runtime/sys/early_mount.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <linux/mount.h>
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "runtime/sys/sanitizer.h"

namespace gantry::sys {
namespace {

int early_mount = -1;

}  // namespace

UniqueFd TakeEarlyMount() { return UniqueFd(std::exchange(early_mount, -1)); }

#if defined(__x86_64__)

namespace {

long Call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

constexpr uintptr_t kPage = 4096;

long Address(const void* pointer) { return reinterpret_cast<long>(pointer); }

bool Wanted(char* const* argv) {
  for (; *argv != nullptr; argv++) {
    for (const auto* word = gantry_moving_commands; **word != '\0'; word++) {
      size_t i = 0;
      while (i < sizeof *word && (*argv)[i] == (*word)[i] && (*word)[i] != '\0') i++;
      if (i < sizeof *word && (*argv)[i] == (*word)[i]) return true;
    }
  }
  return false;
}

// A mount is not opened by its own descriptor (O_PATH), but by the name of that.
int OpenAgain(long fd) {
  char path[] = "/proc/self/fd/XX";
  if (fd > 99) return -1;
  char* digits = path + sizeof path - 3;
  if (fd > 9) *digits++ = static_cast<char>('0' + fd / 10);
  digits[0] = static_cast<char>('0' + fd % 10);
  digits[1] = '\0';
  return static_cast<int>(Call(SYS_openat, AT_FDCWD, Address(path), O_RDONLY | O_CLOEXEC));
}

// As the kernel has loaded it: the file, and zeros from its end to the end of the page.
bool MapAnew(long fd, const ElfW(Phdr) & header, uintptr_t bias) {
  const uintptr_t start = bias + header.p_vaddr, end = start + header.p_filesz;
  const uintptr_t begin = start & ~(kPage - 1), page_end = (end + kPage - 1) & ~(kPage - 1);
  const long protection = PROT_READ | ((header.p_flags & PF_X) != 0 ? PROT_EXEC : 0) |
                          ((header.p_flags & PF_W) != 0 ? PROT_WRITE : 0);
  const long mapped =
      Call(SYS_mmap, static_cast<long>(begin), static_cast<long>(page_end - begin), protection,
           MAP_PRIVATE | MAP_FIXED, fd, static_cast<long>(header.p_offset & ~(kPage - 1)));
  if (mapped != static_cast<long>(begin)) return false;
  if (header.p_memsz > header.p_filesz) {
    uintptr_t to = end;
    size_t count = page_end - end;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0) : "memory");
  }
  return true;
}

// What the kernel has put on the stack, and where.
struct Start {
  char* const* argv;
  char* const* env;
  const ElfW(Phdr) * headers = nullptr;
  size_t count = 0;  // of headers
  size_t page = 0;
  uintptr_t bias = 0;  // what is added to the addresses in the headers
};

Start Read(char* const* argv) {
  Start start;
  start.argv = argv;
  while (*argv != nullptr) argv++;
  start.env = argv + 1;
  char* const* env = start.env;
  while (*env != nullptr) env++;
  for (auto* entry = reinterpret_cast<const ElfW(auxv_t)*>(env + 1); entry->a_type != AT_NULL; entry++) {
    if (entry->a_type == AT_PHDR) start.headers = reinterpret_cast<const ElfW(Phdr)*>(entry->a_un.a_val);
    if (entry->a_type == AT_PHNUM) start.count = entry->a_un.a_val;
    if (entry->a_type == AT_PAGESZ) start.page = entry->a_un.a_val;
  }
  for (size_t i = 0; start.headers != nullptr && i < start.count; i++) {
    if (start.headers[i].p_type == PT_PHDR)
      start.bias = reinterpret_cast<uintptr_t>(start.headers) - start.headers[i].p_vaddr;
  }
  return start;
}

// Behind the last of them; `otherwise` if there is none.
uint64_t EndOfStrings(char* const* strings, uint64_t otherwise) {
  if (*strings == nullptr) return otherwise;
  while (strings[1] != nullptr) strings++;
  const char* end = *strings;
  while (*end != '\0') end++;
  return reinterpret_cast<uint64_t>(end + 1);
}

// What the kernel noted when it loaded the program (load_elf_binary, create_elf_tables), of which nothing has
// changed yet: PR_SET_MM_MAP sets it as a whole.
prctl_mm_map LayoutOf(const Start& start, const long* stack) {
  prctl_mm_map map = {};
  map.start_code = UINT64_MAX;
  for (size_t i = 0; i < start.count; i++) {
    const ElfW(Phdr)& header = start.headers[i];
    if (header.p_type != PT_LOAD) continue;
    const uint64_t begin = start.bias + header.p_vaddr, end = begin + header.p_filesz;
    if (begin < map.start_code) map.start_code = begin;
    if (begin > map.start_data) map.start_data = begin;
    if ((header.p_flags & PF_X) != 0 && end > map.end_code) map.end_code = end;
    if (end > map.end_data) map.end_data = end;
  }
  map.start_brk = map.brk = static_cast<uint64_t>(Call(SYS_brk));
  map.start_stack = reinterpret_cast<uint64_t>(stack);
  map.arg_start = reinterpret_cast<uint64_t>(start.argv[0]);
  map.arg_end = map.env_start = EndOfStrings(start.argv, map.arg_start);
  map.env_end = EndOfStrings(start.env, map.env_start);
  return map;
}

// self_exe.cc tells of the same steps.
bool Move(long mount, const Start& start, const long* stack) {
  struct mount_attr change = {};
  change.attr_set = MOUNT_ATTR_RDONLY;
  if (Call(SYS_mount_setattr, mount, Address(""), AT_EMPTY_PATH, Address(&change), sizeof change) != 0)
    return false;
  const long file = OpenAgain(mount);
  if (file < 0) return false;
  prctl_mm_map map = LayoutOf(start, stack);
  map.exe_fd = static_cast<uint32_t>(file);
  const auto set = [&map]() { return Call(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, Address(&map), sizeof map); };
  // Busy: it may be done, but for what is still mapped. Thus nothing is mapped in vain.
  bool ok = set() == -EBUSY;
  for (size_t i = 0; ok && i < start.count; i++) {
    if (start.headers[i].p_type == PT_LOAD) ok = MapAnew(file, start.headers[i], start.bias);
  }
  ok = ok && set() == 0;
  Call(SYS_close, file);
  return ok;
}

}  // namespace

// `stack`: as the kernel hands it to a program: argc, argv, a null, the environment, a null, the auxiliary vector.
extern "C" [[gnu::used]] void gantry_move_early(long* stack) {
  char* const* argv = reinterpret_cast<char**>(stack + 1);
  if (kSanitized || !Wanted(argv)) return;
  const Start start = Read(argv);
  if (start.headers == nullptr || start.page != kPage) return;
  constexpr long kCopy = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  const long mount = Call(SYS_open_tree, AT_FDCWD, Address("/proc/self/exe"), kCopy);
  if (mount < 0) return;
  if (Move(mount, start, stack)) {
    early_mount = static_cast<int>(mount);  // after the data has been mapped anew
  } else {
    Call(SYS_close, mount);
  }
}

// rdx is the kernel's to the C library: what to call at the end.
__asm__(
    ".pushsection .text\n"
    ".globl gantry_entry\n"
    ".type gantry_entry, @function\n"
    "gantry_entry:\n"
    "  endbr64\n"
    "  xor %ebp, %ebp\n"
    "  mov %rdx, %rbx\n"
    "  mov %rsp, %rdi\n"
    "  call gantry_move_early\n"
    "  mov %rbx, %rdx\n"
    "  jmp _start\n"
    ".size gantry_entry, . - gantry_entry\n"
    ".popsection\n");

#endif

}  // namespace gantry::sys
