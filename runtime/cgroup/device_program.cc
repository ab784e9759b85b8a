#include "runtime/cgroup/device_program.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "runtime/sys/file.h"
#include "runtime/sys/status.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::cgroup {
namespace {

// Registers: 1 the context, then scratch; 2 the type; 3 the access; 4 major; 5 minor.
bpf_insn Insn(uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm) {
  bpf_insn insn = {};
  insn.code = code;
  insn.dst_reg = dst & 0xf;
  insn.src_reg = src & 0xf;
  insn.off = off;
  insn.imm = imm;
  return insn;
}
bpf_insn LoadWord(uint8_t dst, int16_t off) { return Insn(BPF_LDX | BPF_MEM | BPF_W, dst, 1, off, 0); }
bpf_insn Move(uint8_t dst, int32_t imm) { return Insn(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm); }
bpf_insn Copy(uint8_t dst, uint8_t src) { return Insn(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0); }
bpf_insn Exit() { return Insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

int32_t AccessBits(absl::string_view access) {
  int32_t bits = 0;
  for (const char c : access) {
    bits |= c == 'r' ? BPF_DEVCG_ACC_READ : c == 'w' ? BPF_DEVCG_ACC_WRITE : BPF_DEVCG_ACC_MKNOD;
  }
  return bits;
}
constexpr int32_t kAllAccess = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE | BPF_DEVCG_ACC_MKNOD;

// Tells our programs from others on the same cgroup, such as systemd's, which stay.
constexpr char kProgramName[] = "gantry_devices";
static_assert(sizeof kProgramName <= BPF_OBJ_NAME_LEN);

int Bpf(int command, bpf_attr* attr) {
  return static_cast<int>(syscall(SYS_bpf, command, attr, sizeof *attr));
}

absl::StatusOr<sys::UniqueFd> Load(const std::vector<bpf_insn>& program) {
  static constexpr char kLicense[] = "Apache-2.0";
  bpf_attr attr = {};
  attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attr.insns = reinterpret_cast<uint64_t>(program.data());
  attr.insn_cnt = static_cast<uint32_t>(program.size());
  attr.license = reinterpret_cast<uint64_t>(kLicense);
  memcpy(attr.prog_name, kProgramName, sizeof kProgramName);
  const int fd = Bpf(BPF_PROG_LOAD, &attr);
  if (fd < 0) return sys::ErrnoStatus("bpf", "load the device filter");
  return sys::UniqueFd(fd);
}

std::vector<uint32_t> Attached(int cgroup_fd) {
  std::vector<uint32_t> ids(64);  // BPF_CGROUP_MAX_PROGS
  bpf_attr attr = {};
  attr.query.target_fd = static_cast<uint32_t>(cgroup_fd);
  attr.query.attach_type = BPF_CGROUP_DEVICE;
  attr.query.prog_ids = reinterpret_cast<uint64_t>(ids.data());
  attr.query.prog_cnt = static_cast<uint32_t>(ids.size());
  if (Bpf(BPF_PROG_QUERY, &attr) != 0) return {};
  ids.resize(attr.query.prog_cnt);
  return ids;
}

absl::Status Detach(int cgroup_fd, uint32_t id) {
  bpf_attr attr = {};
  attr.prog_id = id;
  const sys::UniqueFd program(Bpf(BPF_PROG_GET_FD_BY_ID, &attr));
  if (!program.valid())
    return errno == ENOENT ? absl::OkStatus() : sys::ErrnoStatus("bpf", "open the old device filter");
  bpf_prog_info info = {};
  attr = {};
  attr.info.bpf_fd = static_cast<uint32_t>(program.get());
  attr.info.info = reinterpret_cast<uint64_t>(&info);
  attr.info.info_len = sizeof info;
  if (Bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) != 0)
    return sys::ErrnoStatus("bpf", "ask for a device filter's name");
  if (strncmp(info.name, kProgramName, BPF_OBJ_NAME_LEN) != 0) return absl::OkStatus();
  attr = {};
  attr.target_fd = static_cast<uint32_t>(cgroup_fd);
  attr.attach_bpf_fd = static_cast<uint32_t>(program.get());
  attr.attach_type = BPF_CGROUP_DEVICE;
  if (Bpf(BPF_PROG_DETACH, &attr) != 0 && errno != ENOENT) {
    return sys::ErrnoStatus("bpf", "detach the old device filter");
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<bpf_insn> DeviceProgram(const DevicePolicy& policy) {
  std::vector<bpf_insn> program = {
      LoadWord(2, offsetof(bpf_cgroup_dev_ctx, access_type)),
      Copy(3, 2),
      Insn(BPF_ALU64 | BPF_AND | BPF_K, 2, 0, 0, 0xffff),
      Insn(BPF_ALU64 | BPF_RSH | BPF_K, 3, 0, 0, 16),
      LoadWord(4, offsetof(bpf_cgroup_dev_ctx, major)),
      LoadWord(5, offsetof(bpf_cgroup_dev_ctx, minor)),
  };
  for (const DeviceRule& rule : policy.exceptions) {
    std::vector<bpf_insn> match;  // its jumps go past the verdict; their distance is filled in below
    const auto skip_unless_equal = [&match](uint8_t reg, int64_t value) {
      match.push_back(Insn(BPF_JMP32 | BPF_JNE | BPF_K, reg, 0, 0, static_cast<int32_t>(value)));
    };
    skip_unless_equal(2, rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
    const int32_t bits = AccessBits(rule.access);
    if (bits != kAllAccess) {
      match.push_back(Copy(1, 3));
      if (policy.default_allow) {  // denied as soon as one denied access is asked for
        match.push_back(Insn(BPF_ALU64 | BPF_AND | BPF_K, 1, 0, 0, bits));
        match.push_back(Insn(BPF_JMP32 | BPF_JEQ | BPF_K, 1, 0, 0, 0));
      } else {  // allowed if nothing beyond the allowed is asked for
        match.push_back(Insn(BPF_ALU64 | BPF_AND | BPF_K, 1, 0, 0, kAllAccess & ~bits));
        match.push_back(Insn(BPF_JMP32 | BPF_JNE | BPF_K, 1, 0, 0, 0));
      }
    }
    if (rule.major >= 0) skip_unless_equal(4, rule.major);
    if (rule.minor >= 0) skip_unless_equal(5, rule.minor);
    const size_t end = match.size() + 2;  // the verdict is two instructions
    for (size_t i = 0; i < match.size(); ++i) {
      if (BPF_CLASS(match[i].code) == BPF_JMP32) match[i].off = static_cast<int16_t>(end - i - 1);
    }
    match.push_back(Move(0, policy.default_allow ? 0 : 1));
    match.push_back(Exit());
    program.insert(program.end(), match.begin(), match.end());
  }
  program.push_back(Move(0, policy.default_allow ? 1 : 0));
  program.push_back(Exit());
  return program;
}

absl::Status AttachDevicePolicy(const std::string& path, const DevicePolicy& policy) {
  GANTRY_ASSIGN_OR_RETURN(const sys::UniqueFd cgroup, sys::OpenAt(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  GANTRY_ASSIGN_OR_RETURN(const sys::UniqueFd program, Load(DeviceProgram(policy)));
  const std::vector<uint32_t> old = Attached(cgroup.get());
  bpf_attr attr = {};
  attr.target_fd = static_cast<uint32_t>(cgroup.get());
  attr.attach_bpf_fd = static_cast<uint32_t>(program.get());
  attr.attach_type = BPF_CGROUP_DEVICE;
  attr.attach_flags = BPF_F_ALLOW_MULTI;
  if (Bpf(BPF_PROG_ATTACH, &attr) != 0) return sys::ErrnoStatus("bpf", "attach the device filter to " + path);
  for (const uint32_t id : old) GANTRY_RETURN_IF_ERROR(Detach(cgroup.get(), id));
  return absl::OkStatus();
}

}  // namespace gantry::cgroup
