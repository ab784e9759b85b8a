#include "shim/service/runtime_options.h"

#include "absl/strings/str_cat.h"
#include "api/any/any.h"
#include "api/proto/containerd/types/runc/options/oci.pb.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

// Of other runtimes' programs: containerd's own choice.
constexpr char kDefaultRuntimeRoot[] = "/run/containerd/runc";

}  // namespace

absl::Status ApplyRuntimeOptions(const google::protobuf::Any& any, const std::string& namespace_name,
                                 CreateSpec* spec, std::string* shim_cgroup) {
  if (!any::Is<containerd::runc::v1::Options>(any)) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(const auto options, any::Unpack<containerd::runc::v1::Options>(any));
  spec->engine.no_pivot = options.no_pivot_root();
  spec->engine.no_new_keyring = options.no_new_keyring();
  spec->engine.systemd_cgroup = options.systemd_cgroup();
  spec->criu = options.criu_path();
  spec->criu_work_path = options.criu_work_path();
  spec->engine.program = options.binary_name();
  spec->engine.root =
      absl::StrCat(options.root().empty() ? kDefaultRuntimeRoot : options.root(), "/", namespace_name);
  spec->io_uid = options.io_uid();
  spec->io_gid = options.io_gid();
  *shim_cgroup = options.shim_cgroup();
  return absl::OkStatus();
}

}  // namespace gantry::shim
