#include "runtime/container/criu_common.h"

#include <fcntl.h>
#include <rapidjson/document.h>
#include <sched.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/oci/json_writer.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::container {
namespace {

absl::StatusOr<sys::UniqueFd> OpenDirectory(const std::string& path, bool make) {
  if (make && mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return sys::ErrnoStatus("mkdir", path);
  return sys::OpenAt(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
}

std::string Basename(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

absl::StatusOr<CriuDirectories> PrepareCriu(const CriuSettings& settings, const oci::Spec& spec,
                                            const std::string& log_file, bool make, CriuOpts* opts) {
  CriuDirectories directories;
  if (settings.image_path.empty()) return absl::InvalidArgumentError("--image-path: must name a directory");
  GANTRY_ASSIGN_OR_RETURN(opts->manage_cgroups_mode, ParseCriuCgroupMode(settings.manage_cgroups_mode));
  GANTRY_ASSIGN_OR_RETURN(directories.images, OpenDirectory(settings.image_path, make));
  opts->images_dir_fd = directories.images.get();
  directories.log_path = absl::StrCat(settings.image_path, "/", log_file);
  if (!settings.work_path.empty()) {
    GANTRY_ASSIGN_OR_RETURN(directories.work, OpenDirectory(settings.work_path, true));
    opts->work_dir_fd = directories.work.get();
    directories.log_path = absl::StrCat(settings.work_path, "/", log_file);
  }
  opts->log_file = log_file;
  opts->notify_scripts = true;
  opts->orphan_pts_master = true;
  opts->tcp_established = settings.tcp_established;
  opts->ext_unix_sk = settings.ext_unix_sk;
  opts->shell_job = settings.shell_job;
  opts->file_locks = settings.file_locks;
  opts->auto_dedup = settings.auto_dedup;
  // Whoever set the network up does so again.
  opts->empty_ns = CLONE_NEWNET;
  // runc's rule: the annotation names a file with further settings, or with an empty value forbids the usual one.
  const auto config = spec.annotations.find("org.criu.config");
  opts->config_file = config == spec.annotations.end() ? "/etc/criu/runc.conf" : config->second;
  return directories;
}

std::string ExternalNamespaceKey(oci::NamespaceType type) {
  return type == oci::NamespaceType::kPid ? "extRootPidNS" : "extRootNetNS";
}

std::vector<ExternalMount> ExternalMounts(const oci::Spec& spec, const std::string& bundle,
                                          const cgroup::Cgroup& cgroup) {
  const bool own_cgroups = spec.linux->FindNamespace(oci::NamespaceType::kCgroup) != nullptr;
  std::vector<ExternalMount> mounts;
  for (const oci::Mount& mount : spec.mounts) {
    const auto has = [&mount](absl::string_view option) {
      return std::find(mount.options.begin(), mount.options.end(), option) != mount.options.end();
    };
    if (mount.type == "bind" || has("bind") || has("rbind")) {
      const bool absolute = absl::StartsWith(mount.source, "/");
      mounts.push_back(
          {mount.destination, absolute ? mount.source : absl::StrCat(bundle, "/", mount.source)});
    } else if (mount.type == "cgroup" && !own_cgroups) {
      for (const cgroup::Directory& directory : cgroup.directories()) {
        if (directory.version != 1) continue;
        mounts.push_back(
            {absl::StrCat(mount.destination, "/", Basename(directory.mount_point)), directory.path});
      }
    }
  }
  return mounts;
}

std::string DescriptorsToJson(const std::vector<std::string>& names) {
  oci::JsonWriter json(false);
  json.StartArray();
  for (const std::string& name : names) json.Value(name);
  json.EndArray();
  return json.Take();
}

absl::StatusOr<std::vector<std::string>> DescriptorsFromJson(absl::string_view text) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag>(text.data(), text.size());
  if (document.HasParseError() || !document.IsArray()) {
    return absl::DataLossError(absl::StrCat(kDescriptorsFile, ": no JSON array"));
  }
  std::vector<std::string> names;
  for (const auto& value : document.GetArray()) {
    if (!value.IsString()) return absl::DataLossError(absl::StrCat(kDescriptorsFile, ": must hold strings"));
    names.emplace_back(value.GetString(), value.GetStringLength());
  }
  return names;
}

}  // namespace gantry::container
