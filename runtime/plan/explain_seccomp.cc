#include "runtime/plan/explain_seccomp.h"

#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/plan/words.h"

namespace gantry::plan {
namespace {

using oci::SeccompAction;

bool LetsThrough(SeccompAction action) {
  return action == SeccompAction::kAllow || action == SeccompAction::kLog;
}

// What the rules say of one name. A name may have several rules: with and without conditions on arguments.
struct Verdict {
  bool allowed = false, allowed_sometimes = false, refused = false;
};

std::map<std::string, Verdict> Judge(const oci::Seccomp& profile) {
  std::map<std::string, Verdict> verdicts;
  for (const oci::SeccompSyscall& rule : profile.syscalls) {
    for (const std::string& name : rule.names) {
      Verdict& verdict = verdicts[name];
      if (LetsThrough(rule.action)) {
        (rule.args.empty() ? verdict.allowed : verdict.allowed_sometimes) = true;
      } else if (rule.args.empty()) {
        verdict.refused = true;
      } else if (LetsThrough(profile.default_action)) {
        verdict.allowed_sometimes = true;
      }
    }
  }
  return verdicts;
}

std::string Answer(SeccompAction action, std::optional<uint32_t> errno_ret) {
  std::string text(oci::SeccompActionName(action));
  if (action != SeccompAction::kErrno) return text;
  const uint32_t value = errno_ret.value_or(EPERM);
  const char* name = strerrorname_np(static_cast<int>(value));
  return absl::StrCat(text, " (", name != nullptr ? name : absl::StrCat(value), ")");
}

std::string Calls(uint64_t count) { return absl::StrCat(count, count == 1 ? " call" : " calls"); }

void Add(Section* section, const char* what, std::string value, const char* meaning) {
  section->rows.push_back({{{"what", what}, {"value", std::move(value)}}, meaning});
}

}  // namespace

void ExplainSeccomp(const oci::Seccomp& profile, Section* summary, Section* dangerous) {
  const std::map<std::string, Verdict> verdicts = Judge(profile);
  const bool open = LetsThrough(profile.default_action);
  uint64_t always = 0, sometimes = 0, refused = 0;
  for (const auto& [name, verdict] : verdicts) {
    if (verdict.allowed) {
      always++;
    } else if (verdict.allowed_sometimes) {
      sometimes++;
    } else if (verdict.refused) {
      refused++;
    }
  }
  Add(summary, "by default", Answer(profile.default_action, profile.default_errno_ret),
      "what a call gets that no rule names");
  if (!open) Add(summary, "allowed", Calls(always), "");
  Add(summary, "allowed at times", Calls(sometimes), "depending on their arguments");
  Add(summary, "refused", Calls(refused), "by rules of their own");
  if (!profile.architectures.empty()) {
    Add(summary, "architectures", absl::StrJoin(profile.architectures, ","), "besides the machine's own");
  }
  if (!profile.flags.empty()) Add(summary, "flags", absl::StrJoin(profile.flags, ","), "");
  if (!profile.listener_path.empty()) {
    Add(summary, "listener", profile.listener_path, "gets the descriptor of SCMP_ACT_NOTIFY");
  }
  for (const DangerousCall& call : DangerousCalls()) {
    const auto found = verdicts.find(call.name);
    const bool named = found != verdicts.end();
    const bool always_allowed =
        named ? found->second.allowed || (open && !found->second.refused && !found->second.allowed_sometimes)
              : open;
    const bool at_times = named && found->second.allowed_sometimes && !found->second.refused;
    if (!always_allowed && !at_times) continue;
    dangerous->rows.push_back(
        {{{"name", call.name}, {"when", always_allowed ? "always" : "depending on arguments"}},
         call.meaning});
  }
  dangerous->nothing = "none";
}

}  // namespace gantry::plan
