#include "runtime/plan/mount_options.h"

#include <sys/mount.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace gantry::plan {
namespace {

struct AttrOption {
  const char* name;
  uint64_t bit;
  bool clear;
};

// The access-time modes are one field of the attribute word: setting one of them clears the field first.
constexpr AttrOption kAttrOptions[] = {
    {"ro", MOUNT_ATTR_RDONLY, false},
    {"rw", MOUNT_ATTR_RDONLY, true},
    {"nosuid", MOUNT_ATTR_NOSUID, false},
    {"suid", MOUNT_ATTR_NOSUID, true},
    {"nodev", MOUNT_ATTR_NODEV, false},
    {"dev", MOUNT_ATTR_NODEV, true},
    {"noexec", MOUNT_ATTR_NOEXEC, false},
    {"exec", MOUNT_ATTR_NOEXEC, true},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, false},
    {"diratime", MOUNT_ATTR_NODIRATIME, true},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, false},
    {"symfollow", MOUNT_ATTR_NOSYMFOLLOW, true},
};

struct AtimeOption {
  const char* name;
  uint64_t mode;
};
constexpr AtimeOption kAtimeOptions[] = {
    {"relatime", MOUNT_ATTR_RELATIME},       {"norelatime", MOUNT_ATTR_STRICTATIME},
    {"noatime", MOUNT_ATTR_NOATIME},         {"atime", MOUNT_ATTR_RELATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME}, {"nostrictatime", MOUNT_ATTR_RELATIME},
};

struct PropagationOption {
  const char* name;
  uint64_t value;
};
constexpr PropagationOption kPropagationOptions[] = {
    {"private", MS_PRIVATE}, {"shared", MS_SHARED}, {"slave", MS_SLAVE}, {"unbindable", MS_UNBINDABLE}};

// Flags of the superblock: the file system's, by fsconfig(2).
constexpr const char* kSuperblockFlags[] = {"sync", "dirsync", "mand", "lazytime"};
// Their opposites are what holds anyway; the others have no effect on any present kernel.
constexpr const char* kIgnored[] = {"async",    "nomand",   "nolazytime", "silent", "loud",
                                    "defaults", "iversion", "noiversion", "acl",    "noacl"};

template <typename List>
bool Contains(const List& list, absl::string_view name) {
  return std::any_of(std::begin(list), std::end(list), [name](const char* item) { return name == item; });
}

void Apply(uint64_t bit, bool clear, uint64_t* set, uint64_t* cleared) {
  if (clear) {
    *set &= ~bit;
    *cleared |= bit;
  } else {
    *set |= bit;
    *cleared &= ~bit;
  }
}

bool ParseAttribute(absl::string_view option, MountAttr* attr) {
  // "rro" is "ro" for the whole tree, but "ro" and "rw" themselves start with an r: the whole name comes first.
  for (const bool recursive : {false, true}) {
    absl::string_view name = option;
    if (recursive) {
      if (name.empty() || name.front() != 'r') return false;
      name.remove_prefix(1);
    }
    uint64_t* set = recursive ? &attr->recursive_set : &attr->set;
    uint64_t* clear = recursive ? &attr->recursive_clear : &attr->clear;
    for (const AttrOption& known : kAttrOptions) {
      if (name == known.name) {
        Apply(known.bit, known.clear, set, clear);
        return true;
      }
    }
    for (const AtimeOption& known : kAtimeOptions) {
      if (name == known.name) {
        *set = (*set & ~static_cast<uint64_t>(MOUNT_ATTR__ATIME)) | known.mode;
        *clear |= MOUNT_ATTR__ATIME;
        return true;
      }
    }
  }
  return false;
}

bool ParseOne(absl::string_view option, MountOptions* result) {
  if (ParseAttribute(option, &result->attr) || ParsePropagation(option, &result->attr.propagation))
    return true;
  if (option == "bind" || option == "rbind") {
    result->bind = true;
    result->recursive_bind = option == "rbind";
  } else if (option == "tmpcopyup") {
    result->copy_up = true;
  } else if (option == "idmap" || option == "ridmap") {
    result->idmap = true;
    result->recursive_idmap = option == "ridmap";
  } else if (Contains(kSuperblockFlags, option)) {
    result->params.push_back({std::string(option), std::nullopt});
  } else {
    return Contains(kIgnored, option);
  }
  return true;
}

}  // namespace

bool ParsePropagation(absl::string_view text, Propagation* propagation) {
  for (const bool recursive : {false, true}) {
    absl::string_view name = text;
    if (recursive) {
      if (name.empty() || name.front() != 'r') return false;
      name.remove_prefix(1);
    }
    for (const PropagationOption& known : kPropagationOptions) {
      if (name == known.name) {
        *propagation = Propagation{known.value, recursive};
        return true;
      }
    }
  }
  return false;
}

absl::StatusOr<MountOptions> ParseMountOptions(const std::vector<std::string>& options) {
  MountOptions result;
  for (const std::string& option : options) {
    if (option.empty()) return absl::InvalidArgumentError("a mount option must not be empty");
    if (option == "remount") {
      return absl::InvalidArgumentError("\"remount\" is not possible: give the mount its final options");
    }
    if (ParseOne(option, &result)) continue;
    const size_t equals = option.find('=');
    if (equals == std::string::npos) {
      result.params.push_back({option, std::nullopt});
    } else {
      result.params.push_back({option.substr(0, equals), option.substr(equals + 1)});
    }
  }
  return result;
}

std::vector<std::string> KnownMountOptions() {
  std::vector<std::string> names = {"bind", "rbind", "tmpcopyup", "idmap", "ridmap"};
  for (const AttrOption& option : kAttrOptions) {
    names.push_back(option.name);
    names.push_back(absl::StrCat("r", option.name));
  }
  for (const AtimeOption& option : kAtimeOptions) {
    names.push_back(option.name);
    names.push_back(absl::StrCat("r", option.name));
  }
  for (const PropagationOption& option : kPropagationOptions) {
    names.push_back(option.name);
    names.push_back(absl::StrCat("r", option.name));
  }
  names.insert(names.end(), std::begin(kSuperblockFlags), std::end(kSuperblockFlags));
  names.insert(names.end(), std::begin(kIgnored), std::end(kIgnored));
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace gantry::plan
