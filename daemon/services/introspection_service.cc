#include "daemon/services/introspection_service.h"

#include <sys/stat.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/errors/errors.h"
#include "daemon/filters/filter.h"
#include "daemon/server/service.h"
#include "runtime/sys/status.h"

namespace gantry::services {
namespace {

using containerd::services::introspection::v1::Plugin;
using containerd::services::introspection::v1::PluginInfoRequest;
using containerd::services::introspection::v1::PluginInfoResponse;
using containerd::services::introspection::v1::PluginsRequest;
using containerd::services::introspection::v1::PluginsResponse;
using containerd::services::introspection::v1::ServerResponse;

#if defined(__x86_64__)
constexpr char kArchitecture[] = "amd64";
#elif defined(__aarch64__)
constexpr char kArchitecture[] = "arm64";
#else
#error "name this architecture as Go does"
#endif

uint64_t PidNamespace() {
  struct stat st;
  return stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
}

void ToMessage(const PluginRecord& record, Plugin* out) {
  out->set_type(record.type);
  out->set_id(record.id);
  for (const std::string& type : record.requires_types) out->add_requires_plugins(type);
  for (const std::string& capability : record.capabilities) out->add_capabilities(capability);
  for (const auto& [key, value] : record.exports) (*out->mutable_exports())[key] = value;
  if (record.platform_bound) {
    containerd::types::Platform* platform = out->add_platforms();
    platform->set_os("linux");
    platform->set_architecture(kArchitecture);
  }
  if (!record.status.ok()) {
    out->mutable_init_err()->set_code(errors::WireCode(record.status.code()));
    out->mutable_init_err()->set_message(errors::WireMessage(record.status));
  }
}

}  // namespace

IntrospectionService::IntrospectionService(std::vector<PluginRecord> plugins, std::string uuid,
                                           server::WorkerPool* pool)
    : plugins_(std::move(plugins)), uuid_(std::move(uuid)), pid_namespace_(PidNamespace()), pool_(pool) {}

absl::Status IntrospectionService::ListPlugins(const PluginsRequest& request,
                                               PluginsResponse* response) const {
  GANTRY_ASSIGN_OR_RETURN(const filters::Filter filter, filters::Filter::ParseAny(request.filters()));
  for (const PluginRecord& plugin : plugins_) {
    const bool wanted = filter.Match([&plugin](filters::FieldPath path) -> std::optional<absl::string_view> {
      if (path.size() != 1) return std::nullopt;
      if (path[0] == "type") return filters::TextField(plugin.type);
      if (path[0] == "id") return filters::TextField(plugin.id);
      return std::nullopt;
    });
    if (wanted) ToMessage(plugin, response->add_plugins());
  }
  return absl::OkStatus();
}

absl::Status IntrospectionService::Inform(const PluginInfoRequest& request,
                                          PluginInfoResponse* response) const {
  for (const PluginRecord& plugin : plugins_) {
    if (plugin.type != request.type() || plugin.id != request.id()) continue;
    ToMessage(plugin, response->mutable_plugin());
    if (!request.has_options()) return absl::OkStatus();
    if (!plugin.status.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat("plugin ", plugin.type, ".", plugin.id, " is not loaded: ", plugin.status.message()));
    }
    if (!plugin.info) {
      return absl::UnimplementedError(
          absl::StrCat("plugin ", plugin.type, ".", plugin.id, " has nothing to tell beyond its record"));
    }
    GANTRY_ASSIGN_OR_RETURN(*response->mutable_extra(), plugin.info(request.options()));
    return absl::OkStatus();
  }
  return absl::NotFoundError(absl::StrCat("plugin ", request.type(), ".", request.id(), " not found"));
}

grpc::ServerUnaryReactor* IntrospectionService::Plugins(grpc::CallbackServerContext* context,
                                                        const PluginsRequest* request,
                                                        PluginsResponse* response) {
  return server::RunUnary(nullptr, context, server::NamespaceRule::kOptional, request, response,
                          [this](const server::CallContext&, const PluginsRequest& request,
                                 PluginsResponse* response) { return ListPlugins(request, response); });
}

grpc::ServerUnaryReactor* IntrospectionService::Server(grpc::CallbackServerContext* context,
                                                       const google::protobuf::Empty* request,
                                                       ServerResponse* response) {
  return server::RunUnary(
      nullptr, context, server::NamespaceRule::kOptional, request, response,
      [this](const server::CallContext&, const google::protobuf::Empty&, ServerResponse* response) {
        response->set_uuid(uuid_);
        response->set_pid(static_cast<uint64_t>(getpid()));
        response->set_pidns(pid_namespace_);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* IntrospectionService::PluginInfo(grpc::CallbackServerContext* context,
                                                           const PluginInfoRequest* request,
                                                           PluginInfoResponse* response) {
  return server::RunUnary(pool_, context, server::NamespaceRule::kOptional, request, response,
                          [this](const server::CallContext&, const PluginInfoRequest& request,
                                 PluginInfoResponse* response) { return Inform(request, response); });
}

}  // namespace gantry::services
