#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/oci/default_seccomp.h"
#include "runtime/oci/features.h"
#include "runtime/oci/spec.h"

namespace gantry::oci {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(DefaultSpecTest, IsReadBackAsItWasWritten) {
  const std::string text = ToJson(DefaultSpec(), true);
  auto spec = ParseSpec(text);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(ToJson(*spec, true), text);
  EXPECT_THAT(text, HasSubstr("\n\t\"process\": {\n\t\t\"terminal\": true"));
}

TEST(DefaultSpecTest, GivesNothingInheritable) {
  const Capabilities capabilities = *DefaultSpec().process->capabilities;
  EXPECT_TRUE(capabilities.inheritable.empty());
  EXPECT_TRUE(capabilities.ambient.empty());
  EXPECT_THAT(capabilities.bounding, Contains("CAP_KILL"));
  EXPECT_THAT(capabilities.bounding, Not(Contains("CAP_SYS_ADMIN")));
}

// The action for a call with these arguments that the rules of `profile` give, as libseccomp reads them:
// rules are alternatives, the arguments of one rule must all match.
SeccompAction Judge(const Seccomp& profile, const std::string& call, uint64_t arg0) {
  for (const SeccompSyscall& rule : profile.syscalls) {
    if (std::find(rule.names.begin(), rule.names.end(), call) == rule.names.end()) continue;
    bool match = true;
    for (const SeccompArg& arg : rule.args) {
      switch (arg.op) {
        case SeccompOp::kEq:
          match = match && arg0 == arg.value;
          break;
        case SeccompOp::kLt:
          match = match && arg0 < arg.value;
          break;
        case SeccompOp::kGt:
          match = match && arg0 > arg.value;
          break;
        case SeccompOp::kMaskedEq:
          match = match && (arg0 & arg.value) == arg.value_two;
          break;
        default:
          ADD_FAILURE();
      }
    }
    if (match) return rule.action;
  }
  return profile.default_action;
}

TEST(DefaultSeccompTest, DeniesWhatReachesTheHost) {
  const Seccomp profile = DefaultSeccomp(DefaultCapabilities());
  for (const char* call :
       {"mount", "bpf", "kexec_load", "init_module", "keyctl", "add_key", "unshare", "setns", "reboot",
        "io_uring_setup", "open_by_handle_at", "userfaultfd", "swapon", "no_such_call"}) {
    EXPECT_EQ(Judge(profile, call, 0), SeccompAction::kErrno) << call;
  }
  for (const char* call : {"read", "openat", "execve", "clone", "socket", "personality", "chroot", "statx"}) {
    EXPECT_EQ(Judge(profile, call, 0), SeccompAction::kAllow) << call;
  }
}

TEST(DefaultSeccompTest, DeniesVsockAndAlgSockets) {
  const Seccomp profile = DefaultSeccomp({"CAP_SYS_ADMIN"});
  for (uint64_t family = 0; family < 64; ++family) {
    const bool denied = family == 38 || family == 40;
    EXPECT_EQ(Judge(profile, "socket", family), denied ? SeccompAction::kErrno : SeccompAction::kAllow)
        << family;
  }
}

TEST(DefaultSeccompTest, CapabilitiesOpenTheirCalls) {
  const Seccomp admin = DefaultSeccomp({"CAP_SYS_ADMIN"});
  EXPECT_EQ(Judge(admin, "mount", 0), SeccompAction::kAllow);
  EXPECT_EQ(Judge(admin, "clone", 0x10000000), SeccompAction::kAllow);
  const Seccomp none = DefaultSeccomp({});
  EXPECT_EQ(Judge(none, "clone", 0x10000000), SeccompAction::kErrno);
  EXPECT_EQ(Judge(none, "clone", 0x11), SeccompAction::kAllow);
  const auto rule = std::find_if(none.syscalls.begin(), none.syscalls.end(), [](const SeccompSyscall& r) {
    return r.names == std::vector<std::string>{"clone3"};
  });
  ASSERT_NE(rule, none.syscalls.end());
  EXPECT_EQ(rule->errno_ret, static_cast<uint32_t>(ENOSYS));
}

TEST(FeaturesTest, NamesEveryHookAndVersion) {
  FeatureFacts facts;
  facts.mount_options = {"ro"};
  const std::string text = FeaturesJson(facts);
  EXPECT_THAT(text, HasSubstr("\"ociVersionMax\": \"1.3.0\""));
  EXPECT_THAT(text, HasSubstr("\"startContainer\""));
  EXPECT_THAT(text, HasSubstr("\"SCMP_ACT_NOTIFY\""));
  EXPECT_THAT(text, HasSubstr("\"MPOL_WEIGHTED_INTERLEAVE\""));
  EXPECT_THAT(text, HasSubstr("\"monitoring\": true"));
  EXPECT_THAT(text, HasSubstr("\"potentiallyUnsafeConfigAnnotations\""));
  EXPECT_GE(AllCapabilities().size(), 41u);
}

}  // namespace
}  // namespace gantry::oci
