#include "snapshotter/records/recorded_snapshotter.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::snapshotter {
namespace {

absl::Status NotFound(absl::string_view key) {
  return absl::NotFoundError(absl::StrCat("snapshot \"", key, "\" does not exist"));
}

// A label whose value is empty is the same as none, to containerd's clients.
void DropEmpty(Labels* labels) {
  for (auto it = labels->begin(); it != labels->end();) {
    it = it->second.empty() ? labels->erase(it) : std::next(it);
  }
}

absl::Status ApplyFieldpaths(const Info& wanted, const std::vector<std::string>& fieldpaths, Info* info) {
  if (fieldpaths.empty()) info->labels = wanted.labels;
  for (absl::string_view path : fieldpaths) {
    if (path == "labels") {
      info->labels = wanted.labels;
    } else if (absl::ConsumePrefix(&path, "labels.")) {
      const auto value = wanted.labels.find(std::string(path));
      info->labels[std::string(path)] = value == wanted.labels.end() ? "" : value->second;
    } else {
      return absl::InvalidArgumentError(absl::StrCat("field \"", path, "\" of snapshot \"", wanted.name,
                                                     "\" cannot be changed; labels can"));
    }
  }
  DropEmpty(&info->labels);
  return absl::OkStatus();
}

}  // namespace

// While it lives, the snapshot of this id cannot be removed.
class RecordedSnapshotter::ParentPin {
 public:
  explicit ParentPin(RecordedSnapshotter* owner) : owner_(owner) {}
  ~ParentPin() {
    if (id_ == 0) return;
    absl::MutexLock lock(&owner_->mutex_);
    if (--owner_->pinned_[id_] == 0) owner_->pinned_.erase(id_);
  }
  ParentPin(const ParentPin&) = delete;
  ParentPin& operator=(const ParentPin&) = delete;

  // False if it is being removed.
  bool Hold(uint64_t id) {
    absl::MutexLock lock(&owner_->mutex_);
    if (owner_->removing_.contains(id)) return false;
    id_ = id;
    ++owner_->pinned_[id];
    return true;
  }

 private:
  RecordedSnapshotter* const owner_;
  uint64_t id_ = 0;
};

RecordedSnapshotter::RecordedSnapshotter(RecordedOptions options) : options_(std::move(options)) {}

RecordedSnapshotter::~RecordedSnapshotter() { (void)Close(); }

absl::StatusOr<std::unique_ptr<RecordedSnapshotter>> RecordedSnapshotter::Open(RecordedOptions options) {
  std::unique_ptr<RecordedSnapshotter> snapshotter(new RecordedSnapshotter(std::move(options)));
  GANTRY_RETURN_IF_ERROR(snapshotter->Recover());
  return snapshotter;
}

absl::Status RecordedSnapshotter::Recover() {
  uint64_t next = 1;
  if (auto stored = options_.db->Get(kFamily, NextIdKey(options_.name)); stored.ok())
    next = DecodeId(*stored);
  GANTRY_ASSIGN_OR_RETURN(const std::vector<uint64_t> on_disk, options_.driver->directories().List());
  absl::flat_hash_set<uint64_t> without_record(on_disk.begin(), on_disk.end());
  const std::string prefix = RecordPrefix(options_.name, "");
  const auto it = options_.db->Scan(kFamily, prefix);
  for (; it->Valid(); it->Next()) {
    GANTRY_ASSIGN_OR_RETURN(const Record record, DecodeRecord(it->key().substr(prefix.size()), it->value()));
    next = std::max(next, record.id + 1);
    if (without_record.erase(record.id) > 0) continue;
    if (record.info.kind == Kind::kCommitted) {
      log::Error("the files of a committed snapshot are missing: remove it and pull its image again",
                 {{"snapshotter", options_.name}, {"name", record.info.name}});
      continue;
    }
    GANTRY_RETURN_IF_ERROR(options_.driver->Create(record));
  }
  GANTRY_RETURN_IF_ERROR(it->status());
  for (const uint64_t id : without_record) {
    next = std::max(next, id + 1);
    GANTRY_RETURN_IF_ERROR(options_.driver->directories().Discard(id));
  }
  next_id_ = next;
  DiscardLater(0);
  return absl::OkStatus();
}

absl::Status RecordedSnapshotter::CheckOpen() const {
  if (!closed_) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("snapshotter ", options_.name, " is closed"));
}

absl::StatusOr<Record> RecordedSnapshotter::Get(absl::string_view key) const {
  GANTRY_RETURN_IF_ERROR(CheckOpen());
  if (key.empty()) return absl::InvalidArgumentError("a snapshot's key must not be empty");
  auto bytes = options_.db->Get(kFamily, RecordKey(options_.name, key).key);
  if (absl::IsNotFound(bytes.status())) return NotFound(key);
  if (!bytes.ok()) return bytes.status();
  return DecodeRecord(key, *bytes);
}

absl::Status RecordedSnapshotter::CheckFree(absl::string_view key) const {
  const absl::Status found = Get(key).status();
  if (absl::IsNotFound(found)) return absl::OkStatus();
  if (!found.ok()) return found;
  return absl::AlreadyExistsError(absl::StrCat("snapshot \"", key, "\" already exists"));
}

void RecordedSnapshotter::PutRecord(const Record& record, kv::WriteBatch* batch) const {
  batch->Put(kFamily, RecordKey(options_.name, record.info.name).key, EncodeRecord(record));
}

kv::RecordLock RecordedSnapshotter::Lock(std::vector<absl::string_view> keys, const Companion& companion) {
  std::vector<kv::RecordName> names = companion.locks;
  for (const absl::string_view key : keys) names.push_back(RecordKey(options_.name, key));
  return options_.db->Lock(std::move(names));
}

absl::Status RecordedSnapshotter::Finish(kv::WriteBatch* batch, const Companion& companion) {
  if (companion.add) GANTRY_RETURN_IF_ERROR(companion.add(batch));
  return options_.db->Write(*batch, kv::Durability::kSynced);
}

bool RecordedSnapshotter::HasChildren(uint64_t id) const {
  return options_.db->Scan(kFamily, ChildPrefix(options_.name, id))->Valid();
}

Info RecordedSnapshotter::Told(const Record& record) const {
  Info info = record.info;
  options_.driver->Decorate(record, &info);
  return info;
}

absl::StatusOr<Info> RecordedSnapshotter::Stat(absl::string_view key) {
  GANTRY_ASSIGN_OR_RETURN(const Record record, Get(key));
  return Told(record);
}

absl::StatusOr<Info> RecordedSnapshotter::Update(const Info& info,
                                                 const std::vector<std::string>& fieldpaths) {
  const kv::RecordLock lock = Lock({info.name}, {});
  GANTRY_ASSIGN_OR_RETURN(Record record, Get(info.name));
  GANTRY_RETURN_IF_ERROR(ApplyFieldpaths(info, fieldpaths, &record.info));
  record.info.updated = sys::WallNow();
  kv::WriteBatch batch;
  PutRecord(record, &batch);
  GANTRY_RETURN_IF_ERROR(Finish(&batch, {}));
  return Told(record);
}

absl::StatusOr<Usage> RecordedSnapshotter::GetUsage(absl::string_view key) {
  GANTRY_ASSIGN_OR_RETURN(const Record record, Get(key));
  if (record.info.kind != Kind::kActive) return record.usage;
  return options_.driver->Measure(record);
}

absl::StatusOr<std::vector<Mount>> RecordedSnapshotter::Mounts(absl::string_view key) {
  GANTRY_ASSIGN_OR_RETURN(const Record record, Get(key));
  if (record.info.kind == Kind::kCommitted) {
    return absl::FailedPreconditionError(
        absl::StrCat("snapshot \"", key, "\" is committed, not active: take a view of it to see its files"));
  }
  return options_.driver->Mounts(record);
}

absl::StatusOr<std::vector<Mount>> RecordedSnapshotter::Prepare(absl::string_view key,
                                                                absl::string_view parent,
                                                                const MutationOptions& options) {
  return Create(Kind::kActive, key, parent, options);
}

absl::StatusOr<std::vector<Mount>> RecordedSnapshotter::View(absl::string_view key, absl::string_view parent,
                                                             const MutationOptions& options) {
  return Create(Kind::kView, key, parent, options);
}

absl::Status RecordedSnapshotter::StandOn(absl::string_view parent, Record* child) const {
  auto below = Get(parent);
  if (absl::IsNotFound(below.status())) {
    return absl::NotFoundError(absl::StrCat("parent snapshot \"", parent, "\" does not exist"));
  }
  if (!below.ok()) return below.status();
  if (below->info.kind != Kind::kCommitted) {
    return absl::InvalidArgumentError(
        absl::StrCat("parent \"", parent, "\" is not committed: it is ", KindName(below->info.kind)));
  }
  child->info.parent = std::string(parent);
  child->parents = std::move(below->parents);
  child->parents.insert(child->parents.begin(), below->id);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Mount>> RecordedSnapshotter::Create(Kind kind, absl::string_view key,
                                                               absl::string_view parent,
                                                               const MutationOptions& options) {
  Record record;
  record.info.kind = kind;
  record.info.name = std::string(key);
  record.info.labels = options.labels;
  DropEmpty(&record.info.labels);
  record.info.created = record.info.updated = sys::WallNow();
  GANTRY_RETURN_IF_ERROR(CheckFree(key));
  ParentPin pin(this);
  if (!parent.empty()) {
    GANTRY_RETURN_IF_ERROR(StandOn(parent, &record));
    if (!pin.Hold(record.parents.front())) return NotFound(parent);
  }
  record.id = next_id_.fetch_add(1);
  absl::Cleanup discard = [this, &record] { DiscardLater(record.id); };
  GANTRY_RETURN_IF_ERROR(options_.driver->Create(record));
  {
    const kv::RecordLock lock = Lock({key}, options.companion);
    GANTRY_RETURN_IF_ERROR(CheckFree(key));
    kv::WriteBatch batch;
    if (!parent.empty()) {
      // It may have gone, or been made anew, before the pin held it.
      Record again;
      GANTRY_RETURN_IF_ERROR(StandOn(parent, &again));
      if (again.parents != record.parents) return NotFound(parent);
      batch.Put(kFamily, ChildKey(options_.name, record.parents.front(), record.id), "");
    }
    PutRecord(record, &batch);
    batch.Put(kFamily, NextIdKey(options_.name), EncodeId(record.id + 1));
    GANTRY_RETURN_IF_ERROR(Finish(&batch, options.companion));
  }
  std::move(discard).Cancel();
  return options_.driver->Mounts(record);
}

absl::Status RecordedSnapshotter::Commit(absl::string_view name, absl::string_view key,
                                         const MutationOptions& options, absl::string_view parent) {
  GANTRY_RETURN_IF_ERROR(CheckFree(name));
  GANTRY_ASSIGN_OR_RETURN(const Record before, Get(key));
  const absl::Status not_active = absl::FailedPreconditionError(
      absl::StrCat("snapshot \"", key, "\" is not active: it is ", KindName(before.info.kind)));
  if (before.info.kind != Kind::kActive) return not_active;
  if (!parent.empty() && !before.info.parent.empty() && parent != before.info.parent) {
    return absl::InvalidArgumentError(absl::StrCat("snapshot \"", key, "\" stands on \"", before.info.parent,
                                                   "\": commit cannot put it on \"", parent, "\""));
  }
  // Slow work first, while nothing is locked.
  GANTRY_ASSIGN_OR_RETURN(const Usage usage, options_.driver->Measure(before));
  if (options_.sync_commits) GANTRY_RETURN_IF_ERROR(options_.driver->directories().Sync());

  Record record;
  ParentPin pin(this);
  if (!parent.empty() && before.info.parent.empty()) {
    GANTRY_RETURN_IF_ERROR(StandOn(parent, &record));
    if (!pin.Hold(record.parents.front())) return NotFound(parent);
  } else {
    record.info.parent = before.info.parent;
    record.parents = before.parents;
  }
  const kv::RecordLock lock = Lock({name, key}, options.companion);
  GANTRY_RETURN_IF_ERROR(CheckFree(name));
  GANTRY_ASSIGN_OR_RETURN(const Record now, Get(key));
  if (now.id != before.id || now.info.kind != Kind::kActive) return not_active;
  record.id = now.id;
  record.usage = usage;
  record.info.kind = Kind::kCommitted;
  record.info.name = std::string(name);
  record.info.labels = options.labels;
  DropEmpty(&record.info.labels);
  record.info.created = record.info.updated = sys::WallNow();
  kv::WriteBatch batch;
  batch.Delete(kFamily, RecordKey(options_.name, key).key);
  PutRecord(record, &batch);
  if (!record.parents.empty() && before.parents.empty()) {
    Record again;
    GANTRY_RETURN_IF_ERROR(StandOn(parent, &again));
    if (again.parents != record.parents) return NotFound(parent);
    batch.Put(kFamily, ChildKey(options_.name, record.parents.front(), record.id), "");
  }
  return Finish(&batch, options.companion);
}

absl::Status RecordedSnapshotter::Remove(absl::string_view key, const Companion& companion) {
  uint64_t id = 0;
  {
    const kv::RecordLock lock = Lock({key}, companion);
    GANTRY_ASSIGN_OR_RETURN(const Record record, Get(key));
    id = record.id;
    const absl::Status has_child =
        absl::FailedPreconditionError(absl::StrCat("cannot remove snapshot \"", key, "\": it has a child"));
    {
      absl::MutexLock pins(&mutex_);
      if (pinned_.contains(id)) return has_child;
      removing_.insert(id);
    }
    const absl::Cleanup done = [this, id] {
      absl::MutexLock pins(&mutex_);
      removing_.erase(id);
    };
    if (HasChildren(id)) return has_child;
    kv::WriteBatch batch;
    batch.Delete(kFamily, RecordKey(options_.name, key).key);
    if (!record.parents.empty()) {
      batch.Delete(kFamily, ChildKey(options_.name, record.parents.front(), id));
    }
    GANTRY_RETURN_IF_ERROR(Finish(&batch, companion));
  }
  DiscardLater(id);
  return absl::OkStatus();
}

// The record is gone, or was never written: whatever fails here is tried again at the next Open.
void RecordedSnapshotter::DiscardLater(uint64_t id) {
  if (id != 0) {
    const absl::Status status = options_.driver->directories().Discard(id);
    if (!status.ok()) {
      log::Warn("a removed snapshot's directory could not be thrown away yet",
                {{"snapshotter", options_.name}, {"error", std::string(status.message())}});
    }
  }
  {
    absl::MutexLock lock(&mutex_);
    if (emptying_queued_) return;
    emptying_queued_ = true;
    ++background_work_;
  }
  auto work = [this] {
    {
      absl::MutexLock lock(&mutex_);
      emptying_queued_ = false;  // what is discarded from now on needs another run
    }
    const absl::Status status = options_.driver->directories().EmptyTrash();
    if (!status.ok()) {
      log::Warn(
          "the trash of removed snapshots could not be emptied; it is tried again with the next removal",
          {{"snapshotter", options_.name}, {"error", std::string(status.message())}});
    }
    absl::MutexLock lock(&mutex_);
    --background_work_;
  };
  if (options_.background) {
    options_.background(std::move(work));
  } else {
    work();
  }
}

absl::Status RecordedSnapshotter::Walk(absl::string_view prefix,
                                       const std::function<absl::Status(const Info&)>& visit) {
  GANTRY_RETURN_IF_ERROR(CheckOpen());
  const size_t skip = RecordPrefix(options_.name, "").size();
  const auto it = options_.db->Scan(kFamily, RecordPrefix(options_.name, prefix));
  for (; it->Valid(); it->Next()) {
    GANTRY_ASSIGN_OR_RETURN(const Record record, DecodeRecord(it->key().substr(skip), it->value()));
    GANTRY_RETURN_IF_ERROR(visit(Told(record)));
  }
  return it->status();
}

absl::Status RecordedSnapshotter::Cleanup() {
  GANTRY_RETURN_IF_ERROR(CheckOpen());
  return options_.driver->directories().EmptyTrash();
}

absl::Status RecordedSnapshotter::Close() {
  closed_ = true;
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(
      +[](int* work) { return *work == 0; }, &background_work_));
  return absl::OkStatus();
}

}  // namespace gantry::snapshotter
