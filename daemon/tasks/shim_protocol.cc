#include "daemon/tasks/shim_protocol.h"

#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "api/proto/containerd/runtime/bootstrap/v1/bootstrap.pb.h"
#include "runtime/sys/status.h"

namespace gantry::tasks {
namespace {

constexpr size_t kLargestAnswer = 64 << 10;

absl::Status Unintelligible(absl::string_view answer) {
  return absl::InvalidArgumentError(absl::StrCat("the shim's answer to start is not understood: \"",
                                                 absl::CHexEscape(answer.substr(0, 200)), "\""));
}

absl::StatusOr<Bootstrap> Check(Bootstrap bootstrap) {
  if (bootstrap.version < 2 || bootstrap.version > 3) {
    return absl::UnimplementedError(absl::StrCat("the shim speaks version ", bootstrap.version,
                                                 " of the task service; this daemon speaks 2 and 3"));
  }
  if (absl::AsciiStrToLower(bootstrap.protocol) != "ttrpc") {
    return absl::UnimplementedError(
        absl::StrCat("the shim speaks ", bootstrap.protocol, "; this daemon speaks ttrpc with shims"));
  }
  if (bootstrap.address.empty())
    return absl::InvalidArgumentError("the shim answered start without an address");
  return bootstrap;
}

absl::StatusOr<Bootstrap> ParseJson(absl::string_view text) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag>(text.data(), text.size());
  if (document.HasParseError() || !document.IsObject()) return Unintelligible(text);
  Bootstrap bootstrap;
  const auto version = document.FindMember("version");
  const auto address = document.FindMember("address");
  const auto protocol = document.FindMember("protocol");
  if (version != document.MemberEnd() && version->value.IsInt()) bootstrap.version = version->value.GetInt();
  if (address != document.MemberEnd() && address->value.IsString()) {
    bootstrap.address = address->value.GetString();
  }
  if (protocol != document.MemberEnd() && protocol->value.IsString()) {
    bootstrap.protocol = protocol->value.GetString();
  }
  return Check(std::move(bootstrap));
}

}  // namespace

absl::StatusOr<Bootstrap> ParseBootstrap(absl::string_view answer) {
  if (answer.size() > kLargestAnswer) return Unintelligible(answer);
  const absl::string_view text = absl::StripAsciiWhitespace(answer);
  if (text.empty()) return absl::InvalidArgumentError("the shim answered start with nothing");
  if (text[0] == '{') return ParseJson(text);
  if (absl::StartsWith(text, "unix:") || text[0] == '/') {
    if (text.find_first_of("\n\r\t \0") != absl::string_view::npos) return Unintelligible(text);
    Bootstrap bootstrap;
    bootstrap.address = std::string(text);
    return Check(std::move(bootstrap));
  }
  containerd::runtime::bootstrap::v1::BootstrapResult result;
  if (!result.ParseFromArray(answer.data(), static_cast<int>(answer.size())) || result.address().empty()) {
    return Unintelligible(answer);
  }
  return Check(Bootstrap{result.version(), result.address(), result.protocol()});
}

std::string FormatBootstrap(const Bootstrap& bootstrap) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  writer.StartObject();
  writer.Key("version");
  writer.Int(bootstrap.version);
  writer.Key("address");
  writer.String(bootstrap.address.c_str(), static_cast<rapidjson::SizeType>(bootstrap.address.size()));
  writer.Key("protocol");
  writer.String(bootstrap.protocol.c_str(), static_cast<rapidjson::SizeType>(bootstrap.protocol.size()));
  writer.EndObject();
  return buffer.GetString();
}

std::string TaskService(int version) { return absl::StrCat("containerd.task.v", version, ".Task"); }

std::vector<std::string> ShimArguments(const ShimCall& call, ShimAction action) {
  std::vector<std::string> argv = {call.binary, "-namespace", call.ns, "-address", call.grpc_address};
  if (action == ShimAction::kStart || action == ShimAction::kDelete) {
    argv.insert(argv.end(), {"-publish-binary", call.publish_binary});
  }
  argv.insert(argv.end(), {"-id", call.id});
  if (call.debug) argv.push_back("-debug");
  switch (action) {
    case ShimAction::kStart:
      argv.push_back("start");
      break;
    case ShimAction::kServe:
      argv.insert(argv.end(), {"-socket-fd", "3", "serve"});
      break;
    case ShimAction::kSucceed:
      argv.insert(argv.end(), {"-socket-fd", "3", "-init-fd", "4", "serve"});
      break;
    case ShimAction::kDelete:
      argv.insert(argv.end(), {"-bundle", call.bundle, "delete"});
      break;
  }
  return argv;
}

std::vector<std::string> ShimEnvironment(const ShimCall& call, const std::vector<std::string>& inherited,
                                         const std::vector<std::string>& extra) {
  std::vector<std::string> out;
  for (const std::string& variable : inherited) {
    // Systemd's are about the daemon; a shim that told READY would confuse it.
    if (!absl::StartsWith(variable, "NOTIFY_SOCKET=") && !absl::StartsWith(variable, "LISTEN_")) {
      out.push_back(variable);
    }
  }
  out.insert(out.end(), extra.begin(), extra.end());
  out.push_back("MAX_SHIM_VERSION=2");  // what containerd sets, whatever it speaks
  out.push_back(absl::StrCat("TTRPC_ADDRESS=", call.ttrpc_address));
  out.push_back(absl::StrCat("GRPC_ADDRESS=", call.grpc_address));
  out.push_back(absl::StrCat("NAMESPACE=", call.ns));
  return out;
}

}  // namespace gantry::tasks
