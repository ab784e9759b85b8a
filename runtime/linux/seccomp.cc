#include "runtime/linux/seccomp.h"

#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runtime/sys/status.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::linux {
namespace {

// x32 shares AUDIT_ARCH_X86_64 and sets this bit in the number; see <asm/unistd.h>, __X32_SYSCALL_BIT.
constexpr uint32_t kX32Bit = 0x40000000;
constexpr size_t kMaxInstructions = 4096;  // BPF_MAXINSNS: what seccomp(2) takes

struct ContextCloser {
  void operator()(void* context) const { seccomp_release(context); }
};
using Context = std::unique_ptr<void, ContextCloser>;

// libseccomp answers negative errno values.
absl::Status Failure(absl::string_view what, int result) {
  return sys::Annotate(sys::ErrnoStatus("libseccomp", "", -result), absl::StrCat("linux.seccomp: ", what));
}

absl::StatusOr<uint32_t> ActionOf(oci::SeccompAction action, std::optional<uint32_t> errno_ret,
                                  absl::string_view where) {
  const uint32_t value = errno_ret.value_or(EPERM);
  if (value > 0xffff) {
    return absl::InvalidArgumentError(
        absl::StrCat("linux.seccomp: ", where, ": errnoRet ", value, " is larger than the kernel's 65535"));
  }
  switch (action) {
    case oci::SeccompAction::kKillThread:
      return SCMP_ACT_KILL_THREAD;
    case oci::SeccompAction::kKillProcess:
      return SCMP_ACT_KILL_PROCESS;
    case oci::SeccompAction::kTrap:
      return SCMP_ACT_TRAP;
    case oci::SeccompAction::kErrno:
      return SCMP_ACT_ERRNO(value);
    case oci::SeccompAction::kTrace:
      return SCMP_ACT_TRACE(value);
    case oci::SeccompAction::kAllow:
      return SCMP_ACT_ALLOW;
    case oci::SeccompAction::kLog:
      return SCMP_ACT_LOG;
    case oci::SeccompAction::kNotify:
      return SCMP_ACT_NOTIFY;
  }
  return absl::InvalidArgumentError(absl::StrCat("linux.seccomp: ", where, ": unknown action"));
}

scmp_compare CompareOf(oci::SeccompOp op) {
  switch (op) {
    case oci::SeccompOp::kNe:
      return SCMP_CMP_NE;
    case oci::SeccompOp::kLt:
      return SCMP_CMP_LT;
    case oci::SeccompOp::kLe:
      return SCMP_CMP_LE;
    case oci::SeccompOp::kEq:
      return SCMP_CMP_EQ;
    case oci::SeccompOp::kGe:
      return SCMP_CMP_GE;
    case oci::SeccompOp::kGt:
      return SCMP_CMP_GT;
    case oci::SeccompOp::kMaskedEq:
      return SCMP_CMP_MASKED_EQ;
  }
  return SCMP_CMP_EQ;
}

// "SCMP_ARCH_X86_64" -> "x86_64", as libseccomp spells it.
absl::StatusOr<uint32_t> ArchitectureOf(const std::string& name) {
  absl::string_view text = name;
  absl::ConsumePrefix(&text, "SCMP_ARCH_");
  const uint32_t token = seccomp_arch_resolve_name(absl::AsciiStrToLower(text).c_str());
  if (token == 0) {
    return absl::UnimplementedError(
        absl::StrCat("linux.seccomp.architectures: libseccomp does not know \"", name, "\""));
  }
  return token;
}

absl::Status AddArchitectures(const oci::Seccomp& profile, scmp_filter_ctx context,
                              std::vector<uint32_t>* tokens) {
  tokens->push_back(seccomp_arch_native());
  for (const std::string& name : profile.architectures) {
    GANTRY_ASSIGN_OR_RETURN(const uint32_t token, ArchitectureOf(name));
    const int result = seccomp_arch_add(context, token);
    if (result != 0 && result != -EEXIST) return Failure(name, result);
    if (std::find(tokens->begin(), tokens->end(), token) == tokens->end()) tokens->push_back(token);
  }
  return absl::OkStatus();
}

// Conditions on different arguments must all hold. libseccomp takes one condition an argument; several on one
// argument are alternatives, each a rule of its own (as in the profiles of Docker that rely on it).
std::vector<std::vector<scmp_arg_cmp>> Alternatives(const std::vector<oci::SeccompArg>& args) {
  std::vector<scmp_arg_cmp> all;
  std::array<int, 6> uses = {};
  for (const oci::SeccompArg& arg : args) {
    scmp_arg_cmp compare = {};
    compare.arg = arg.index;
    compare.op = CompareOf(arg.op);
    compare.datum_a = arg.value;
    compare.datum_b = arg.value_two;
    all.push_back(compare);
    if (arg.index < uses.size()) ++uses[arg.index];
  }
  if (std::none_of(uses.begin(), uses.end(), [](int n) { return n > 1; })) return {all};
  std::vector<std::vector<scmp_arg_cmp>> result;
  for (const scmp_arg_cmp& compare : all) result.push_back({compare});
  return result;
}

absl::Status AddRule(const oci::SeccompSyscall& rule, uint32_t default_action, scmp_filter_ctx context) {
  const std::string where = rule.names.empty() ? "a rule" : absl::StrCat("the rule of ", rule.names.front());
  GANTRY_ASSIGN_OR_RETURN(const uint32_t action, ActionOf(rule.action, rule.errno_ret, where));
  if (action == default_action) return absl::OkStatus();  // libseccomp refuses what changes nothing
  const auto alternatives = Alternatives(rule.args);
  for (const std::string& name : rule.names) {
    const int number = seccomp_syscall_resolve_name(name.c_str());
    if (number == __NR_SCMP_ERROR) continue;
    for (const auto& conditions : alternatives) {
      const int result = seccomp_rule_add_array(context, action, number,
                                                static_cast<unsigned>(conditions.size()), conditions.data());
      // EDOM: the call does not exist on one of the architectures; EEXIST: the profile says it twice.
      if (result != 0 && result != -EDOM && result != -EEXIST) return Failure(name, result);
    }
  }
  return absl::OkStatus();
}

// libseccomp 2.5 can hand its program out only through a descriptor.
absl::StatusOr<std::vector<sock_filter>> Export(scmp_filter_ctx context) {
  const sys::UniqueFd file(memfd_create("seccomp", MFD_CLOEXEC));
  if (!file) return sys::ErrnoStatus("memfd_create", "seccomp");
  if (const int result = seccomp_export_bpf(context, file.get()); result != 0)
    return Failure("export", result);
  const off_t size = lseek(file.get(), 0, SEEK_END);
  if (size < 0) return sys::ErrnoStatus("lseek", "seccomp");
  std::vector<sock_filter> program(static_cast<size_t>(size) / sizeof(sock_filter));
  const ssize_t got = pread(file.get(), program.data(), program.size() * sizeof(sock_filter), 0);
  if (got != size) return sys::ErrnoStatus("pread", "seccomp", got < 0 ? errno : EIO);
  return program;
}

// The largest system call number that `profile` names on one architecture; -1 if it names none.
int LargestNamed(const oci::Seccomp& profile, uint32_t architecture) {
  int largest = -1;
  for (const oci::SeccompSyscall& rule : profile.syscalls) {
    for (const std::string& name : rule.names) {
      largest = std::max(largest, seccomp_syscall_resolve_name_arch(architecture, name.c_str()));
    }
  }
  return largest;
}

// The instructions before libseccomp's: per architecture, a number beyond the largest that the profile names
// answers ENOSYS. The program behind them starts with loads of its own, so falling through is right.
std::vector<sock_filter> EnosysPrefix(const oci::Seccomp& profile,
                                      const std::vector<uint32_t>& architectures) {
  const bool x32 =
      std::find(architectures.begin(), architectures.end(), SCMP_ARCH_X32) != architectures.end();
  const int largest_x32 = x32 ? LargestNamed(profile, SCMP_ARCH_X32) : -1;
  std::vector<sock_filter> prefix;
  for (const uint32_t architecture : architectures) {
    if (architecture == SCMP_ARCH_X32) continue;  // its numbers are told apart only by kX32Bit
    const int largest = LargestNamed(profile, architecture);
    if (largest < 0) continue;
    const uint32_t last = static_cast<uint32_t>(largest);
    std::vector<sock_filter> part = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
    if (architecture == SCMP_ARCH_X86_64 && x32 && largest_x32 >= 0) {
      // The calls of x32 have numbers of their own, above kX32Bit.
      part.push_back(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kX32Bit, 1, 0));
      part.push_back(BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last, 1, 2));
      part.push_back(BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, static_cast<uint32_t>(largest_x32), 0, 1));
    } else {
      // Without x32 libseccomp answers those numbers as it does an architecture that is not listed.
      if (architecture == SCMP_ARCH_X86_64)
        part.push_back(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kX32Bit, 2, 0));
      part.push_back(BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last, 0, 1));
    }
    part.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
    prefix.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)));
    prefix.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, architecture, 0, static_cast<uint8_t>(part.size())));
    prefix.insert(prefix.end(), part.begin(), part.end());
  }
  return prefix;
}

// Where everything is allowed unless named, or the profile itself says ENOSYS, a new call needs no help; and a tracer
// decides on its own what a call is to answer.
bool WantsEnosys(const oci::Seccomp& profile) {
  switch (profile.default_action) {
    case oci::SeccompAction::kAllow:
    case oci::SeccompAction::kLog:
    case oci::SeccompAction::kTrace:
      return false;
    case oci::SeccompAction::kErrno:
      return profile.default_errno_ret.value_or(EPERM) != ENOSYS;
    default:
      return true;
  }
}

}  // namespace

absl::StatusOr<std::vector<sock_filter>> CompileSeccomp(const oci::Seccomp& profile) {
  GANTRY_ASSIGN_OR_RETURN(const uint32_t default_action,
                          ActionOf(profile.default_action, profile.default_errno_ret, "defaultAction"));
  const Context context(seccomp_init(default_action));
  if (context == nullptr) {
    return absl::UnimplementedError("linux.seccomp.defaultAction: libseccomp does not take this action");
  }
  // A binary tree over the numbers: fewer instructions at each system call than a list.
  seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  std::vector<uint32_t> architectures;
  GANTRY_RETURN_IF_ERROR(AddArchitectures(profile, context.get(), &architectures));
  for (const oci::SeccompSyscall& rule : profile.syscalls) {
    GANTRY_RETURN_IF_ERROR(AddRule(rule, default_action, context.get()));
  }
  GANTRY_ASSIGN_OR_RETURN(std::vector<sock_filter> program, Export(context.get()));
  if (WantsEnosys(profile)) {
    const std::vector<sock_filter> prefix = EnosysPrefix(profile, architectures);
    program.insert(program.begin(), prefix.begin(), prefix.end());
  }
  if (program.size() > kMaxInstructions) {
    return absl::InvalidArgumentError(absl::StrCat("linux.seccomp: the profile makes a program of ",
                                                   program.size(), " instructions; the kernel takes ",
                                                   kMaxInstructions));
  }
  return program;
}

}  // namespace gantry::linux
