#include "runtime/plan/print.h"

#include <sched.h>
#include <sys/mount.h>

#include <map>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/oci/json_writer.h"
#include "runtime/plan/capabilities.h"
#include "runtime/sys/dbus_value.h"

namespace gantry::plan {
namespace {

using oci::JsonWriter;
using Words = std::vector<std::string>;

struct Name {
  uint64_t bit;
  const char* text;
};

constexpr Name kCloneFlags[] = {
    {CLONE_NEWUSER, "NEWUSER"},     {CLONE_NEWPID, "NEWPID"},   {CLONE_NEWNS, "NEWNS"},
    {CLONE_NEWNET, "NEWNET"},       {CLONE_NEWIPC, "NEWIPC"},   {CLONE_NEWUTS, "NEWUTS"},
    {CLONE_NEWCGROUP, "NEWCGROUP"}, {CLONE_NEWTIME, "NEWTIME"},
};
constexpr Name kMountAttrs[] = {
    {MOUNT_ATTR_RDONLY, "ro"},
    {MOUNT_ATTR_NOSUID, "nosuid"},
    {MOUNT_ATTR_NODEV, "nodev"},
    {MOUNT_ATTR_NOEXEC, "noexec"},
    {MOUNT_ATTR_NOATIME, "noatime"},
    {MOUNT_ATTR_STRICTATIME, "strictatime"},
    {MOUNT_ATTR_NODIRATIME, "nodiratime"},
    {MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow"},
};
constexpr Name kPropagations[] = {
    {MS_SHARED, "shared"},
    {MS_SLAVE, "slave"},
    {MS_PRIVATE, "private"},
    {MS_UNBINDABLE, "unbindable"},
};

// The names of the bits of `value`; bits without a name as one hexadecimal number.
template <size_t n>
Words NamesOf(uint64_t value, const Name (&names)[n], absl::string_view prefix = "") {
  Words words;
  for (const Name& name : names) {
    if ((value & name.bit) == 0) continue;
    words.push_back(absl::StrCat(prefix, name.text));
    value &= ~name.bit;
  }
  if (value != 0) words.push_back(absl::StrFormat("%s%#x", prefix, value));
  return words;
}

Words WordsOf(const CloneFlags& flags) { return NamesOf(flags.value, kCloneFlags); }

Words WordsOf(const Propagation& propagation) {
  return NamesOf(propagation.value, kPropagations, propagation.recursive ? "r" : "");
}

// "+ro" is set, "-ro" cleared, "+rro" set on the whole tree.
Words WordsOf(const MountAttr& attr) {
  Words words;
  const auto add = [&words](const Words& more) { words.insert(words.end(), more.begin(), more.end()); };
  add(NamesOf(attr.set, kMountAttrs, "+"));
  add(NamesOf(attr.clear, kMountAttrs, "-"));
  add(NamesOf(attr.recursive_set, kMountAttrs, "+r"));
  add(NamesOf(attr.recursive_clear, kMountAttrs, "-r"));
  add(WordsOf(attr.propagation));
  return words;
}

Words WordsOf(const std::vector<Param>& params) {
  Words words;
  for (const Param& param : params) {
    words.push_back(param.value.has_value() ? absl::StrCat(param.key, "=", *param.value) : param.key);
  }
  return words;
}

Words WordsOf(const std::vector<oci::IdMapping>& mappings) {
  Words words;
  for (const oci::IdMapping& map : mappings) {
    words.push_back(absl::StrCat(map.container_id, ":", map.host_id, ":", map.size));
  }
  return words;
}

Words WordsOf(const std::vector<std::pair<std::string, oci::TimeOffset>>& offsets) {
  Words words;
  for (const auto& [clock, offset] : offsets) {
    words.push_back(absl::StrFormat("%s%+d.%09u", clock, offset.secs, offset.nanosecs));
  }
  return words;
}

Words WordsOf(const std::vector<oci::Hook>& hooks) {
  Words words;
  for (const oci::Hook& hook : hooks) words.push_back(hook.path);
  return words;
}

// How many system calls each action is for, beside the default.
Words WordsOf(const oci::Seccomp& profile) {
  Words words = {absl::StrCat("default:", oci::SeccompActionName(profile.default_action))};
  std::map<std::string, size_t> counts;
  for (const oci::SeccompSyscall& rule : profile.syscalls) {
    counts[std::string(oci::SeccompActionName(rule.action))] += rule.names.size();
  }
  for (const auto& [action, count] : counts) words.push_back(absl::StrCat(action, ":", count));
  return words;
}

Words WordsOf(const Words& words) { return words; }
Words WordsOf(oci::NamespaceType type) { return {std::string(oci::NamespaceTypeName(type))}; }
Words WordsOf(const std::vector<uint32_t>& numbers) {
  Words words;
  for (const uint32_t number : numbers) words.push_back(absl::StrCat(number));
  return words;
}
Words WordsOf(const std::vector<uint64_t>& masks) {
  Words words;
  for (const uint64_t mask : masks) words.push_back(absl::StrFormat("%#x", mask));
  return words;
}

Words CapabilityWords(uint64_t mask) {
  Words words;
  for (int bit = 0; bit < 64; bit++) {
    if ((mask >> bit & 1) != 0) words.push_back(CapabilityName(bit));
  }
  return words;
}

bool IsCapabilitySet(absl::string_view member) {
  return member == "bounding" || member == "effective" || member == "permitted" || member == "inheritable" ||
         member == "ambient";
}

// ---- text --------------------------------------------------------------------------------------------------

class TextVisitor {
 public:
  explicit TextVisitor(bool capabilities) : capabilities_(capabilities) {}

  void operator()(const char* member, const std::string& value) {
    if (!value.empty()) Add(member, Word(value));
  }
  void operator()(const char* member, bool value) {
    if (value) absl::StrAppend(&line_, " ", member);
  }
  template <typename T>
  requires std::is_arithmetic_v<T>
  void operator()(const char* member, T value) {
    if (capabilities_ && IsCapabilitySet(member))
      return (*this)(member, CapabilityWords(static_cast<uint64_t>(value)));
    if (value != T{}) Add(member, absl::StrCat(value));
  }
  void operator()(const char*, const cgroup::Plan& plan) {
    if (plan.scope.has_value()) {
      absl::StrAppend(&below_, "    systemd ", plan.scope->user ? "of the user" : "of the system", ": start ",
                      Word(plan.scope->unit), "\n");
      for (const cgroup::SystemdProperty& property : plan.scope->properties) {
        absl::StrAppend(&below_, "      ", property.name, "=", Word(sys::ToText(property.value)), "\n");
      }
    }
    for (const cgroup::Directory& directory : plan.directories) {
      absl::StrAppend(&below_, "    mkdir ", Word(directory.path), "\n");
    }
    for (const auto* writes : {&plan.writes, &plan.late_writes}) {
      for (const cgroup::FileWrite& write : *writes) {
        absl::StrAppend(&below_, "    ", Word(write.value), " > ", write.file, "  (", write.setting, ")\n");
      }
    }
    if (plan.owner_uid.has_value()) absl::StrAppend(&below_, "    chown ", *plan.owner_uid, "\n");
    if (plan.device_program.has_value()) {
      absl::StrAppend(&below_, "    device program: ", plan.device_program->default_allow ? "all" : "none",
                      " but ", plan.device_program->exceptions.size(), " rules\n");
    }
  }
  template <typename T>
  requires requires(const T& value) { WordsOf(value); }
  void operator()(const char* member, const T& value) {
    Words words = WordsOf(value);
    if (words.empty()) return;
    for (std::string& word : words) word = Word(word);
    Add(member, absl::StrJoin(words, ","));
  }

  std::string Take(absl::string_view name) const {
    // Padded only where something follows.
    if (line_.empty()) return absl::StrCat(name, "\n", below_);
    return absl::StrFormat("%-22s%s\n%s", name, line_, below_);
  }

 private:
  void Add(const char* member, absl::string_view value) { absl::StrAppend(&line_, " ", member, "=", value); }

  const bool capabilities_;
  std::string line_, below_;
};

// ---- JSON --------------------------------------------------------------------------------------------------

class JsonVisitor {
 public:
  JsonVisitor(JsonWriter* json, bool capabilities) : json_(json), capabilities_(capabilities) {}

  void operator()(const char* member, const std::string& value) { json_->Member(member, value); }
  template <typename T>
  requires std::is_arithmetic_v<T>
  void operator()(const char* member, T value) {
    if (capabilities_ && IsCapabilitySet(member)) {
      json_->Member(member, CapabilityWords(static_cast<uint64_t>(value)));
    } else {
      json_->Member(member, value);
    }
  }
  void operator()(const char* member, oci::NamespaceType type) {
    json_->Member(member, oci::NamespaceTypeName(type));
  }
  void operator()(const char*, const cgroup::Plan& plan) {
    if (plan.scope.has_value()) WriteScope(*plan.scope);
    json_->Key("directories");
    json_->StartArray();
    for (const cgroup::Directory& directory : plan.directories) json_->Value(directory.path);
    json_->EndArray();
    json_->Key("writes");
    json_->StartArray();
    for (const auto* writes : {&plan.writes, &plan.late_writes}) {
      for (const cgroup::FileWrite& write : *writes) {
        json_->StartObject();
        json_->Member("directory", plan.directories[write.directory].path);
        json_->Member("file", write.file);
        json_->Member("value", write.value);
        json_->Member("setting", write.setting);
        json_->EndObject();
      }
    }
    json_->EndArray();
    if (plan.device_program.has_value()) {
      json_->Member("deviceExceptions", static_cast<uint64_t>(plan.device_program->exceptions.size()));
    }
  }
  template <typename T>
  requires requires(const T& value) { WordsOf(value); }
  void operator()(const char* member, const T& value) { json_->Member(member, WordsOf(value)); }

 private:
  void WriteScope(const cgroup::SystemdScope& scope) {
    json_->Key("systemd");
    json_->StartObject();
    json_->Member("manager", scope.user ? "user" : "system");
    json_->Member("unit", scope.unit);
    json_->Key("properties");
    json_->StartArray();
    for (const cgroup::SystemdProperty& property : scope.properties) {
      json_->StartObject();
      json_->Member("name", property.name);
      json_->Member("value", sys::ToText(property.value));
      json_->EndObject();
    }
    json_->EndArray();
    json_->EndObject();
  }

  JsonWriter* json_;
  const bool capabilities_;
};

template <typename T>
constexpr bool kHasCapabilities = std::is_same_v<T, SetCapabilities>;

}  // namespace

std::string Word(absl::string_view text) {
  bool plain = !text.empty();
  for (const unsigned char c : text) plain = plain && c > ' ' && c != '"' && c != 0x7f;
  if (plain) return std::string(text);
  std::string quoted = "\"";
  for (const unsigned char c : text) {
    if (c == '"' || c == '\\') {
      absl::StrAppend(&quoted, "\\", std::string(1, static_cast<char>(c)));
    } else if (c < ' ' || c == 0x7f) {
      absl::StrAppendFormat(&quoted, "\\x%02x", c);
    } else {
      quoted.push_back(static_cast<char>(c));
    }
  }
  return quoted + "\"";
}

std::vector<std::string> MountAttrWords(const MountAttr& attr) { return WordsOf(attr); }

std::vector<std::string> ParamWords(const std::vector<Param>& params) { return WordsOf(params); }

std::string ToText(const Operation& operation) {
  return std::visit(
      [](const auto& op) {
        using Op = std::decay_t<decltype(op)>;
        TextVisitor visitor(kHasCapabilities<Op>);
        op.Fields(visitor);
        return visitor.Take(Op::kName);
      },
      operation);
}

std::string ToText(const Plan& plan) {
  std::string text;
  for (const Operation& operation : plan.operations) text += ToText(operation);
  for (const std::string& warning : plan.warnings) absl::StrAppend(&text, "warning: ", Word(warning), "\n");
  return text;
}

void WriteMembers(oci::JsonWriter& json, const Plan& plan) {
  json.Key("operations");
  json.StartArray();
  for (const Operation& operation : plan.operations) {
    std::visit(
        [&json](const auto& op) {
          using Op = std::decay_t<decltype(op)>;
          json.StartObject();
          json.Member("op", Op::kName);
          op.Fields(JsonVisitor(&json, kHasCapabilities<Op>));
          json.EndObject();
        },
        operation);
  }
  json.EndArray();
  json.Member("warnings", plan.warnings);
}

std::string ToJson(const Plan& plan, bool pretty) {
  JsonWriter json(pretty);
  json.StartObject();
  WriteMembers(json, plan);
  json.EndObject();
  return json.Take();
}

}  // namespace gantry::plan
