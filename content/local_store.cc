#include "content/local_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "content/ingest.h"
#include "content/shared_sync.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::content {
namespace {

constexpr Algorithm kAlgorithms[] = {Algorithm::kSha256, Algorithm::kSha384, Algorithm::kSha512};

absl::StatusOr<sys::UniqueFd> OpenDirectory(int parent, const std::string& name) {
  if (mkdirat(parent, name.c_str(), 0700) != 0 && errno != EEXIST) return sys::ErrnoStatus("mkdir", name);
  return sys::OpenAt(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

absl::Status NoSuchBlob(const Digest& digest) {
  return absl::NotFoundError(absl::StrCat("content ", digest.ToString(), ": not found"));
}

// Calls `visit` with every name in the directory, until it returns an error.
absl::Status ForEachName(int directory, const std::function<absl::Status(const std::string&)>& visit) {
  // A descriptor of its own: concurrent walks would share a dup's position.
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(directory, ".", O_RDONLY | O_DIRECTORY));
  DIR* dir = fdopendir(fd.get());
  if (dir == nullptr) return sys::ErrnoStatus("fdopendir", "");
  (void)fd.release();  // closedir closes it
  absl::Status status;
  while (status.ok()) {
    errno = 0;
    const dirent* entry = readdir(dir);
    if (entry == nullptr) {
      if (errno != 0) status = sys::ErrnoStatus("readdir", "");
      break;
    }
    const std::string name = entry->d_name;
    if (name != "." && name != "..") status = visit(name);
  }
  closedir(dir);
  return status;
}

class FileReader : public ReaderAt {
 public:
  FileReader(sys::UniqueFd fd, int64_t size, std::string name)
      : fd_(std::move(fd)), size_(size), name_(std::move(name)) {}
  int64_t size_bytes() const override { return size_; }
  absl::StatusOr<size_t> ReadAt(char* buffer, size_t size, int64_t offset) const override {
    size_t done = 0;
    while (done < size) {
      const ssize_t n = pread(fd_.get(), buffer + done, size - done, offset + static_cast<int64_t>(done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return sys::ErrnoStatus("read", name_);
      if (n == 0) break;
      done += static_cast<size_t>(n);
    }
    return done;
  }

 private:
  const sys::UniqueFd fd_;
  const int64_t size_;
  const std::string name_;
};

class DiskStore : public Store {
 public:
  absl::Status Init(const std::string& root);

  absl::StatusOr<BlobInfo> Info(const Digest& digest) const override;
  absl::StatusOr<std::unique_ptr<ReaderAt>> Open(const Digest& digest) const override;
  absl::Status Walk(const std::function<absl::Status(const BlobInfo&)>& visit) const override;
  absl::Status Delete(const Digest& digest) override;
  absl::StatusOr<std::unique_ptr<Writer>> OpenWriter(const WriterOptions& options) override;
  absl::StatusOr<IngestStatus> Status(absl::string_view ref) const override {
    return ReadIngestStatus(ingest_.get(), IngestName(ref));
  }
  absl::StatusOr<std::vector<IngestStatus>> ListStatuses() const override;
  absl::Status Abort(absl::string_view ref) override;

 private:
  const SharedSync& Blobs(Algorithm algorithm) const { return *blobs_[static_cast<int>(algorithm)]; }

  sys::UniqueFd ingest_;
  std::array<std::unique_ptr<SharedSync>, std::size(kAlgorithms)> blobs_;
  RefLocks locks_;
};

absl::Status DiskStore::Init(const std::string& root) {
  GANTRY_RETURN_IF_ERROR(sys::MkdirAll(root, 0700));
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd top, sys::OpenAt(AT_FDCWD, root, O_RDONLY | O_DIRECTORY));
  GANTRY_ASSIGN_OR_RETURN(ingest_, OpenDirectory(top.get(), "ingest"));
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd blobs, OpenDirectory(top.get(), "blobs"));
  for (Algorithm algorithm : kAlgorithms) {
    const std::string name(AlgorithmName(algorithm));
    GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd, OpenDirectory(blobs.get(), name));
    blobs_[static_cast<int>(algorithm)] =
        std::make_unique<SharedSync>(std::move(fd), root + "/blobs/" + name);
  }
  // The names of these directories must outlive a power cut as the blobs in them do.
  if (fsync(blobs.get()) != 0 || fsync(top.get()) != 0) return sys::ErrnoStatus("fsync", root);
  // What a crash left between the making of an ingest and its first file cannot be resumed by anybody.
  return ForEachName(ingest_.get(), [this](const std::string& name) {
    auto status = ReadIngestStatus(ingest_.get(), name);
    if (status.ok() && IngestName(status->ref) == name) return absl::OkStatus();
    return sys::RemoveAllAt(ingest_.get(), name);
  });
}

absl::StatusOr<BlobInfo> DiskStore::Info(const Digest& digest) const {
  struct stat st;
  if (fstatat(Blobs(digest.algorithm()).fd(), digest.hex().c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return NoSuchBlob(digest);
    return sys::ErrnoStatus("stat", digest.ToString());
  }
  return BlobInfo{digest, st.st_size, absl::TimeFromTimespec(st.st_mtim)};
}

absl::StatusOr<std::unique_ptr<ReaderAt>> DiskStore::Open(const Digest& digest) const {
  auto fd = sys::OpenAt(Blobs(digest.algorithm()).fd(), digest.hex(), O_RDONLY | O_NOFOLLOW);
  if (!fd.ok()) return sys::ErrnoOf(fd.status()) == ENOENT ? NoSuchBlob(digest) : fd.status();
  struct stat st;
  if (fstat(fd->get(), &st) != 0) return sys::ErrnoStatus("stat", digest.ToString());
  return std::unique_ptr<ReaderAt>(
      std::make_unique<FileReader>(*std::move(fd), st.st_size, digest.ToString()));
}

absl::Status DiskStore::Walk(const std::function<absl::Status(const BlobInfo&)>& visit) const {
  for (Algorithm algorithm : kAlgorithms) {
    GANTRY_RETURN_IF_ERROR(ForEachName(Blobs(algorithm).fd(), [&](const std::string& name) -> absl::Status {
      auto digest = Digest::Parse(absl::StrCat(AlgorithmName(algorithm), ":", name));
      if (!digest.ok()) return absl::OkStatus();  // somebody else's file is no blob
      auto info = Info(*digest);
      if (absl::IsNotFound(info.status())) return absl::OkStatus();  // deleted meanwhile
      if (!info.ok()) return info.status();
      return visit(*info);
    }));
  }
  return absl::OkStatus();
}

absl::Status DiskStore::Delete(const Digest& digest) {
  if (unlinkat(Blobs(digest.algorithm()).fd(), digest.hex().c_str(), 0) == 0) return absl::OkStatus();
  if (errno == ENOENT) return NoSuchBlob(digest);
  return sys::ErrnoStatus("unlink", digest.ToString());
}

absl::StatusOr<std::unique_ptr<Writer>> DiskStore::OpenWriter(const WriterOptions& options) {
  if (options.ref.empty()) return absl::InvalidArgumentError("the ref of an ingest must not be empty");
  if (options.total_bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("ingest \"", options.ref, "\": the total size must not be negative"));
  }
  if (options.expected.has_value() && Info(*options.expected).ok()) {
    return absl::AlreadyExistsError(
        absl::StrCat("content ", options.expected->ToString(), ": already exists"));
  }
  GANTRY_ASSIGN_OR_RETURN(RefLock lock, locks_.TryLock(options.ref));
  GANTRY_ASSIGN_OR_RETURN(
      Ingest ingest, Ingest::OpenOrCreate(
                         ingest_.get(), options.ref, options.total_bytes,
                         options.expected.has_value() ? options.expected->algorithm() : Algorithm::kSha256));
  return MakeIngestWriter(std::move(lock), std::move(ingest), ingest_.get(),
                          [this](Algorithm algorithm) { return blobs_[static_cast<int>(algorithm)].get(); });
}

absl::StatusOr<std::vector<IngestStatus>> DiskStore::ListStatuses() const {
  std::vector<IngestStatus> statuses;
  GANTRY_RETURN_IF_ERROR(ForEachName(ingest_.get(), [&](const std::string& name) {
    auto status = ReadIngestStatus(ingest_.get(), name);
    // One that is being made, committed or aborted right now is not there.
    if (status.ok()) statuses.push_back(*std::move(status));
    return absl::OkStatus();
  }));
  return statuses;
}

absl::Status DiskStore::Abort(absl::string_view ref) {
  const std::string name = IngestName(ref);
  struct stat st;
  if (fstatat(ingest_.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return absl::NotFoundError(absl::StrCat("ingest ref \"", ref, "\": not found"));
    return sys::ErrnoStatus("stat", name);
  }
  return sys::RemoveAllAt(ingest_.get(), name);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> LocalStore::Create(const std::string& root) {
  auto store = std::make_unique<DiskStore>();
  if (absl::Status status = store->Init(root); !status.ok()) {
    return sys::Annotate(status, absl::StrCat("content store ", root));
  }
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace gantry::content
