#include "daemon/services/images_service.h"

#include <optional>
#include <utility>

#include "api/proto/containerd/events/image.pb.h"
#include "daemon/server/service.h"
#include "daemon/services/collecting_delete.h"
#include "daemon/services/common.h"
#include "runtime/sys/status.h"

namespace gantry::services {
namespace {

using containerd::services::images::v1::CreateImageRequest;
using containerd::services::images::v1::CreateImageResponse;
using containerd::services::images::v1::DeleteImageRequest;
using containerd::services::images::v1::GetImageRequest;
using containerd::services::images::v1::GetImageResponse;
using containerd::services::images::v1::ListImagesRequest;
using containerd::services::images::v1::ListImagesResponse;
using containerd::services::images::v1::UpdateImageRequest;
using containerd::services::images::v1::UpdateImageResponse;
using google::protobuf::Empty;
using server::CallContext;
using server::NamespaceRule;

template <typename Request>
std::optional<absl::Time> EpochOf(const Request& request) {
  if (!request.has_source_date_epoch()) return std::nullopt;
  return metadata::FromProto(request.source_date_epoch());
}

}  // namespace

grpc::ServerUnaryReactor* ImagesService::Get(grpc::CallbackServerContext* context,
                                             const GetImageRequest* request, GetImageResponse* response) {
  return server::RunUnary(
      pool_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(*response->mutable_image(), images_.Get(ScopeOf(call), request.name()));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ImagesService::List(grpc::CallbackServerContext* context,
                                              const ListImagesRequest* request,
                                              ListImagesResponse* response) {
  return server::RunUnary(
      pool_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(const filters::Filter filter, filters::Filter::ParseAny(request.filters()));
        GANTRY_ASSIGN_OR_RETURN(std::vector<metadata::Image> all, images_.List(ScopeOf(call), filter));
        for (auto& image : all) *response->add_images() = std::move(image);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ImagesService::Create(grpc::CallbackServerContext* context,
                                                const CreateImageRequest* request,
                                                CreateImageResponse* response) {
  return server::RunUnary(
      pool_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(metadata::Image created,
                                images_.Create(ScopeOf(call), request.image(), EpochOf(request)));
        containerd::services::images::v1::ImageCreate event;
        event.set_name(created.name());
        *event.mutable_labels() = created.labels();
        *response->mutable_image() = std::move(created);
        PublishChange(publisher_, call.ns, "/images/create", event);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ImagesService::Update(grpc::CallbackServerContext* context,
                                                const UpdateImageRequest* request,
                                                UpdateImageResponse* response) {
  return server::RunUnary(
      pool_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(
            metadata::Image updated,
            images_.Update(ScopeOf(call), request.image(), PathsOf(request.update_mask()), EpochOf(request)));
        containerd::services::images::v1::ImageUpdate event;
        event.set_name(updated.name());
        *event.mutable_labels() = updated.labels();
        *response->mutable_image() = std::move(updated);
        PublishChange(publisher_, call.ns, "/images/update", event);
        return absl::OkStatus();
      });
}

absl::Status ImagesService::DeleteImage(const metadata::Scope& scope, const DeleteImageRequest& request) {
  GANTRY_RETURN_IF_ERROR(images_.Delete(scope, request.name(), request.target().digest()));
  containerd::services::images::v1::ImageDelete event;
  event.set_name(request.name());
  PublishChange(publisher_, scope.ns, "/images/delete", event);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* ImagesService::Delete(grpc::CallbackServerContext* context,
                                                const DeleteImageRequest* request, Empty* response) {
  return RunCollectingDelete(pool_, &gc_, context, request, response,
                             [this](const CallContext& call, const DeleteImageRequest& request) {
                               return DeleteImage(ScopeOf(call), request);
                             });
}

}  // namespace gantry::services
