#include "test/client/remote_store.h"

#include <google/protobuf/empty.pb.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/proto/containerd/services/content/v1/content.grpc.pb.h"
#include "runtime/sys/status.h"
#include "test/client/remote_call.h"

namespace gantry::client {
namespace {

namespace api = containerd::services::content::v1;
using google::protobuf::Empty;

constexpr size_t kMessageBytes = 1 << 20;

absl::StatusOr<content::IngestStatus> IngestFrom(const api::Status& status) {
  content::IngestStatus out;
  out.ref = status.ref();
  out.offset = status.offset();
  out.total_bytes = status.total();
  if (!status.expected().empty()) {
    GANTRY_ASSIGN_OR_RETURN(out.expected, content::Digest::Parse(status.expected()));
  }
  out.started = TimeFrom(status.started_at());
  out.updated = TimeFrom(status.updated_at());
  return out;
}

absl::StatusOr<content::BlobInfo> BlobFrom(const api::Info& info) {
  GANTRY_ASSIGN_OR_RETURN(content::Digest digest, content::Digest::Parse(info.digest()));
  return content::BlobInfo{std::move(digest), info.size(), TimeFrom(info.created_at())};
}

struct Connection {
  explicit Connection(RemoteStoreOptions given)
      : options(std::move(given)), stub(api::Content::NewStub(options.channel)) {}
  std::unique_ptr<grpc::ClientContext> Call() const { return MakeCall(options.ns, options.lease); }
  const RemoteStoreOptions options;
  const std::unique_ptr<api::Content::Stub> stub;
};

class RemoteReader : public content::ReaderAt {
 public:
  RemoteReader(std::shared_ptr<Connection> connection, content::BlobInfo info)
      : connection_(std::move(connection)), info_(std::move(info)), context_(connection_->Call()) {
    api::ReadContentRequest request;
    request.set_digest(info_.digest.ToString());
    stream_ = connection_->stub->Read(context_.get(), request);
    stream_->WaitForInitialMetadata();
  }
  ~RemoteReader() override {
    context_->TryCancel();
    if (!finished_) (void)stream_->Finish();
  }

  int64_t size_bytes() const override { return info_.size_bytes; }

  absl::StatusOr<size_t> ReadAt(char* buffer, size_t size, int64_t offset) const override {
    const int64_t wanted = std::min<int64_t>(static_cast<int64_t>(size), info_.size_bytes - offset);
    if (wanted <= 0) return size_t{0};
    api::ReadContentRequest request;
    request.set_digest(info_.digest.ToString());
    request.set_offset(offset);
    request.set_size(wanted);
    const auto context = connection_->Call();
    const auto range = connection_->stub->Read(context.get(), request);
    size_t got = 0;
    api::ReadContentResponse part;
    while (range->Read(&part)) {
      if (part.offset() != offset + static_cast<int64_t>(got) || got + part.data().size() > size) {
        context->TryCancel();
        (void)range->Finish();
        return absl::DataLossError(absl::StrCat("content ", request.digest(), ": a part came at offset ",
                                                part.offset(), ", after ", got, " bytes from ", offset));
      }
      std::memcpy(buffer + got, part.data().data(), part.data().size());
      got += part.data().size();
    }
    const absl::Status status = FromGrpc(range->Finish());
    if (absl::IsNotFound(status)) return ReadKept(buffer, size, offset);
    if (!status.ok()) return status;
    return got;
  }

 private:
  // Of a blob that was deleted meanwhile.
  absl::StatusOr<size_t> ReadKept(char* buffer, size_t size, int64_t offset) const {
    std::lock_guard<std::mutex> lock(mutex_);
    api::ReadContentResponse part;
    while (static_cast<int64_t>(kept_.size()) < info_.size_bytes && !finished_) {
      if (stream_->Read(&part)) {
        kept_ += part.data();
        continue;
      }
      finished_ = true;
      const absl::Status status = FromGrpc(stream_->Finish());
      if (!status.ok()) return status;
    }
    if (offset >= static_cast<int64_t>(kept_.size())) {
      return absl::DataLossError(absl::StrCat("content ", info_.digest.ToString(), " ended after ",
                                              kept_.size(), " of ", info_.size_bytes, " bytes"));
    }
    return kept_.copy(buffer, size, static_cast<size_t>(offset));
  }

  const std::shared_ptr<Connection> connection_;
  const content::BlobInfo info_;
  const std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReader<api::ReadContentResponse>> stream_;
  mutable std::mutex mutex_;
  mutable std::string kept_;
  mutable bool finished_ = false;
};

class RemoteWriter : public content::Writer {
 public:
  RemoteWriter(std::shared_ptr<Connection> connection, content::WriterOptions options)
      : connection_(std::move(connection)),
        options_(std::move(options)),
        context_(connection_->Call()),
        stream_(connection_->stub->Write(context_.get())),
        digest_(content::Digest::Of("")) {}
  ~RemoteWriter() override {
    if (!ended_) (void)End();
  }

  absl::Status Begin() {
    api::WriteContentRequest request = Request(api::STAT);
    request.set_total(options_.total_bytes);
    if (options_.expected) request.set_expected(options_.expected->ToString());
    return Exchange(request);
  }

  absl::Status Write(absl::string_view data) override {
    do {
      const absl::string_view part = data.substr(0, kMessageBytes);
      data.remove_prefix(part.size());
      api::WriteContentRequest request = Request(api::WRITE);
      request.set_offset(offset_);
      request.set_data(part.data(), part.size());
      GANTRY_RETURN_IF_ERROR(Exchange(request));
    } while (!data.empty());
    return absl::OkStatus();
  }

  absl::Status Truncate(int64_t size) override {
    if (size != 0) return absl::InvalidArgumentError("an ingest can only be truncated to nothing");
    return Exchange(Request(api::WRITE));  // offset 0 begins anew
  }

  absl::StatusOr<content::IngestStatus> Status() const override {
    api::StatusRequest request;
    request.set_ref(options_.ref);
    api::StatusResponse response;
    const auto context = connection_->Call();
    GANTRY_RETURN_IF_ERROR(FromGrpc(connection_->stub->Status(context.get(), request, &response)));
    return IngestFrom(response.status());
  }

  content::Digest CurrentDigest() const override { return digest_; }

  absl::StatusOr<content::BlobInfo> Commit(int64_t size,
                                           const std::optional<content::Digest>& expected) override {
    api::WriteContentRequest request = Request(api::COMMIT);
    request.set_offset(offset_);
    request.set_total(size);
    if (expected) request.set_expected(expected->ToString());
    for (const auto& [name, value] : connection_->options.labels) (*request.mutable_labels())[name] = value;
    const absl::Status committed = Exchange(request);
    if (!ended_) {
      const absl::Status ended = End();
      if (committed.ok()) GANTRY_RETURN_IF_ERROR(ended);
    }
    if (!committed.ok()) return committed;
    return content::BlobInfo{digest_, offset_, updated_};
  }

 private:
  api::WriteContentRequest Request(api::WriteAction action) const {
    api::WriteContentRequest request;
    request.set_action(action);
    request.set_ref(options_.ref);
    return request;
  }

  absl::Status Exchange(const api::WriteContentRequest& request) {
    if (ended_)
      return absl::FailedPreconditionError(absl::StrCat("the writer of ", options_.ref, " has ended"));
    api::WriteContentResponse response;
    if (!stream_->Write(request) || !stream_->Read(&response)) {
      const absl::Status status = End();
      return status.ok() ? absl::InternalError("the stream ended without an answer") : status;
    }
    offset_ = response.offset();
    updated_ = TimeFrom(response.updated_at());
    if (!response.digest().empty()) {
      GANTRY_ASSIGN_OR_RETURN(digest_, content::Digest::Parse(response.digest()));
    }
    return absl::OkStatus();
  }

  absl::Status End() {
    ended_ = true;
    stream_->WritesDone();
    return FromGrpc(stream_->Finish());
  }

  const std::shared_ptr<Connection> connection_;
  const content::WriterOptions options_;
  const std::unique_ptr<grpc::ClientContext> context_;
  const std::unique_ptr<grpc::ClientReaderWriter<api::WriteContentRequest, api::WriteContentResponse>>
      stream_;
  bool ended_ = false;
  int64_t offset_ = 0;
  absl::Time updated_;
  content::Digest digest_;
};

class RemoteStore : public content::Store {
 public:
  explicit RemoteStore(RemoteStoreOptions options)
      : connection_(std::make_shared<Connection>(std::move(options))) {}

  absl::StatusOr<content::BlobInfo> Info(const content::Digest& digest) const override {
    api::InfoRequest request;
    request.set_digest(digest.ToString());
    api::InfoResponse response;
    const auto context = connection_->Call();
    GANTRY_RETURN_IF_ERROR(FromGrpc(connection_->stub->Info(context.get(), request, &response)));
    return BlobFrom(response.info());
  }

  absl::StatusOr<std::unique_ptr<content::ReaderAt>> Open(const content::Digest& digest) const override {
    GANTRY_ASSIGN_OR_RETURN(content::BlobInfo info, Info(digest));
    return std::make_unique<RemoteReader>(connection_, std::move(info));
  }

  absl::Status Walk(const std::function<absl::Status(const content::BlobInfo&)>& visit) const override {
    const auto context = connection_->Call();
    const auto stream = connection_->stub->List(context.get(), {});
    api::ListContentResponse page;
    while (stream->Read(&page)) {
      for (const api::Info& info : page.info()) {
        const auto blob = BlobFrom(info);
        const absl::Status status = blob.ok() ? visit(*blob) : blob.status();
        if (status.ok()) continue;
        context->TryCancel();
        (void)stream->Finish();
        return status;
      }
    }
    return FromGrpc(stream->Finish());
  }

  absl::Status Delete(const content::Digest& digest) override {
    api::DeleteContentRequest request;
    request.set_digest(digest.ToString());
    Empty nothing;
    const auto context = connection_->Call();
    return FromGrpc(connection_->stub->Delete(context.get(), request, &nothing));
  }

  absl::StatusOr<std::unique_ptr<content::Writer>> OpenWriter(
      const content::WriterOptions& options) override {
    auto writer = std::make_unique<RemoteWriter>(connection_, options);
    GANTRY_RETURN_IF_ERROR(writer->Begin());
    return writer;
  }

  absl::StatusOr<content::IngestStatus> Status(absl::string_view ref) const override {
    api::StatusRequest request;
    request.set_ref(std::string(ref));
    api::StatusResponse response;
    const auto context = connection_->Call();
    GANTRY_RETURN_IF_ERROR(FromGrpc(connection_->stub->Status(context.get(), request, &response)));
    return IngestFrom(response.status());
  }

  absl::StatusOr<std::vector<content::IngestStatus>> ListStatuses() const override {
    api::ListStatusesResponse response;
    const auto context = connection_->Call();
    GANTRY_RETURN_IF_ERROR(FromGrpc(connection_->stub->ListStatuses(context.get(), {}, &response)));
    std::vector<content::IngestStatus> statuses;
    for (const api::Status& status : response.statuses()) {
      GANTRY_ASSIGN_OR_RETURN(statuses.emplace_back(), IngestFrom(status));
    }
    return statuses;
  }

  absl::Status Abort(absl::string_view ref) override {
    api::AbortRequest request;
    request.set_ref(std::string(ref));
    Empty nothing;
    const auto context = connection_->Call();
    return FromGrpc(connection_->stub->Abort(context.get(), request, &nothing));
  }

 private:
  const std::shared_ptr<Connection> connection_;
};

}  // namespace

std::unique_ptr<content::Store> OpenRemoteStore(RemoteStoreOptions options) {
  return std::make_unique<RemoteStore>(std::move(options));
}

}  // namespace gantry::client
