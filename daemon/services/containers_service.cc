#include "daemon/services/containers_service.h"

#include <memory>
#include <utility>

#include "api/proto/containerd/events/container.pb.h"
#include "daemon/server/service.h"
#include "daemon/services/common.h"
#include "runtime/sys/status.h"

namespace gantry::services {
namespace {

using containerd::services::containers::v1::CreateContainerRequest;
using containerd::services::containers::v1::CreateContainerResponse;
using containerd::services::containers::v1::DeleteContainerRequest;
using containerd::services::containers::v1::GetContainerRequest;
using containerd::services::containers::v1::GetContainerResponse;
using containerd::services::containers::v1::ListContainerMessage;
using containerd::services::containers::v1::ListContainersRequest;
using containerd::services::containers::v1::ListContainersResponse;
using containerd::services::containers::v1::UpdateContainerRequest;
using containerd::services::containers::v1::UpdateContainerResponse;
using google::protobuf::Empty;
using server::CallContext;
using server::NamespaceRule;

constexpr size_t kPage = 128;  // records that one ListStream holds in memory

// Serves a page from memory, then reads the next.
class ContainerPages {
 public:
  ContainerPages(metadata::Containers* containers, metadata::Scope scope, filters::Filter filter)
      : containers_(containers), scope_(std::move(scope)), filter_(std::move(filter)) {}

  absl::StatusOr<bool> Next(ListContainerMessage* message) {
    while (next_ == page_.size()) {
      if (ended_) return false;
      GANTRY_ASSIGN_OR_RETURN(page_, containers_->ListSome(scope_, filter_, kPage, &position_));
      next_ = 0;
      ended_ = position_.empty();
    }
    *message->mutable_container() = std::move(page_[next_++]);
    return true;
  }

 private:
  metadata::Containers* containers_;
  metadata::Scope scope_;
  filters::Filter filter_;
  std::vector<metadata::Container> page_;
  size_t next_ = 0;
  std::string position_;
  bool ended_ = false;
};

}  // namespace

grpc::ServerUnaryReactor* ContainersService::Get(grpc::CallbackServerContext* context,
                                                 const GetContainerRequest* request,
                                                 GetContainerResponse* response) {
  return server::RunUnary(
      pool_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(*response->mutable_container(), containers_.Get(ScopeOf(call), request.id()));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ContainersService::List(grpc::CallbackServerContext* context,
                                                  const ListContainersRequest* request,
                                                  ListContainersResponse* response) {
  return server::RunUnary(
      pool_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(const filters::Filter filter, filters::Filter::ParseAny(request.filters()));
        GANTRY_ASSIGN_OR_RETURN(std::vector<metadata::Container> all,
                                containers_.List(ScopeOf(call), filter));
        for (auto& container : all) *response->add_containers() = std::move(container);
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<ListContainerMessage>* ContainersService::ListStream(
    grpc::CallbackServerContext* context, const ListContainersRequest* request) {
  return server::RunPullStream<ListContainersRequest, ListContainerMessage>(
      pool_, context, NamespaceRule::kRequired, request,
      [this](const CallContext& call,
             const auto& request) -> absl::StatusOr<server::Generator<ListContainerMessage>> {
        GANTRY_ASSIGN_OR_RETURN(filters::Filter filter, filters::Filter::ParseAny(request.filters()));
        auto pages = std::make_unique<ContainerPages>(&containers_, ScopeOf(call), std::move(filter));
        return server::Generator<ListContainerMessage>(
            [pages = std::move(pages)](ListContainerMessage* message) { return pages->Next(message); });
      });
}

grpc::ServerUnaryReactor* ContainersService::Create(grpc::CallbackServerContext* context,
                                                    const CreateContainerRequest* request,
                                                    CreateContainerResponse* response) {
  return server::RunUnary(
      pool_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(metadata::Container created,
                                containers_.Create(ScopeOf(call), request.container()));
        containerd::events::ContainerCreate event;
        event.set_id(created.id());
        event.set_image(created.image());
        event.mutable_runtime()->set_name(created.runtime().name());
        if (created.runtime().has_options()) {
          *event.mutable_runtime()->mutable_options() = created.runtime().options();
        }
        *response->mutable_container() = std::move(created);
        PublishChange(publisher_, call.ns, "/containers/create", event);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ContainersService::Update(grpc::CallbackServerContext* context,
                                                    const UpdateContainerRequest* request,
                                                    UpdateContainerResponse* response) {
  return server::RunUnary(
      pool_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(
            metadata::Container updated,
            containers_.Update(ScopeOf(call), request.container(), PathsOf(request.update_mask())));
        containerd::events::ContainerUpdate event;
        event.set_id(updated.id());
        event.set_image(updated.image());
        *event.mutable_labels() = updated.labels();
        event.set_snapshot_key(updated.snapshot_key());
        *response->mutable_container() = std::move(updated);
        PublishChange(publisher_, call.ns, "/containers/update", event);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ContainersService::Delete(grpc::CallbackServerContext* context,
                                                    const DeleteContainerRequest* request, Empty* response) {
  return server::RunUnary(pool_, context, NamespaceRule::kRequired, request, response,
                          [this](const CallContext& call, const auto& request, Empty*) -> absl::Status {
                            GANTRY_RETURN_IF_ERROR(containers_.Delete(ScopeOf(call), request.id()));
                            containerd::events::ContainerDelete event;
                            event.set_id(request.id());
                            PublishChange(publisher_, call.ns, "/containers/delete", event);
                            return absl::OkStatus();
                          });
}

}  // namespace gantry::services
