// spec and features.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cmd/gantry-oci/context.h"
#include "runtime/oci/features.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::oci_cli {
namespace {

// An ordinary user may do it all in a user namespace, but for the network and for what limits need.
void MakeRootless(oci::Spec* spec) {
  oci::Linux& linux = *spec->linux;
  linux.namespaces.erase(
      std::remove_if(linux.namespaces.begin(), linux.namespaces.end(),
                     [](const oci::Namespace& ns) { return ns.type == oci::NamespaceType::kNetwork; }),
      linux.namespaces.end());
  linux.namespaces.push_back({oci::NamespaceType::kUser, ""});
  linux.uid_mappings = {{0, geteuid(), 1}};
  linux.gid_mappings = {{0, getegid(), 1}};
  linux.resources.reset();
  // The host's /sys as it is, cgroups included: a new one belongs to whoever owns the network.
  auto& mounts = spec->mounts;
  mounts.erase(
      std::remove_if(mounts.begin(), mounts.end(),
                     [](const oci::Mount& mount) { return absl::StartsWith(mount.destination, "/sys/"); }),
      mounts.end());
  for (oci::Mount& mount : mounts) {
    if (mount.destination == "/sys") {
      mount.type = "none";
      mount.source = "/sys";
      mount.options = {"rbind", "nosuid", "noexec", "nodev", "ro"};
    }
    // Group 5, the terminals', is not mapped.
    mount.options.erase(std::remove(mount.options.begin(), mount.options.end(), "gid=5"),
                        mount.options.end());
  }
}

}  // namespace

Result Spec(const Context& context, const Arguments& arguments) {
  (void)context;
  oci::Spec spec = oci::DefaultSpec();
  if (arguments.Has("rootless")) MakeRootless(&spec);
  const std::string path = absl::StrCat(arguments.Find("bundle").value_or("."), "/config.json");
  auto fd = sys::OpenAt(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (!fd.ok()) {
    if (sys::ErrnoOf(fd.status()) != EEXIST) return fd.status();
    return absl::AlreadyExistsError(absl::StrCat(path, " is there already: it is not overwritten"));
  }
  GANTRY_RETURN_IF_ERROR(sys::Annotate(sys::WriteAll(fd->get(), oci::ToJson(spec, true) + "\n"), path));
  return 0;
}

Result Features(const Context& context, const Arguments& arguments) {
  (void)context;
  (void)arguments;
  oci::FeatureFacts facts;
  facts.mount_options = {"acl",          "async",       "atime",          "bind",
                         "defaults",     "dev",         "diratime",       "dirsync",
                         "exec",         "iversion",    "lazytime",       "loud",
                         "mand",         "noacl",       "noatime",        "nodev",
                         "nodiratime",   "noexec",      "noiversion",     "nolazytime",
                         "nomand",       "norelatime",  "nostrictatime",  "nosuid",
                         "nosymfollow",  "private",     "ratime",         "rbind",
                         "rdev",         "rdiratime",   "relatime",       "remount",
                         "rexec",        "rnoatime",    "rnodev",         "rnodiratime",
                         "rnoexec",      "rnorelatime", "rnostrictatime", "rnosuid",
                         "rnosymfollow", "ro",          "rprivate",       "rrelatime",
                         "rro",          "rrw",         "rshared",        "rslave",
                         "rstrictatime", "rsuid",       "rsymfollow",     "runbindable",
                         "rw",           "shared",      "silent",         "slave",
                         "strictatime",  "suid",        "symfollow",      "sync",
                         "tmpcopyup",    "unbindable"};
  GANTRY_RETURN_IF_ERROR(Print(oci::FeaturesJson(facts) + "\n"));
  return 0;
}

}  // namespace gantry::oci_cli
