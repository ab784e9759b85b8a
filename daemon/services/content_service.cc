#include "daemon/services/content_service.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/proto/containerd/events/content.pb.h"
#include "content/digest.h"
#include "daemon/server/service.h"
#include "daemon/services/common.h"
#include "daemon/services/content_write.h"
#include "runtime/sys/status.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::content::v1;
using google::protobuf::Empty;
using server::CallContext;
using server::NamespaceRule;

constexpr size_t kInfosPerMessage = 100;

void ToProto(const content::IngestStatus& status, api::Status* out) {
  out->set_ref(status.ref);
  out->set_offset(status.offset);
  out->set_total(status.total_bytes);
  if (status.expected.has_value()) out->set_expected(status.expected->ToString());
  *out->mutable_started_at() = metadata::ToProto(status.started);
  *out->mutable_updated_at() = metadata::ToProto(status.updated);
}

absl::StatusOr<server::Generator<api::ListContentResponse>> ListPages(
    const metadata::ContentStore& content, const CallContext& call, const api::ListContentRequest& request) {
  GANTRY_ASSIGN_OR_RETURN(filters::Filter filter, filters::Filter::ParseAny(request.filters()));
  return server::Generator<api::ListContentResponse>(
      [&content, scope = ScopeOf(call), filter = std::move(filter), position = std::string(),
       ended = false](api::ListContentResponse* message) mutable -> absl::StatusOr<bool> {
        if (ended) return false;
        GANTRY_ASSIGN_OR_RETURN(std::vector<metadata::ContentInfo> infos,
                                content.ListSome(scope, filter, kInfosPerMessage, &position));
        ended = position.empty();
        for (auto& info : infos) *message->add_info() = std::move(info);
        return message->info_size() > 0;
      });
}

absl::StatusOr<server::Generator<api::ReadContentResponse>> ReadChunks(
    const metadata::ContentStore& content, const CallContext& call, const api::ReadContentRequest& request) {
  GANTRY_ASSIGN_OR_RETURN(const content::Digest digest, content::Digest::Parse(request.digest()));
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<content::ReaderAt> reader, content.Open(ScopeOf(call), digest));
  const int64_t size = reader->size_bytes();
  const int64_t begin = std::max<int64_t>(request.offset(), 0);
  if (begin > size) {
    return absl::OutOfRangeError(
        absl::StrCat("content ", request.digest(), ": read past object length ", size, " bytes"));
  }
  const int64_t end = request.size() <= 0 || request.size() > size - begin ? size : begin + request.size();
  return server::Generator<api::ReadContentResponse>(
      [reader = std::move(reader), offset = begin, end,
       digest = request.digest()](api::ReadContentResponse* message) mutable -> absl::StatusOr<bool> {
        if (offset >= end) return false;
        std::string* data = message->mutable_data();
        data->resize(static_cast<size_t>(std::min<int64_t>(ContentService::kChunkBytes, end - offset)));
        GANTRY_ASSIGN_OR_RETURN(const size_t got, reader->ReadAt(data->data(), data->size(), offset));
        if (got < data->size()) {
          return absl::DataLossError(absl::StrCat("content ", digest, ": its file ends too early"));
        }
        message->set_offset(offset);
        offset += static_cast<int64_t>(got);
        return true;
      });
}

}  // namespace

grpc::ServerUnaryReactor* ContentService::Info(grpc::CallbackServerContext* context,
                                               const api::InfoRequest* request, api::InfoResponse* response) {
  return server::RunUnary(
      records_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(const content::Digest digest, content::Digest::Parse(request.digest()));
        GANTRY_ASSIGN_OR_RETURN(*response->mutable_info(), content_.Info(ScopeOf(call), digest));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ContentService::Update(grpc::CallbackServerContext* context,
                                                 const api::UpdateRequest* request,
                                                 api::UpdateResponse* response) {
  return server::RunUnary(
      records_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(*response->mutable_info(), content_.Update(ScopeOf(call), request.info(),
                                                                           PathsOf(request.update_mask())));
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<api::ListContentResponse>* ContentService::List(
    grpc::CallbackServerContext* context, const api::ListContentRequest* request) {
  return server::RunPullStream<api::ListContentRequest, api::ListContentResponse>(
      records_, context, NamespaceRule::kRequired, request,
      [this](const CallContext& call, const auto& request) { return ListPages(content_, call, request); });
}

grpc::ServerUnaryReactor* ContentService::Delete(grpc::CallbackServerContext* context,
                                                 const api::DeleteContentRequest* request, Empty* response) {
  return server::RunUnary(records_, context, NamespaceRule::kRequired, request, response,
                          [this](const CallContext& call, const auto& request, Empty*) -> absl::Status {
                            GANTRY_ASSIGN_OR_RETURN(const content::Digest digest,
                                                    content::Digest::Parse(request.digest()));
                            GANTRY_RETURN_IF_ERROR(content_.Delete(ScopeOf(call), digest));
                            containerd::events::ContentDelete event;
                            event.set_digest(request.digest());
                            PublishChange(publisher_, call.ns, "/content/delete", event);
                            return absl::OkStatus();
                          });
}

grpc::ServerWriteReactor<api::ReadContentResponse>* ContentService::Read(
    grpc::CallbackServerContext* context, const api::ReadContentRequest* request) {
  return server::RunPullStream<api::ReadContentRequest, api::ReadContentResponse>(
      bulk_, context, NamespaceRule::kRequired, request,
      [this](const CallContext& call, const auto& request) { return ReadChunks(content_, call, request); });
}

grpc::ServerUnaryReactor* ContentService::Status(grpc::CallbackServerContext* context,
                                                 const api::StatusRequest* request,
                                                 api::StatusResponse* response) {
  return server::RunUnary(
      records_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(const content::IngestStatus status,
                                content_.Status(ScopeOf(call), request.ref()));
        ToProto(status, response->mutable_status());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ContentService::ListStatuses(grpc::CallbackServerContext* context,
                                                       const api::ListStatusesRequest* request,
                                                       api::ListStatusesResponse* response) {
  return server::RunUnary(
      records_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(const filters::Filter filter, filters::Filter::ParseAny(request.filters()));
        GANTRY_ASSIGN_OR_RETURN(const std::vector<content::IngestStatus> statuses,
                                content_.ListStatuses(ScopeOf(call), filter));
        for (const auto& status : statuses) ToProto(status, response->add_statuses());
        return absl::OkStatus();
      });
}

grpc::ServerBidiReactor<api::WriteContentRequest, api::WriteContentResponse>* ContentService::Write(
    grpc::CallbackServerContext* context) {
  return server::RunExchange<api::WriteContentRequest, api::WriteContentResponse>(
      bulk_, context, NamespaceRule::kRequired,
      [this](const CallContext& call) { return MakeContentWrite(&content_, &publisher_, ScopeOf(call)); });
}

grpc::ServerUnaryReactor* ContentService::Abort(grpc::CallbackServerContext* context,
                                                const api::AbortRequest* request, Empty* response) {
  return server::RunUnary(bulk_, context, NamespaceRule::kRequired, request, response,
                          [this](const CallContext& call, const auto& request, Empty*) {
                            return content_.Abort(ScopeOf(call), request.ref());
                          });
}

}  // namespace gantry::services
