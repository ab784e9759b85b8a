#include "daemon/metadata/content_writer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/metadata/leases.h"
#include "daemon/metadata/schema.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/status.h"

namespace gantry::metadata {
namespace {

constexpr size_t kCopyStep = 1 << 20;

class NamespacedWriter : public ContentWriter {
 public:
  NamespacedWriter(WriterParts parts, Scope scope, content::WriterOptions options,
                   std::unique_ptr<content::Writer> writer, std::optional<content::BlobInfo> shared)
      : parts_(parts),
        scope_(std::move(scope)),
        options_(std::move(options)),
        writer_(std::move(writer)),
        shared_(std::move(shared)),
        started_(sys::WallNow()) {}

  absl::Status Write(absl::string_view data) override;
  absl::Status Truncate(int64_t size) override;
  absl::StatusOr<content::IngestStatus> Status() const override;
  content::Digest CurrentDigest() const override {
    return writer_ != nullptr ? writer_->CurrentDigest() : shared_->digest;
  }
  absl::StatusOr<CommittedContent> Commit(int64_t size, const std::optional<content::Digest>& expected,
                                          const Labels& labels) override;

 private:
  // From a blob of another namespace to an ingest of files that begins with its first `keep` bytes.
  absl::Status Unshare(int64_t keep);
  absl::Status CopyShared(int64_t keep);
  absl::StatusOr<CommittedContent> CommitFiles(int64_t size, const std::optional<content::Digest>& expected);
  absl::StatusOr<CommittedContent> CommitShared(int64_t size, const std::optional<content::Digest>& expected);
  absl::Status WriteRecord(const CommittedContent& committed, const Labels& labels);

  const WriterParts parts_;
  const Scope scope_;
  const content::WriterOptions options_;
  std::unique_ptr<content::Writer> writer_;
  std::optional<content::BlobInfo> shared_;
  const absl::Time started_;
};

absl::Status NamespacedWriter::CopyShared(int64_t keep) {
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<content::ReaderAt> reader, parts_.files->Open(shared_->digest));
  std::string buffer(kCopyStep, '\0');
  for (int64_t offset = 0; offset < keep;) {
    const size_t want = static_cast<size_t>(std::min<int64_t>(kCopyStep, keep - offset));
    GANTRY_ASSIGN_OR_RETURN(const size_t got, reader->ReadAt(buffer.data(), want, offset));
    if (got == 0) return absl::DataLossError(absl::StrCat(shared_->digest.ToString(), ": its file is short"));
    GANTRY_RETURN_IF_ERROR(writer_->Write(absl::string_view(buffer).substr(0, got)));
    offset += static_cast<int64_t>(got);
  }
  return absl::OkStatus();
}

absl::Status NamespacedWriter::Unshare(int64_t keep) {
  GANTRY_ASSIGN_OR_RETURN(writer_, parts_.files->OpenWriter({IngestRef(scope_.ns, options_.ref),
                                                             options_.total_bytes, std::nullopt}));
  absl::Status status = writer_->Truncate(0);
  if (status.ok()) status = CopyShared(keep);
  if (!status.ok()) writer_.reset();
  return status;
}

absl::Status NamespacedWriter::Write(absl::string_view data) {
  if (data.empty()) return absl::OkStatus();
  if (writer_ == nullptr) GANTRY_RETURN_IF_ERROR(Unshare(shared_->size_bytes));
  return writer_->Write(data);
}

absl::Status NamespacedWriter::Truncate(int64_t size) {
  if (writer_ != nullptr) return writer_->Truncate(size);
  return Unshare(std::min(size, shared_->size_bytes));
}

absl::StatusOr<content::IngestStatus> NamespacedWriter::Status() const {
  if (writer_ == nullptr) {
    return content::IngestStatus{
        options_.ref, shared_->size_bytes, shared_->size_bytes, shared_->digest, started_, started_};
  }
  GANTRY_ASSIGN_OR_RETURN(content::IngestStatus status, writer_->Status());
  status.ref = options_.ref;
  return status;
}

absl::StatusOr<CommittedContent> NamespacedWriter::CommitShared(
    int64_t size, const std::optional<content::Digest>& expected) {
  if (size != 0 && size != shared_->size_bytes) {
    return absl::FailedPreconditionError(
        absl::StrCat("\"", options_.ref, "\" failed size validation: ", shared_->size_bytes, " != ", size));
  }
  if (expected.has_value() && *expected != shared_->digest) {
    return absl::FailedPreconditionError(absl::StrCat("\"", options_.ref, "\": unexpected digest ",
                                                      shared_->digest.ToString(), ", expected ",
                                                      expected->ToString()));
  }
  return CommittedContent{shared_->digest, shared_->size_bytes};
}

absl::StatusOr<CommittedContent> NamespacedWriter::CommitFiles(
    int64_t size, const std::optional<content::Digest>& expected) {
  GANTRY_ASSIGN_OR_RETURN(const content::IngestStatus status, writer_->Status());
  const content::Digest digest = expected.has_value() ? *expected : writer_->CurrentDigest();
  auto blob = writer_->Commit(size, expected);
  writer_.reset();
  // Another namespace had the same bytes: this one has them now, too.
  if (absl::IsAlreadyExists(blob.status())) return CommittedContent{digest, status.offset};
  GANTRY_RETURN_IF_ERROR(blob.status());
  return CommittedContent{blob->digest, blob->size_bytes};
}

absl::Status NamespacedWriter::WriteRecord(const CommittedContent& committed, const Labels& labels) {
  kv::Database& records = *parts_.database->records();
  const std::string digest = committed.digest.ToString();
  const std::string blob_key = BlobKey(scope_.ns, digest);
  const std::string ingest_key = IngestKey(scope_.ns, options_.ref);
  const std::string family(kContentFamily);
  const auto lock = records.Lock(Leases::WithLease({{family, blob_key}, {family, ingest_key}}, scope_));
  // Bytes that another namespace brought may have become garbage, and gone, before the pin was there.
  if (!parts_.files->Info(committed.digest).ok()) {
    return absl::UnavailableError(
        absl::StrCat("content ", digest, " was collected while it was committed: write it again"));
  }
  kv::WriteBatch batch;
  batch.Delete(kContentFamily, ingest_key);
  Leases::RemoveFrom(&batch, scope_, kIngestResource, options_.ref);
  GANTRY_RETURN_IF_ERROR(Leases::AddTo(&batch, records, scope_, kContentResource, digest));
  const absl::Status known = records.Get(kContentFamily, blob_key).status();
  if (!known.ok() && !absl::IsNotFound(known)) return known;
  if (!known.ok()) {
    ContentInfo info;
    info.set_digest(digest);
    info.set_size(committed.size_bytes);
    *info.mutable_created_at() = Now();
    *info.mutable_updated_at() = info.created_at();
    *info.mutable_labels() = labels;
    DropEmptyLabels(info.mutable_labels());
    GANTRY_RETURN_IF_ERROR(parts_.database->EnsureNamespace(scope_.ns, &batch));
    batch.Put(kContentFamily, blob_key, Encode(info));
  }
  GANTRY_RETURN_IF_ERROR(parts_.database->Commit(batch, Change::kAddition));
  if (known.ok()) return absl::AlreadyExistsError(absl::StrCat("content ", digest, ": already exists"));
  return absl::OkStatus();
}

absl::StatusOr<CommittedContent> NamespacedWriter::Commit(int64_t size,
                                                          const std::optional<content::Digest>& expected,
                                                          const Labels& labels) {
  if (writer_ == nullptr && !shared_.has_value()) {
    return absl::FailedPreconditionError(absl::StrCat("ingest \"", options_.ref, "\": the writer is closed"));
  }
  GANTRY_RETURN_IF_ERROR(ValidateLabels("info.Labels", labels));
  // From before the file is there until its record is: the collector must not take it for garbage.
  const DigestPins::Pin pin = parts_.pins->Hold(expected.has_value() ? *expected : CurrentDigest());
  const bool files = writer_ != nullptr;
  auto committed = files ? CommitFiles(size, expected) : CommitShared(size, expected);
  shared_.reset();
  GANTRY_RETURN_IF_ERROR(committed.status());
  GANTRY_RETURN_IF_ERROR(WriteRecord(*committed, labels));
  return committed;
}

}  // namespace

std::unique_ptr<ContentWriter> MakeNamespacedWriter(WriterParts parts, Scope scope,
                                                    content::WriterOptions options,
                                                    std::unique_ptr<content::Writer> writer,
                                                    std::optional<content::BlobInfo> shared) {
  return std::make_unique<NamespacedWriter>(parts, std::move(scope), std::move(options), std::move(writer),
                                            std::move(shared));
}

}  // namespace gantry::metadata
