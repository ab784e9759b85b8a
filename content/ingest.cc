#include "content/ingest.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::content {
namespace {

constexpr size_t kSmallFileLimit = 64 << 10;  // ref, total and the timestamps
constexpr size_t kHashStep = 1 << 20;

std::string TimeText(absl::Time time) {
  return absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone());
}

absl::StatusOr<absl::Time> ReadTime(int directory, const std::string& name) {
  GANTRY_ASSIGN_OR_RETURN(const std::string text, sys::ReadFileAt(directory, name, kSmallFileLimit));
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error)) {
    return absl::DataLossError(absl::StrCat(name, ": ", error));
  }
  return time;
}

// Plain, not atomic and not synced: an ingest with a torn file is begun anew.
absl::Status WriteSmall(int directory, const std::string& name, absl::string_view text) {
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd,
                          sys::OpenAt(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  return sys::Annotate(sys::WriteAll(fd.get(), text), name);
}

// Hashes the file from its start; the number of bytes.
absl::StatusOr<int64_t> HashFile(int fd, Digester* digester) {
  std::vector<char> buffer(kHashStep);
  int64_t offset = 0;
  for (;;) {
    const ssize_t n = pread(fd, buffer.data(), buffer.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return sys::ErrnoStatus("read", "data");
    if (n == 0) return offset;
    digester->Update({buffer.data(), static_cast<size_t>(n)});
    offset += n;
  }
}

// NOT_FOUND or DATA_LOSS: there is nothing to go on with.
absl::StatusOr<Ingest> Resume(int ingests, const std::string& ref, int64_t total_bytes, Algorithm algorithm) {
  const std::string name = IngestName(ref);
  GANTRY_ASSIGN_OR_RETURN(IngestStatus status, ReadIngestStatus(ingests, name));
  if (status.ref != ref || (total_bytes > 0 && status.total_bytes > 0 && total_bytes != status.total_bytes)) {
    return absl::NotFoundError("another ingest");
  }
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd data, sys::OpenAt(ingests, name + "/data", O_RDWR | O_NOFOLLOW));
  Ingest ingest{std::move(data), std::move(status), Digester(algorithm)};
  GANTRY_ASSIGN_OR_RETURN(ingest.status.offset, HashFile(ingest.data.get(), &ingest.digester));
  if (ingest.status.total_bytes == 0) ingest.status.total_bytes = total_bytes;
  return ingest;
}

absl::StatusOr<Ingest> Begin(int ingests, const std::string& ref, int64_t total_bytes, Algorithm algorithm) {
  const std::string name = IngestName(ref);
  if (mkdirat(ingests, name.c_str(), 0700) != 0) return sys::ErrnoStatus("mkdir", "ingest/" + name);
  const auto fill = [&]() -> absl::StatusOr<Ingest> {
    GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd directory,
                            sys::OpenAt(ingests, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    const absl::Time now = sys::WallNow();
    GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd data, sys::OpenAt(directory.get(), "data",
                                                            O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    GANTRY_RETURN_IF_ERROR(WriteSmall(directory.get(), "startedat", TimeText(now)));
    GANTRY_RETURN_IF_ERROR(WriteSmall(directory.get(), "updatedat", TimeText(now)));
    if (total_bytes > 0) {
      GANTRY_RETURN_IF_ERROR(WriteSmall(directory.get(), "total", absl::StrCat(total_bytes)));
    }
    GANTRY_RETURN_IF_ERROR(WriteSmall(directory.get(), "ref", ref));
    return Ingest{std::move(data), IngestStatus{ref, 0, total_bytes, std::nullopt, now, now},
                  Digester(algorithm)};
  };
  auto ingest = fill();
  if (!ingest.ok()) (void)sys::RemoveAllAt(ingests, name);
  return ingest;
}

class IngestWriter : public Writer {
 public:
  IngestWriter(RefLock lock, Ingest ingest, int ingests, std::function<SharedSync*(Algorithm)> blobs)
      : lock_(std::move(lock)), ingest_(std::move(ingest)), ingests_(ingests), blobs_(std::move(blobs)) {}
  ~IngestWriter() override;

  absl::Status Write(absl::string_view data) override;
  absl::Status Truncate(int64_t size) override;
  absl::StatusOr<IngestStatus> Status() const override { return ingest_.status; }
  Digest CurrentDigest() const override { return ingest_.digester.Current(); }
  absl::StatusOr<BlobInfo> Commit(int64_t size, const std::optional<Digest>& expected) override;

 private:
  absl::Status CheckOpen() const;
  // The digest, by the algorithm of `expected`.
  absl::StatusOr<Digest> FinalDigest(const std::optional<Digest>& expected);
  absl::Status Publish(const Digest& digest);
  absl::Status RemoveIngest() { return sys::RemoveAllAt(ingests_, IngestName(ingest_.status.ref)); }

  std::optional<RefLock> lock_;
  Ingest ingest_;
  const int ingests_;
  const std::function<SharedSync*(Algorithm)> blobs_;
};

IngestWriter::~IngestWriter() {
  if (!ingest_.data.valid()) return;
  // For containerd's tools; we ourselves take the file's time.
  (void)WriteSmall(ingests_, IngestName(ingest_.status.ref) + "/updatedat", TimeText(ingest_.status.updated));
}

absl::Status IngestWriter::CheckOpen() const {
  if (ingest_.data.valid()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("ingest \"", ingest_.status.ref, "\": the writer is closed"));
}

absl::Status IngestWriter::Write(absl::string_view data) {
  GANTRY_RETURN_IF_ERROR(CheckOpen());
  IngestStatus& status = ingest_.status;
  absl::string_view rest = data;
  int64_t offset = status.offset;
  while (!rest.empty()) {
    const ssize_t n = pwrite(ingest_.data.get(), rest.data(), rest.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const absl::Status error =
          sys::ErrnoStatus("write", absl::StrCat("ingest \"", status.ref, "\" at offset ", offset));
      // A resumed writer must find what was acknowledged, not half a message.
      if (ftruncate(ingest_.data.get(), status.offset) != 0) ingest_.data.reset();
      return error;
    }
    rest.remove_prefix(static_cast<size_t>(n));
    offset += n;
  }
  ingest_.digester.Update(data);
  status.offset = offset;
  status.updated = sys::WallNow();
  return absl::OkStatus();
}

absl::Status IngestWriter::Truncate(int64_t size) {
  GANTRY_RETURN_IF_ERROR(CheckOpen());
  if (size != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("ingest \"", ingest_.status.ref, "\" can be truncated to 0 bytes only, not to ", size));
  }
  if (ftruncate(ingest_.data.get(), 0) != 0) return sys::ErrnoStatus("ftruncate", ingest_.status.ref);
  ingest_.status.offset = 0;
  ingest_.status.updated = sys::WallNow();
  ingest_.digester.Reset();
  return absl::OkStatus();
}

absl::StatusOr<Digest> IngestWriter::FinalDigest(const std::optional<Digest>& expected) {
  if (!expected.has_value() || expected->algorithm() == ingest_.digester.algorithm()) {
    return ingest_.digester.Current();
  }
  // The writer was opened before the algorithm was known.
  Digester digester(expected->algorithm());
  GANTRY_ASSIGN_OR_RETURN(const int64_t size, HashFile(ingest_.data.get(), &digester));
  (void)size;
  return digester.Current();
}

absl::Status IngestWriter::Publish(const Digest& digest) {
  SharedSync* directory = blobs_(digest.algorithm());
  const std::string from = IngestName(ingest_.status.ref) + "/data";
  // Data first, then the name: a blob that can be seen is whole.
  if (fchmod(ingest_.data.get(), 0444) != 0) return sys::ErrnoStatus("fchmod", digest.ToString());
  if (fsync(ingest_.data.get()) != 0) {
    const absl::Status error = sys::ErrnoStatus("fsync", digest.ToString());
    // The kernel forgot which pages it lost: nothing of this ingest can be trusted.
    (void)RemoveIngest();
    return error;
  }
  const char* to = digest.hex().c_str();
  int result = renameat2(ingests_, from.c_str(), directory->fd(), to, RENAME_NOREPLACE);
  // EINVAL: a file system that doesn't know the flag. The same bytes replace the same bytes there.
  if (result != 0 && errno == EINVAL) result = renameat(ingests_, from.c_str(), directory->fd(), to);
  const int error = result == 0 ? 0 : errno;
  if (error == ENOENT) {
    return absl::FailedPreconditionError(
        absl::StrCat("ingest \"", ingest_.status.ref, "\" was aborted while it was written"));
  }
  if (error != 0 && error != EEXIST) return sys::ErrnoStatus("rename", digest.ToString(), error);
  // Also when the blob was there: whoever put it there may not have synced it yet.
  GANTRY_RETURN_IF_ERROR(directory->Sync());
  (void)RemoveIngest();  // what is left of it is removed when the store is opened
  if (error == EEXIST) {
    return absl::AlreadyExistsError(absl::StrCat("content ", digest.ToString(), ": already exists"));
  }
  return absl::OkStatus();
}

absl::StatusOr<BlobInfo> IngestWriter::Commit(int64_t size, const std::optional<Digest>& expected) {
  GANTRY_RETURN_IF_ERROR(CheckOpen());
  const IngestStatus& status = ingest_.status;
  auto result = [&]() -> absl::StatusOr<BlobInfo> {
    struct stat st;
    if (fstat(ingest_.data.get(), &st) != 0) return sys::ErrnoStatus("fstat", status.ref);
    if (st.st_size != status.offset) {
      return absl::DataLossError(absl::StrCat("ingest \"", status.ref, "\" has ", st.st_size,
                                              " bytes on disk, but ", status.offset, " were written"));
    }
    if (size > 0 && size != status.offset) {
      return absl::FailedPreconditionError(absl::StrCat(
          "ingest \"", status.ref, "\": unexpected commit size ", status.offset, ", expected ", size));
    }
    GANTRY_ASSIGN_OR_RETURN(const Digest digest, FinalDigest(expected));
    if (expected.has_value() && digest != *expected) {
      return absl::FailedPreconditionError(absl::StrCat("ingest \"", status.ref,
                                                        "\": unexpected commit digest ", digest.ToString(),
                                                        ", expected ", expected->ToString()));
    }
    GANTRY_RETURN_IF_ERROR(Publish(digest));
    return BlobInfo{digest, status.offset, absl::TimeFromTimespec(st.st_mtim)};
  }();
  ingest_.data.reset();
  lock_.reset();  // whoever keeps the finished writer keeps nobody from the ref
  return result;
}

}  // namespace

RefLock::~RefLock() {
  if (locks_ == nullptr) return;
  std::lock_guard<std::mutex> lock(locks_->mutex_);
  locks_->held_.erase(ref_);
}

absl::StatusOr<RefLock> RefLocks::TryLock(const std::string& ref) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!held_.insert(ref).second) {
    return absl::UnavailableError(absl::StrCat("ref \"", ref, "\" locked: another client is writing it"));
  }
  return RefLock(this, ref);
}

std::string IngestName(absl::string_view ref) { return Digest::Of(ref).hex(); }

absl::StatusOr<IngestStatus> ReadIngestStatus(int ingests, const std::string& name) {
  auto directory = sys::OpenAt(ingests, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!directory.ok()) return absl::NotFoundError(absl::StrCat("ingest ", name, ": not found"));
  const int fd = directory->get();
  struct stat st;
  auto ref = sys::ReadFileAt(fd, "ref", kSmallFileLimit, O_NOFOLLOW);
  if (!ref.ok() || fstatat(fd, "data", &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return absl::NotFoundError(absl::StrCat("ingest ", name, ": not found"));
  }
  GANTRY_ASSIGN_OR_RETURN(const absl::Time started, ReadTime(fd, "startedat"));
  const absl::Time modified = absl::TimeFromTimespec(st.st_mtim);
  const absl::Time updated = std::max(ReadTime(fd, "updatedat").value_or(modified), modified);
  int64_t total = 0;
  if (auto text = sys::ReadFileAt(fd, "total", kSmallFileLimit); text.ok()) {
    if (!absl::SimpleAtoi(*text, &total) || total < 0) total = 0;
  }
  return IngestStatus{*std::move(ref), st.st_size, total, std::nullopt, started, updated};
}

absl::StatusOr<Ingest> Ingest::OpenOrCreate(int ingests, const std::string& ref, int64_t total_bytes,
                                            Algorithm algorithm) {
  auto resumed = Resume(ingests, ref, total_bytes, algorithm);
  if (resumed.ok()) return resumed;
  GANTRY_RETURN_IF_ERROR(sys::RemoveAllAt(ingests, IngestName(ref)));
  return Begin(ingests, ref, total_bytes, algorithm);
}

std::unique_ptr<Writer> MakeIngestWriter(RefLock lock, Ingest ingest, int ingests,
                                         std::function<SharedSync*(Algorithm)> blobs) {
  return std::make_unique<IngestWriter>(std::move(lock), std::move(ingest), ingests, std::move(blobs));
}

}  // namespace gantry::content
