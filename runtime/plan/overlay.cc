#include "runtime/plan/overlay.h"

#include <sys/mount.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace gantry::plan {
namespace {

// fsconfig(2) takes strings of at most 255 bytes.
constexpr size_t kMaxParamBytes = 255;

// "a:b\:c" -> {"a", "b:c"}, as overlayfs splits lowerdir. false for "::" (data-only layers), which only the
// option as a whole can express.
bool SplitLowerDirs(absl::string_view text, std::vector<std::string>* layers) {
  std::string layer;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      layer += text[++i];
    } else if (text[i] == ':') {
      if (layer.empty()) return false;
      layers->push_back(std::move(layer));
      layer.clear();
    } else {
      layer += text[i];
    }
  }
  if (layer.empty()) return false;
  layers->push_back(std::move(layer));
  return true;
}

}  // namespace

bool SplitOverlay(const std::vector<Param>& params, std::vector<Param>* split) {
  for (const Param& param : params) {
    if (param.key != "lowerdir" || !param.value.has_value()) {
      split->push_back(param);
      continue;
    }
    std::vector<std::string> layers;
    if (!SplitLowerDirs(*param.value, &layers)) return false;
    for (std::string& layer : layers) split->push_back({"lowerdir+", std::move(layer)});
  }
  for (const Param& param : *split) {
    if (param.value.has_value() && param.value->size() > kMaxParamBytes) return false;
  }
  return true;
}

uint64_t MountFlags(const MountAttr& attr) {
  uint64_t flags = 0;
  if ((attr.set & MOUNT_ATTR_RDONLY) != 0) flags |= MS_RDONLY;
  if ((attr.set & MOUNT_ATTR_NOSUID) != 0) flags |= MS_NOSUID;
  if ((attr.set & MOUNT_ATTR_NODEV) != 0) flags |= MS_NODEV;
  if ((attr.set & MOUNT_ATTR_NOEXEC) != 0) flags |= MS_NOEXEC;
  if ((attr.set & MOUNT_ATTR_NOATIME) != 0) flags |= MS_NOATIME;
  return flags;
}

std::string MountData(const std::vector<Param>& params) {
  return absl::StrJoin(params, ",", [](std::string* out, const Param& param) {
    absl::StrAppend(out, param.key);
    if (param.value.has_value()) absl::StrAppend(out, "=", *param.value);
  });
}

}  // namespace gantry::plan
