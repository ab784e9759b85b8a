#include "shim/bootstrap/protocol.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "api/proto/containerd/runtime/bootstrap/v1/bootstrap.pb.h"
#include "api/proto/containerd/types/runc/options/oci.pb.h"
#include "google/protobuf/any.pb.h"

namespace gantry::shim {
namespace {

constexpr char kRuncOptions[] = "containerd.runc.v1.Options";

std::string ShimCgroupOf(const google::protobuf::Any& any) {
  containerd::runc::v1::Options options;
  if (any.type_url() != kRuncOptions || !options.ParseFromString(any.value())) return "";
  return options.shim_cgroup();
}

}  // namespace

StartInput ReadStartInput(absl::string_view input, Options* options) {
  StartInput result;
  const AnswerForm to_any = options->max_version == 0 ? AnswerForm::kBareAddress : AnswerForm::kJson;
  if (input.empty()) {
    result.answer = options->max_version <= 2 ? AnswerForm::kBareAddress : AnswerForm::kJson;
    return result;
  }
  containerd::runtime::bootstrap::v1::BootstrapParams params;
  if (params.ParseFromArray(input.data(), static_cast<int>(input.size())) &&
      params.instance_id() == options->id && params.namespace_() == options->namespace_name) {
    result.answer = AnswerForm::kProtobuf;
    result.socket_dir = params.socket_dir();
    if (!params.containerd_ttrpc_address().empty()) {
      options->ttrpc_address = params.containerd_ttrpc_address();
    }
    if (!params.containerd_grpc_address().empty()) options->grpc_address = params.containerd_grpc_address();
    if (params.log_level() < 0) options->debug = true;
    for (const auto& extension : params.extensions()) {
      if (std::string cgroup = ShimCgroupOf(extension.value()); !cgroup.empty()) result.shim_cgroup = cgroup;
    }
    return result;
  }
  result.answer = to_any;
  google::protobuf::Any any;
  if (any.ParseFromArray(input.data(), static_cast<int>(input.size())))
    result.shim_cgroup = ShimCgroupOf(any);
  return result;
}

std::string FormatStartAnswer(AnswerForm form, absl::string_view address, int max_version) {
  switch (form) {
    case AnswerForm::kBareAddress:
      return std::string(address);
    case AnswerForm::kJson:
      // An address holds hexadecimal digits and a directory that a daemon chose: quotes are escaped.
      return absl::StrCat(
          "{\"version\":", std::clamp(max_version, 2, 3), ",\"address\":\"",
          [&] {
            std::string escaped;
            for (char c : address) {
              if (c == '"' || c == '\\') escaped.push_back('\\');
              escaped.push_back(c);
            }
            return escaped;
          }(),
          "\",\"protocol\":\"ttrpc\"}");
    case AnswerForm::kProtobuf:
      break;
  }
  containerd::runtime::bootstrap::v1::BootstrapResult result;
  result.set_version(3);
  result.set_address(std::string(address));
  result.set_protocol("ttrpc");
  return result.SerializeAsString();
}

}  // namespace gantry::shim
