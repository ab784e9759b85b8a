#include "daemon/services/content_write.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/proto/containerd/events/content.pb.h"
#include "content/digest.h"
#include "daemon/services/common.h"
#include "runtime/sys/status.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::content::v1;
using server::ExchangeStep;

class ContentWrite : public server::Exchange<api::WriteContentRequest, api::WriteContentResponse> {
 public:
  ContentWrite(metadata::ContentStore* content, events::Publisher* publisher, metadata::Scope scope)
      : content_(*content), publisher_(*publisher), scope_(std::move(scope)) {}

  absl::StatusOr<ExchangeStep> OnRequest(const api::WriteContentRequest& request,
                                         api::WriteContentResponse* response) override;

 private:
  absl::StatusOr<ExchangeStep> Handle(const api::WriteContentRequest& request,
                                      api::WriteContentResponse* response);
  absl::Status Begin(const api::WriteContentRequest& request);
  // Takes over what the message promises. ALREADY_EXISTS when the namespace has got the blob meanwhile.
  absl::Status NotePromises(const api::WriteContentRequest& request);
  absl::Status Append(const api::WriteContentRequest& request, int64_t offset,
                      api::WriteContentResponse* response);
  absl::Status Commit(const api::WriteContentRequest& request, api::WriteContentResponse* response);

  metadata::ContentStore& content_;
  events::Publisher& publisher_;
  const metadata::Scope scope_;
  std::unique_ptr<metadata::ContentWriter> writer_;
  std::string ref_;
  int64_t total_ = 0;
  std::optional<content::Digest> expected_;
};

absl::Status ContentWrite::Begin(const api::WriteContentRequest& request) {
  if (request.ref().empty()) {
    return absl::InvalidArgumentError("content write: first message must have a reference");
  }
  ref_ = request.ref();
  total_ = request.total();
  if (!request.expected().empty()) {
    GANTRY_ASSIGN_OR_RETURN(expected_, content::Digest::Parse(request.expected()));
  }
  GANTRY_ASSIGN_OR_RETURN(writer_, content_.OpenWriter(scope_, {ref_, total_, expected_}));
  return absl::OkStatus();
}

absl::Status ContentWrite::NotePromises(const api::WriteContentRequest& request) {
  if (request.total() > 0) total_ = request.total();
  if (request.expected().empty()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(expected_, content::Digest::Parse(request.expected()));
  if (!content_.Info(scope_, *expected_).ok()) return absl::OkStatus();
  writer_.reset();
  // Its bytes are of no use any more; that it is gone is no matter.
  (void)content_.Abort(scope_, ref_);
  return absl::AlreadyExistsError(
      absl::StrCat("blob with expected digest ", request.expected(), " exists: already exists"));
}

absl::Status ContentWrite::Append(const api::WriteContentRequest& request, int64_t offset,
                                  api::WriteContentResponse* response) {
  if (request.offset() > 0 && request.offset() != offset) {
    return absl::OutOfRangeError(absl::StrCat("ref \"", ref_, "\": write @", request.offset(),
                                              " must occur at current offset ", offset));
  }
  if (request.offset() < 0) {
    return absl::OutOfRangeError(absl::StrCat("ref \"", ref_, "\": negative offset ", request.offset()));
  }
  if (request.offset() == 0 && offset > 0) {
    GANTRY_RETURN_IF_ERROR(writer_->Truncate(0));
    offset = 0;
  }
  GANTRY_RETURN_IF_ERROR(writer_->Write(request.data()));
  response->set_offset(offset + static_cast<int64_t>(request.data().size()));
  return absl::OkStatus();
}

absl::Status ContentWrite::Commit(const api::WriteContentRequest& request,
                                  api::WriteContentResponse* response) {
  GANTRY_ASSIGN_OR_RETURN(const metadata::CommittedContent committed,
                          writer_->Commit(total_, expected_, request.labels()));
  response->set_digest(committed.digest.ToString());
  containerd::events::ContentCreate event;
  event.set_digest(committed.digest.ToString());
  event.set_size(committed.size_bytes);
  PublishChange(publisher_, scope_.ns, "/content/create", event);
  // Before the client learns of it, so that it may use the ref again at once.
  writer_.reset();
  return absl::OkStatus();
}

absl::StatusOr<ExchangeStep> ContentWrite::OnRequest(const api::WriteContentRequest& request,
                                                     api::WriteContentResponse* response) {
  auto step = Handle(request, response);
  // Before the client learns of it, so that it may try again at once.
  if (!step.ok()) writer_.reset();
  return step;
}

absl::StatusOr<ExchangeStep> ContentWrite::Handle(const api::WriteContentRequest& request,
                                                  api::WriteContentResponse* response) {
  if (writer_ == nullptr) GANTRY_RETURN_IF_ERROR(Begin(request));
  GANTRY_ASSIGN_OR_RETURN(const content::IngestStatus status, writer_->Status());
  GANTRY_RETURN_IF_ERROR(NotePromises(request));
  response->set_action(request.action());
  response->set_offset(status.offset);
  switch (request.action()) {
    case api::STAT:
      response->set_digest(writer_->CurrentDigest().ToString());
      *response->mutable_started_at() = metadata::ToProto(status.started);
      *response->mutable_updated_at() = metadata::ToProto(status.updated);
      response->set_total(total_);
      return ExchangeStep::kReply;
    case api::WRITE:
      GANTRY_RETURN_IF_ERROR(Append(request, status.offset, response));
      response->set_digest(writer_->CurrentDigest().ToString());
      return ExchangeStep::kReply;
    case api::COMMIT:
      GANTRY_RETURN_IF_ERROR(Append(request, status.offset, response));
      GANTRY_RETURN_IF_ERROR(Commit(request, response));
      return ExchangeStep::kReplyAndFinish;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("ref \"", ref_, "\": unknown write action ", static_cast<int>(request.action())));
  }
}

}  // namespace

std::unique_ptr<server::Exchange<api::WriteContentRequest, api::WriteContentResponse>> MakeContentWrite(
    metadata::ContentStore* content, events::Publisher* publisher, metadata::Scope scope) {
  return std::make_unique<ContentWrite>(content, publisher, std::move(scope));
}

}  // namespace gantry::services
