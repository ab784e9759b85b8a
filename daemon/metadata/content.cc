#include "daemon/metadata/content.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "api/proto/containerd/services/namespaces/v1/namespace.pb.h"
#include "daemon/metadata/content_writer.h"
#include "daemon/metadata/leases.h"
#include "daemon/metadata/schema.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/status.h"

namespace gantry::metadata {
namespace {

using IngestRecord = containerd::services::content::v1::Status;

// How long an ingest that no lease holds may rest before it is garbage, as in containerd.
constexpr absl::Duration kIngestLife = absl::Hours(24);

absl::Status NoSuchBlob(const content::Digest& digest) {
  return absl::NotFoundError(absl::StrCat("content digest ", digest.ToString(), ": not found"));
}

absl::Status NoSuchIngest(absl::string_view ref) {
  return absl::NotFoundError(absl::StrCat("reference ", ref, ": not found"));
}

std::optional<absl::string_view> InfoField(const ContentInfo& info, filters::FieldPath path) {
  if (path[0] == "digest") return filters::TextField(info.digest());
  if (path[0] == "labels") return filters::LabelField(path.subspan(1), info.labels());
  return std::nullopt;
}

kv::RecordName BlobName(const Scope& scope, const content::Digest& digest) {
  return {std::string(kContentFamily), BlobKey(scope.ns, digest.ToString())};
}

kv::RecordName IngestName(const Scope& scope, absl::string_view ref) {
  return {std::string(kContentFamily), IngestKey(scope.ns, ref)};
}

}  // namespace

DigestPins::Pin::Pin(DigestPins* pins, content::Digest digest) : pins_(pins), digest_(std::move(digest)) {
  std::lock_guard<std::mutex> lock(pins_->mutex_);
  ++pins_->counts_[digest_];
}

DigestPins::Pin::Pin(Pin&& other) noexcept
    : pins_(std::exchange(other.pins_, nullptr)), digest_(std::move(other.digest_)) {}

DigestPins::Pin::~Pin() {
  if (pins_ == nullptr) return;
  std::lock_guard<std::mutex> lock(pins_->mutex_);
  const auto it = pins_->counts_.find(digest_);
  if (--it->second == 0) pins_->counts_.erase(it);
}

bool DigestPins::Holds(const content::Digest& digest) const {
  std::lock_guard<std::mutex> lock(mutex_);
  return counts_.contains(digest);
}

absl::StatusOr<ContentInfo> ContentStore::Info(const Scope& scope, const content::Digest& digest) const {
  ContentInfo info;
  const absl::Status status =
      ReadRecord(*database_.records(), kContentFamily, BlobKey(scope.ns, digest.ToString()), &info);
  if (absl::IsNotFound(status)) return NoSuchBlob(digest);
  GANTRY_RETURN_IF_ERROR(status);
  return info;
}

absl::StatusOr<ContentInfo> ContentStore::Update(const Scope& scope, const ContentInfo& info,
                                                 const std::vector<std::string>& paths) {
  GANTRY_ASSIGN_OR_RETURN(const content::Digest digest, content::Digest::Parse(info.digest()));
  const auto lock = database_.records()->Lock({BlobName(scope, digest)});
  GANTRY_ASSIGN_OR_RETURN(ContentInfo updated, Info(scope, digest));
  for (const std::string& path : paths) {
    if (!ApplyLabelPath(path, info.labels(), updated.mutable_labels())) {
      return absl::InvalidArgumentError(
          absl::StrCat("cannot update \"", path, "\" field on content info \"", info.digest(), "\""));
    }
  }
  if (paths.empty()) *updated.mutable_labels() = info.labels();
  GANTRY_RETURN_IF_ERROR(ValidateLabels("info.Labels", updated.labels()));
  DropEmptyLabels(updated.mutable_labels());
  *updated.mutable_updated_at() = Now();
  kv::WriteBatch batch;
  batch.Put(kContentFamily, BlobKey(scope.ns, info.digest()), Encode(updated));
  GANTRY_RETURN_IF_ERROR(database_.Commit(batch, Change::kAddition));
  return updated;
}

absl::StatusOr<std::vector<ContentInfo>> ContentStore::ListSome(const Scope& scope,
                                                                const filters::Filter& filter, size_t limit,
                                                                std::string* position) const {
  std::vector<ContentInfo> result;
  GANTRY_RETURN_IF_ERROR(
      WalkRecords(*database_.records(), kContentFamily, BlobsPrefix(scope.ns), position,
                  [&](absl::string_view key, absl::string_view value) -> absl::StatusOr<bool> {
                    ContentInfo info;
                    GANTRY_RETURN_IF_ERROR(ParseRecord(key, value, &info));
                    if (filter.Match([&](filters::FieldPath path) { return InfoField(info, path); })) {
                      result.push_back(std::move(info));
                    }
                    return result.size() < limit;
                  }));
  return result;
}

absl::Status ContentStore::Delete(const Scope& scope, const content::Digest& digest) {
  const kv::RecordName name = BlobName(scope, digest);
  const auto lock = database_.records()->Lock({name});
  GANTRY_RETURN_IF_ERROR(Info(scope, digest).status());
  kv::WriteBatch batch;
  batch.Delete(name.family, name.key);
  Leases::RemoveFrom(&batch, scope, kContentResource, digest.ToString());
  return database_.Commit(batch, Change::kRemoval);
}

absl::StatusOr<std::unique_ptr<content::ReaderAt>> ContentStore::Open(const Scope& scope,
                                                                      const content::Digest& digest) const {
  GANTRY_ASSIGN_OR_RETURN(const ContentInfo info, Info(scope, digest));
  auto reader = files_.Open(digest);
  if (absl::IsNotFound(reader.status())) {
    return absl::DataLossError(absl::StrCat("content ", digest.ToString(),
                                            ": its file is missing; delete it and pull or import it again"));
  }
  GANTRY_RETURN_IF_ERROR(reader.status());
  if ((*reader)->size_bytes() != info.size()) {
    return absl::DataLossError(absl::StrCat("content ", digest.ToString(), ": its file has ",
                                            (*reader)->size_bytes(), " bytes instead of ", info.size(),
                                            "; delete it and pull or import it again"));
  }
  return reader;
}

bool ContentStore::MayShare(const content::Digest& digest) const {
  if (policy_ == SharingPolicy::kShared) return true;
  const auto it = database_.records()->Scan(kObjectsFamily, kNamespaces);
  for (; it->Valid(); it->Next()) {
    containerd::services::namespaces::v1::Namespace ns;
    if (!ParseRecord(it->key(), it->value(), &ns).ok()) continue;
    const auto label = ns.labels().find("containerd.io/namespace.shareable");
    if (label == ns.labels().end() || label->second != "true") continue;
    if (database_.records()->Get(kContentFamily, BlobKey(ns.name(), digest.ToString())).ok()) return true;
  }
  return false;
}

absl::StatusOr<std::unique_ptr<ContentWriter>> ContentStore::OpenWriter(
    const Scope& scope, const content::WriterOptions& options) {
  if (options.ref.empty()) return absl::InvalidArgumentError("ref must not be empty");
  std::optional<content::BlobInfo> shared;
  kv::Database& records = *database_.records();
  {
    std::vector<kv::RecordName> names = {IngestName(scope, options.ref)};
    if (options.expected.has_value()) names.push_back(BlobName(scope, *options.expected));
    const auto lock = records.Lock(Leases::WithLease(std::move(names), scope));
    kv::WriteBatch batch;
    if (options.expected.has_value() && Info(scope, *options.expected).ok()) {
      GANTRY_RETURN_IF_ERROR(
          Leases::AddTo(&batch, records, scope, kContentResource, options.expected->ToString()));
      if (!batch.empty()) GANTRY_RETURN_IF_ERROR(database_.Commit(batch, Change::kAddition));
      return absl::AlreadyExistsError(
          absl::StrCat("content ", options.expected->ToString(), ": already exists"));
    }
    if (options.expected.has_value() && MayShare(*options.expected)) {
      auto blob = files_.Info(*options.expected);
      // Another size than promised: the commit will tell the client.
      if (blob.ok() && (options.total_bytes == 0 || options.total_bytes == blob->size_bytes)) shared = *blob;
    }
    IngestRecord record;
    record.set_ref(options.ref);
    if (shared.has_value()) record.set_expected(shared->digest.ToString());
    if (scope.lease.empty()) *record.mutable_updated_at() = ToProto(sys::WallNow() + kIngestLife);
    GANTRY_RETURN_IF_ERROR(database_.EnsureNamespace(scope.ns, &batch));
    GANTRY_RETURN_IF_ERROR(Leases::AddTo(&batch, records, scope, kIngestResource, options.ref));
    batch.Put(kContentFamily, IngestKey(scope.ns, options.ref), Encode(record));
    // Not synced: an ingest that a power cut takes away was worth nothing yet.
    GANTRY_RETURN_IF_ERROR(database_.Commit(batch, Change::kAddition, kv::Durability::kVolatile));
  }
  std::unique_ptr<content::Writer> writer;
  if (!shared.has_value()) {
    // Without the expected digest: whether the namespace has it was asked above, and files are not its
    // business. Outside the lock: resuming hashes what is there.
    content::WriterOptions file = {IngestRef(scope.ns, options.ref), options.total_bytes, std::nullopt};
    GANTRY_ASSIGN_OR_RETURN(writer, files_.OpenWriter(file));
  }
  return MakeNamespacedWriter({&database_, &files_, &pins_}, scope, options, std::move(writer),
                              std::move(shared));
}

absl::StatusOr<content::IngestStatus> ContentStore::Status(const Scope& scope, absl::string_view ref) const {
  const absl::Status known = database_.records()->Get(kContentFamily, IngestKey(scope.ns, ref)).status();
  if (absl::IsNotFound(known)) return NoSuchIngest(ref);
  GANTRY_RETURN_IF_ERROR(known);
  auto status = files_.Status(IngestRef(scope.ns, ref));
  if (absl::IsNotFound(status.status())) return NoSuchIngest(ref);
  GANTRY_RETURN_IF_ERROR(status.status());
  status->ref = std::string(ref);
  return status;
}

absl::StatusOr<std::vector<content::IngestStatus>> ContentStore::ListStatuses(
    const Scope& scope, const filters::Filter& filter) const {
  std::vector<content::IngestStatus> result;
  const auto it = database_.records()->Scan(kContentFamily, IngestsPrefix(scope.ns));
  for (; it->Valid(); it->Next()) {
    const std::string ref(SplitKey(it->key()).rest);
    const auto field = [&](filters::FieldPath path) -> std::optional<absl::string_view> {
      if (path[0] == "ref") return absl::string_view(ref);
      return std::nullopt;
    };
    if (!filter.Match(field)) continue;
    auto status = files_.Status(IngestRef(scope.ns, ref));
    if (absl::IsNotFound(status.status())) continue;
    GANTRY_RETURN_IF_ERROR(status.status());
    status->ref = ref;
    result.push_back(*std::move(status));
  }
  GANTRY_RETURN_IF_ERROR(it->status());
  return result;
}

absl::Status ContentStore::Abort(const Scope& scope, absl::string_view ref) {
  const kv::RecordName name = IngestName(scope, ref);
  const auto lock = database_.records()->Lock({name});
  const absl::Status known = database_.records()->Get(name.family, name.key).status();
  if (absl::IsNotFound(known)) return NoSuchIngest(ref);
  GANTRY_RETURN_IF_ERROR(known);
  kv::WriteBatch batch;
  batch.Delete(name.family, name.key);
  Leases::RemoveFrom(&batch, scope, kIngestResource, ref);
  GANTRY_RETURN_IF_ERROR(database_.Commit(batch, Change::kRemoval, kv::Durability::kVolatile));
  const absl::Status aborted = files_.Abort(IngestRef(scope.ns, ref));
  // One that was to take another namespace's blob has no files.
  return absl::IsNotFound(aborted) ? absl::OkStatus() : aborted;
}

}  // namespace gantry::metadata
