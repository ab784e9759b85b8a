#include "daemon/metadata/database.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "api/proto/containerd/services/namespaces/v1/namespace.pb.h"
#include "daemon/metadata/schema.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/status.h"

namespace gantry::metadata {

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path) {
  kv::Options options;
  options.path = path;
  options.families = Families();
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<kv::Database> records, kv::Database::Open(std::move(options)));
  GANTRY_RETURN_IF_ERROR(CheckVersion(records.get()));
  return std::unique_ptr<Database>(new Database(std::move(records)));
}

absl::Status Database::Commit(const kv::WriteBatch& batch, Change change, kv::Durability durability) {
  GANTRY_RETURN_IF_ERROR(records_->Write(batch, durability));
  Notify(change);
  return absl::OkStatus();
}

void Database::Notify(Change change) {
  if (change == Change::kRemoval) ++removals_;
  if (observer_) observer_(change);
}

absl::Status Database::EnsureNamespace(absl::string_view ns, kv::WriteBatch* batch) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (known_namespaces_.contains(ns)) return absl::OkStatus();
  }
  auto stored = records_->Get(kObjectsFamily, NamespaceKey(ns));
  if (stored.ok()) {
    std::lock_guard<std::mutex> lock(mutex_);
    known_namespaces_.insert(std::string(ns));
    return absl::OkStatus();
  }
  if (!absl::IsNotFound(stored.status())) return stored.status();
  // Not remembered yet: the batch may fail. Two at once write the same.
  containerd::services::namespaces::v1::Namespace record;
  record.set_name(std::string(ns));
  batch->Put(kObjectsFamily, NamespaceKey(ns), Encode(record));
  return absl::OkStatus();
}

void Database::ForgetNamespace(absl::string_view ns) {
  std::lock_guard<std::mutex> lock(mutex_);
  known_namespaces_.erase(std::string(ns));
}

absl::Status ParseRecord(absl::string_view key, absl::string_view value,
                         google::protobuf::MessageLite* message) {
  if (message->ParseFromArray(value.data(), static_cast<int>(value.size()))) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("metadata: the record ", key, " cannot be decoded"));
}

absl::Status ReadRecord(const kv::Database& records, absl::string_view family, absl::string_view key,
                        google::protobuf::MessageLite* message) {
  GANTRY_ASSIGN_OR_RETURN(const std::string value, records.Get(family, key));
  return ParseRecord(key, value, message);
}

std::string Encode(const google::protobuf::MessageLite& message) { return message.SerializeAsString(); }

google::protobuf::Timestamp ToProto(absl::Time time) {
  google::protobuf::Timestamp result;
  const int64_t seconds = absl::ToUnixSeconds(time);
  result.set_seconds(seconds);
  result.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
  return result;
}

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

google::protobuf::Timestamp Now() { return ToProto(sys::WallNow()); }

absl::Status WalkRecords(
    const kv::Database& records, absl::string_view family, absl::string_view prefix, std::string* position,
    const std::function<absl::StatusOr<bool>(absl::string_view key, absl::string_view value)>& visit) {
  const auto it = records.Scan(family, prefix);
  if (!position->empty()) {
    it->Seek(*position);
    if (it->Valid() && it->key() == *position) it->Next();
  }
  for (; it->Valid(); it->Next()) {
    GANTRY_ASSIGN_OR_RETURN(const bool more, visit(it->key(), it->value()));
    if (!more) {
      *position = std::string(it->key());
      return absl::OkStatus();
    }
  }
  position->clear();
  return it->status();
}

}  // namespace gantry::metadata
