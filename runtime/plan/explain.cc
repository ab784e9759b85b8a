#include "runtime/plan/explain.h"

#include <sched.h>
#include <sys/mount.h>

#include <array>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "runtime/plan/capabilities.h"
#include "runtime/plan/explain_seccomp.h"
#include "runtime/plan/print.h"
#include "runtime/plan/words.h"

namespace gantry::plan {
namespace {

using oci::NamespaceType;

constexpr std::pair<NamespaceType, uint64_t> kNamespaces[] = {
    {NamespaceType::kUser, CLONE_NEWUSER},     {NamespaceType::kMount, CLONE_NEWNS},
    {NamespaceType::kPid, CLONE_NEWPID},       {NamespaceType::kNetwork, CLONE_NEWNET},
    {NamespaceType::kIpc, CLONE_NEWIPC},       {NamespaceType::kUts, CLONE_NEWUTS},
    {NamespaceType::kCgroup, CLONE_NEWCGROUP}, {NamespaceType::kTime, CLONE_NEWTIME},
};

// "100000 to 165535"
std::string Range(uint64_t first, uint64_t size) {
  return size == 1 ? absl::StrCat(first) : absl::StrCat(first, " to ", first + size - 1);
}

// "64 MiB" of a number of bytes that is a round one; otherwise "".
std::string Bytes(absl::string_view text) {
  uint64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < 1024) return "";
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  size_t unit = 0;
  for (value /= 1024; value >= 1024 && value % 1024 == 0 && unit + 1 < std::size(kUnits); unit++)
    value /= 1024;
  return absl::StrCat(value, " ", kUnits[unit]);
}

std::string Mode(uint32_t mode) { return absl::StrFormat("%04o", mode); }

// The opposite of a mount option.
std::string Opposite(absl::string_view word) {
  if (word == "ro") return "rw";
  if (word == "rro") return "rrw";
  const bool recursive = absl::StartsWith(word, "rno");
  return absl::StrCat(recursive ? "r" : "", word.substr(recursive ? 3 : 2));
}

// The words of a mount's attributes as mount(8) has them.
std::vector<std::string> OptionWords(MountAttr attr) {
  std::vector<std::string> words;
  // Choosing one of the kinds of access times clears all of them first.
  if ((attr.clear & MOUNT_ATTR__ATIME) == MOUNT_ATTR__ATIME) {
    attr.clear &= ~uint64_t{MOUNT_ATTR__ATIME};
    if ((attr.set & MOUNT_ATTR__ATIME) == 0) words.emplace_back("relatime");
  }
  for (const std::string& word : MountAttrWords(attr)) {
    words.push_back(word[0] == '+' ? word.substr(1) : word[0] == '-' ? Opposite(word.substr(1)) : word);
  }
  return words;
}

// Builds the sections: one overload per operation that has a subject.
class Explainer {
 public:
  explicit Explainer(const Plan& plan) : plan_(plan) {
    for (const Operation& operation : plan.operations) {
      if (const auto* tree = std::get_if<OpenTree>(&operation)) trees_[tree->slot] = tree;
      if (const auto* made = std::get_if<NewMount>(&operation)) made_[made->slot] = made;
      if (const auto* opened = std::get_if<OpenNamespace>(&operation)) opened_[opened->type] = opened;
      if (const auto* clone = std::get_if<Clone>(&operation)) new_namespaces_ = clone->flags.value;
      if (std::holds_alternative<UnshareCgroupNamespace>(operation)) new_namespaces_ |= CLONE_NEWCGROUP;
    }
  }

  Explanation Take() && {
    Namespaces();
    for (const Operation& operation : plan_.operations) {
      if (!std::visit(*this, operation)) also_.rows.push_back({{{"operation", OneLine(operation)}}, ""});
    }
    Explanation result;
    for (Section* section : {&namespaces_, &identities_, &names_, &cgroups_, &limits_, &mounts_, &hidden_,
                             &devices_, &capabilities_, &seccomp_, &calls_, &hooks_, &program_, &also_}) {
      if (!section->rows.empty() || !section->nothing.empty()) result.sections.push_back(std::move(*section));
    }
    result.warnings = plan_.warnings;
    return result;
  }

  // Without a subject of their own: told by another operation, or a step on the way.
  template <typename T>
  bool operator()(const T&) {
    return false;
  }
  bool operator()(const OpenNamespace&) { return true; }
  bool operator()(const OpenTree&) { return true; }
  bool operator()(const NewMount&) { return true; }
  bool operator()(const ConnectSeccompAgent&) { return true; }
  bool operator()(const JoinCgroup&) { return true; }
  bool operator()(const JoinNamespace&) { return true; }
  bool operator()(const AwaitIdMaps&) { return true; }
  bool operator()(const UnshareCgroupNamespace&) { return true; }
  bool operator()(const BecomeRoot&) { return true; }
  bool operator()(const SlaveMounts&) { return true; }
  bool operator()(const SetStdio&) { return true; }
  bool operator()(const FindHome&) { return true; }
  bool operator()(const AwaitStart&) { return true; }
  bool operator()(const NewSession&) { return true; }

  bool operator()(const Clone& op) {
    for (const auto& [clock, offset] : op.time_offsets) {
      names_.rows.push_back({{{"what", absl::StrCat("clock ", clock)},
                              {"value", absl::StrFormat("%+d.%09u s", offset.secs, offset.nanosecs)}},
                             "shifted against the host's"});
    }
    return true;
  }
  bool operator()(const WriteIdMaps& op) {
    IdMaps("user", op.uid_mappings);
    IdMaps("group", op.gid_mappings);
    return true;
  }
  bool operator()(const SetHostname& op) { return Name("host name", op.name, ""); }
  bool operator()(const SetDomainname& op) { return Name("domain name", op.name, ""); }
  bool operator()(const LoopbackUp&) {
    return Name("interface lo", "up", "the only one of a new network namespace");
  }
  bool operator()(const WriteSysctl& op) {
    return Name(absl::StrCat("sysctl ", op.key), op.value, "of the container's own namespace");
  }

  bool operator()(const CreateCgroup& op) {
    for (const cgroup::Directory& directory : op.plan.directories) {
      cgroups_.rows.push_back({{{"path", directory.path}, {"controllers", directory.controllers}},
                               directory.version == 2 ? "version 2" : "version 1"});
    }
    for (const cgroup::FileWrite& write : op.plan.writes) {
      const bool bytes = absl::StartsWith(write.setting, "linux.resources.memory") ||
                         absl::StartsWith(write.setting, "linux.resources.hugepageLimits");
      limits_.rows.push_back(
          {{{"file", absl::StrCat(op.plan.directories[write.directory].path, "/", write.file)},
            {"value", write.value},
            {"setting", write.setting}},
           bytes ? Bytes(write.value) : ""});
    }
    if (op.plan.device_program.has_value()) DeviceProgram(*op.plan.device_program);
    return true;
  }

  bool operator()(const AttachRoot& op) {
    Root(op.slot);
    return true;
  }
  bool operator()(const MountRootByPath& op) {
    AddMount("/", op.type, op.source, {op.data}, "the container's root file system");
    return true;
  }
  bool operator()(const MountFilesystem& op) {
    std::vector<std::string> options = OptionWords(op.attr);
    for (const std::string& word : ParamWords(op.params)) options.push_back(word);
    if (op.copy_up) options.push_back("tmpcopyup");
    AddMount(op.destination, op.type, "", std::move(options),
             op.copy_up ? "new, filled with what it covers" : "new");
    return true;
  }
  bool operator()(const AttachMount& op) {
    const auto tree = trees_.find(op.slot);
    const auto made = made_.find(op.slot);
    if (tree != trees_.end()) {
      const OpenTree& from = *tree->second;
      std::vector<std::string> options = OptionWords(from.attr);
      if (!from.uid_mappings.empty()) options.push_back(from.idmap_recursive ? "ridmap" : "idmap");
      AddMount(op.destination, from.recursive ? "rbind" : "bind", from.source, std::move(options),
               "the host's own files");
    } else if (made != made_.end()) {
      AddMount(op.destination, made->second->type, made->second->source, ParamWords(made->second->params),
               "new");
    }
    return true;
  }
  bool operator()(const SetMountAttr& op) {
    AddMount(op.destination, "change", "", OptionWords(op.attr), "once it is filled");
    return true;
  }
  bool operator()(const SetRootAttr& op) {
    MountAttr attr;
    if (op.readonly) attr.set = MOUNT_ATTR_RDONLY;
    attr.propagation = op.propagation;
    AddMount("/", "change", "", OptionWords(attr),
             op.readonly ? "nothing can be written outside of mounts" : "");
    return true;
  }
  bool operator()(const SwitchRoot& op) {
    AddMount(
        "/", op.pivot ? "pivot_root" : "chroot", "", {},
        op.pivot ? "from here on the host's files have no name" : "the host's mounts stay, out of reach");
    return true;
  }
  bool operator()(const MaskPath& op) {
    return Hidden(op.hidden.path, "masked", "empty: a file reads as nothing");
  }
  bool operator()(const ReadonlyPath& op) {
    return Hidden(op.hidden.path, "read-only", "can be read, not changed");
  }

  bool operator()(const MakeDevice& op) {
    const std::string number =
        op.type == 'p' ? "fifo" : absl::StrFormat("%c %d:%d", op.type, op.major, op.minor);
    devices_.rows.push_back({{{"path", op.path}, {"what", number}, {"mode", Mode(op.mode)}},
                             op.uid == 0 && op.gid == 0 ? "" : absl::StrCat("of ", op.uid, ":", op.gid)});
    return true;
  }
  bool operator()(const MakeSymlink& op) {
    devices_.rows.push_back(
        {{{"path", op.path}, {"what", absl::StrCat("link to ", op.target)}, {"mode", ""}}, ""});
    return true;
  }
  bool operator()(const OpenTerminal& op) {
    devices_.rows.push_back(
        {{{"path", op.console ? "/dev/console" : "/dev/pts"}, {"what", "terminal"}, {"mode", ""}},
         "standard input, output and error"});
    return true;
  }

  bool operator()(const CompileSeccomp& op) {
    ExplainSeccomp(op.profile, &seccomp_, &calls_);
    return true;
  }
  bool operator()(const LoadSeccomp& op) {
    if (op.agent != kNoSlot) {
      seccomp_.rows.push_back({{{"what", "agent"}, {"value", "decides on the calls that notify it"}}, ""});
    }
    return true;
  }
  bool operator()(const SetCapabilities& op) {
    if (op.final) Capabilities(op);
    return true;
  }

  bool operator()(const HostHooks& op) {
    Hooks("prestart", "on the host, before the root is switched", op.prestart);
    Hooks("createRuntime", "on the host, before the root is switched", op.create_runtime);
    return true;
  }
  bool operator()(const ContainerHooks& op) {
    Hooks(op.start ? "startContainer" : "createContainer",
          op.start ? "in the container, before the program" : "in the namespaces, with the host's files",
          op.hooks);
    return true;
  }

  bool operator()(const SetRlimit& op) {
    const auto text = [](uint64_t value) {
      return value == ~uint64_t{0} ? "unlimited" : absl::StrCat(value);
    };
    return Setting(op.type, absl::StrCat(text(op.soft), ", at most ", text(op.hard)), "");
  }
  bool operator()(const SetOomScore& op) {
    return Setting("oom_score_adj", op.value, "when memory is short, the highest is killed first");
  }
  bool operator()(const SetLabel& op) { return Setting("label", op.label, op.path); }
  bool operator()(const NewKeyring& op) {
    return Setting("keyring", op.name, "its own, not the caller's keys");
  }
  bool operator()(const SetUmask& op) { return Setting("umask", Mode(op.mask), ""); }
  bool operator()(const EnterDirectory& op) {
    return op.may_be_denied ? Setting("directory", op.path, op.make ? "made if it is missing" : "") : true;
  }
  bool operator()(const SetUser& op) {
    Setting("user", absl::StrCat(op.uid, ":", op.gid), op.uid == 0 ? "root of the container" : "");
    return Setting("groups", op.groups, op.groups.empty() ? "no others" : "and no others");
  }
  bool operator()(const FindProgram& op) {
    if (op.candidates.size() == 1) return true;
    return Setting("looked for at", op.candidates, "the first that may be executed");
  }
  bool operator()(const CloseDescriptors& op) {
    return Setting("open files", op.preserve == 0 ? "0, 1, 2" : absl::StrCat("0 to ", op.preserve + 2),
                   "all others are closed");
  }
  bool operator()(const SetNoNewPrivileges&) {
    return Setting("no_new_privs", "set", "set-user-ID programs give it nothing");
  }
  bool operator()(const Exec& op) {
    Setting("environment", op.env, op.add_home ? "and HOME, from /etc/passwd" : "");
    return Setting("program", op.argv, "");
  }

 private:
  static std::string OneLine(const Operation& operation) {
    std::string text = ToText(operation);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  }

  void Namespaces() {
    for (const auto& [type, flag] : kNamespaces) {
      const auto joined = opened_.find(type);
      Row row;
      row.cells.push_back({"type", std::string(oci::NamespaceTypeName(type))});
      const bool own = joined != opened_.end() || (new_namespaces_ & flag) != 0;
      if (joined != opened_.end()) {
        row.cells.push_back({"how", absl::StrCat("joined: ", joined->second->path)});
      } else {
        row.cells.push_back({"how", std::string(own ? "new" : "shared")});
      }
      row.meaning = std::string(joined != opened_.end() ? "together with whoever is in it"
                                : own                   ? OwnNamespaceMeaning(type)
                                                        : SharedNamespaceMeaning(type));
      namespaces_.rows.push_back(std::move(row));
    }
  }

  void IdMaps(const char* kind, const std::vector<oci::IdMapping>& mappings) {
    for (const oci::IdMapping& map : mappings) {
      identities_.rows.push_back({{{"kind", kind},
                                   {"inside", Range(map.container_id, map.size)},
                                   {"outside", Range(map.host_id, map.size)}},
                                  ""});
    }
  }

  bool Name(std::string what, std::string value, std::string meaning) {
    names_.rows.push_back({{{"what", std::move(what)}, {"value", std::move(value)}}, std::move(meaning)});
    return true;
  }
  bool Hidden(const std::string& path, const char* how, const char* meaning) {
    hidden_.rows.push_back({{{"path", path}, {"how", how}}, meaning});
    return true;
  }
  bool Setting(std::string what, std::string value, std::string meaning) {
    program_.rows.push_back({{{"what", std::move(what)}, {"value", std::move(value)}}, std::move(meaning)});
    return true;
  }
  bool Setting(std::string what, std::vector<std::string> values, std::string meaning) {
    program_.rows.push_back({{{"what", std::move(what)}, {"value", std::move(values)}}, std::move(meaning)});
    return true;
  }
  bool Setting(std::string what, const std::vector<uint32_t>& values, std::string meaning) {
    std::vector<std::string> words;
    for (const uint32_t value : values) words.push_back(absl::StrCat(value));
    return Setting(std::move(what), std::move(words), std::move(meaning));
  }

  void AddMount(std::string destination, std::string type, std::string source,
                std::vector<std::string> options, std::string meaning) {
    mounts_.rows.push_back({{{"destination", std::move(destination)},
                             {"type", std::move(type)},
                             {"source", std::move(source)},
                             {"options", std::move(options)}},
                            std::move(meaning)});
  }

  void Root(Slot slot) {
    const auto tree = trees_.find(slot);
    const auto made = made_.find(slot);
    if (tree != trees_.end()) {
      AddMount("/", tree->second->recursive ? "rbind" : "bind", tree->second->source,
               OptionWords(tree->second->attr), "the container's root file system");
    } else if (made != made_.end()) {
      std::vector<std::string> options = OptionWords(made->second->attr);
      for (const std::string& word : ParamWords(made->second->params)) options.push_back(word);
      AddMount("/", made->second->type, made->second->source, std::move(options),
               "the container's root file system");
    }
  }

  void DeviceProgram(const cgroup::DevicePolicy& policy) {
    limits_.rows.push_back({{{"file", "(an eBPF program on the directory)"},
                             {"value", policy.default_allow ? "all devices but:" : "no devices but:"},
                             {"setting", "linux.resources.devices"}},
                            ""});
    const auto number = [](int64_t value) { return value < 0 ? std::string("*") : absl::StrCat(value); };
    for (const cgroup::DeviceRule& rule : policy.exceptions) {
      limits_.rows.push_back({{{"file", ""},
                               {"value", absl::StrCat(std::string(1, rule.type), " ", number(rule.major), ":",
                                                      number(rule.minor), " ", rule.access)},
                               {"setting", ""}},
                              ""});
    }
  }

  void Capabilities(const SetCapabilities& op) {
    const std::array<std::pair<const char*, uint64_t>, 5> sets = {{{"bounding", op.bounding},
                                                                   {"permitted", op.permitted},
                                                                   {"effective", op.effective},
                                                                   {"inheritable", op.inheritable},
                                                                   {"ambient", op.ambient}}};
    for (int bit = 0; bit < 64; bit++) {
      std::vector<std::string> in;
      for (const auto& [name, mask] : sets) {
        if ((mask >> bit & 1) != 0) in.emplace_back(name);
      }
      if (in.empty()) continue;
      capabilities_.rows.push_back(
          {{{"name", CapabilityName(bit)}, {"sets", std::move(in)}}, std::string(CapabilityMeaning(bit))});
    }
  }

  void Hooks(const char* when, const char* where, const std::vector<oci::Hook>& hooks) {
    for (const oci::Hook& hook : hooks) {
      const std::string timeout =
          hook.timeout.has_value() ? absl::StrCat(", at most ", *hook.timeout, " s") : "";
      hooks_.rows.push_back({{{"when", when},
                              {"path", hook.path},
                              {"args", hook.args.empty() ? std::vector<std::string>{hook.path} : hook.args}},
                             absl::StrCat(where, timeout)});
    }
  }

  const Plan& plan_;
  std::map<Slot, const OpenTree*> trees_;
  std::map<Slot, const NewMount*> made_;
  std::map<NamespaceType, const OpenNamespace*> opened_;
  uint64_t new_namespaces_ = 0;

  Section namespaces_ = {
      "namespaces", "Namespaces", "what the program sees of the system, and what it does not", {}, ""};
  Section identities_ = {
      "idMaps", "Identities", "which users and groups of the host those of the container are", {}, ""};
  Section names_ = {"names", "Names and settings", "of the namespaces that are the container's own", {}, ""};
  Section cgroups_ = {"cgroup",
                      "Control groups",
                      "directories of the kernel that hold, count and limit the processes",
                      {},
                      ""};
  Section limits_ = {"cgroupFiles", "Limits", "what is written into them", {}, "none: nothing is limited"};
  Section mounts_ = {"mounts", "Mounts", "what the file tree is made of, in this order", {}, ""};
  Section hidden_ = {"hiddenPaths",
                     "Hidden paths",
                     "files of the kernel that are covered or cannot be changed",
                     {},
                     "none: all of /proc and /sys can be used as far as permissions go"};
  Section devices_ = {"devices", "Devices", "what is made in /dev", {}, ""};
  Section capabilities_ = {"capabilities",
                           "Capabilities",
                           "the parts of root's power that it has",
                           {},
                           "none: root inside has no power but over its own files"};
  Section seccomp_ = {
      "seccomp", "System calls", "what may be asked of the kernel", {}, "no filter: every call may be made"};
  Section calls_ = {"dangerousCalls",
                    "Dangerous calls",
                    "calls that get through the filter and have led out of containers, or could",
                    {},
                    ""};
  Section hooks_ = {"hooks", "Hooks", "programs that run on the way", {}, ""};
  Section program_ = {"program", "Program", "what is executed in the end, and as whom", {}, ""};
  Section also_ = {"also", "Also", "operations of the plan that belong to none of the above", {}, ""};
};

}  // namespace

Explanation Explain(const Plan& plan) { return Explainer(plan).Take(); }

}  // namespace gantry::plan
