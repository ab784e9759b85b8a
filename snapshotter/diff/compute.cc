#include "snapshotter/diff/compute.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <climits>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"
#include "snapshotter/diff/attributes.h"
#include "snapshotter/diff/compare.h"
#include "snapshotter/diff/target.h"

namespace gantry::diff {
namespace {

constexpr size_t kStep = 256 << 10;

// The directories of which the mounts show a stack, from the top.
absl::StatusOr<std::unique_ptr<MergedDir>> OpenMounts(const std::vector<snapshotter::Mount>& mounts) {
  if (mounts.empty()) return MergedDir::Open({}, OverlayXattrs::kTrusted);
  if (mounts.size() != 1 || (mounts[0].type != "overlay" && mounts[0].type != "bind")) {
    return absl::UnimplementedError(
        absl::StrCat("a difference can be made of one mount of type overlay or bind a side, not of ",
                     mounts.size(), " of type \"", mounts[0].type, "\""));
  }
  if (mounts[0].type == "bind") return MergedDir::Open({mounts[0].source}, OverlayXattrs::kTrusted);
  std::vector<std::string> layers;
  OverlayXattrs xattrs = OverlayXattrs::kTrusted;
  for (absl::string_view option : mounts[0].options) {
    if (option == "userxattr") xattrs = OverlayXattrs::kUser;
    if (absl::ConsumePrefix(&option, "upperdir=")) {
      layers.insert(layers.begin(), std::string(option));
    } else if (absl::ConsumePrefix(&option, "lowerdir=")) {
      for (const absl::string_view lower : absl::StrSplit(option, ':', absl::SkipEmpty())) {
        layers.emplace_back(lower);
      }
    }
  }
  return MergedDir::Open(layers, xattrs);
}

class GzipWriter {
 public:
  explicit GzipWriter(Sink sink) : sink_(std::move(sink)), output_(new char[kStep]) {
    // 15 + 16: the largest window, and gzip's header, in which zlib writes no name and no time.
    ready_ =
        ::deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK;
  }
  ~GzipWriter() { ::deflateEnd(&stream_); }
  GzipWriter(const GzipWriter&) = delete;
  GzipWriter& operator=(const GzipWriter&) = delete;

  absl::Status Write(absl::string_view bytes, int flush = Z_NO_FLUSH) {
    if (!ready_) return absl::ResourceExhaustedError("zlib: no memory");
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream_.avail_in = static_cast<uInt>(bytes.size());  // pieces are far smaller than 4 GiB
    int result;
    do {
      stream_.next_out = reinterpret_cast<Bytef*>(output_.get());
      stream_.avail_out = kStep;
      result = ::deflate(&stream_, flush);
      if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
        return absl::InternalError(absl::StrCat("zlib: deflate failed with ", result));
      }
      const size_t made = kStep - stream_.avail_out;
      if (made > 0) GANTRY_RETURN_IF_ERROR(sink_(absl::string_view(output_.get(), made)));
    } while (stream_.avail_out == 0);
    return absl::OkStatus();
  }
  absl::Status Finish() { return Write("", Z_FINISH); }

 private:
  Sink sink_;
  std::unique_ptr<char[]> output_;
  z_stream stream_ = {};
  bool ready_ = false;
};

bool Told(absl::string_view xattr) {
  return absl::StartsWith(xattr, "user.") || absl::StartsWith(xattr, "system.posix_acl_") ||
         xattr == "security.capability";
}

// Changes to tar entries.
class LayerWriter {
 public:
  LayerWriter(TarWriter* tar, const ComputeOptions& options) : tar_(*tar), options_(options) {}

  absl::Status Add(const Change& change) {
    if (change.kind == Change::Kind::kRemoved) return AddWhiteout(change.path);
    const struct stat& st = change.node->st;
    if (S_ISSOCK(st.st_mode)) return absl::OkStatus();
    if (S_ISDIR(st.st_mode) || st.st_nlink == 1) return AddInode(change.path, *change.node);
    const auto inode = std::make_pair(st.st_dev, st.st_ino);
    if (const auto first = first_names_.find(inode); first != first_names_.end()) {
      return AddLink(change.path, first->second, *change.node);
    }
    if (change.kind == Change::Kind::kUnchanged) {
      unchanged_[inode].push_back(change.path);
      return absl::OkStatus();
    }
    GANTRY_RETURN_IF_ERROR(AddInode(change.path, *change.node));
    first_names_[inode] = change.path;
    // The other names must stay names of the same file.
    for (const std::string& other : unchanged_[inode]) {
      GANTRY_RETURN_IF_ERROR(AddLink(other, change.path, *change.node));
    }
    unchanged_.erase(inode);
    return absl::OkStatus();
  }

 private:
  absl::Status AddWhiteout(const std::string& path) {
    const auto [directory, name] = SplitPath(path);
    TarEntry entry;
    entry.name = absl::StrCat(directory, directory.empty() ? "" : "/", ".wh.", name);
    return tar_.AddHeader(entry);
  }

  TarEntry Describe(const std::string& path, const struct stat& st) const {
    TarEntry entry;
    entry.name = path;
    entry.mode = st.st_mode & 07777;
    entry.uid = st.st_uid;
    entry.gid = st.st_gid;
    entry.mtime.tv_sec = st.st_mtim.tv_sec;
    if (options_.newest) entry.mtime.tv_sec = std::min(entry.mtime.tv_sec, absl::ToTimeT(*options_.newest));
    return entry;
  }

  absl::Status AddLink(const std::string& path, const std::string& target, const MergedDir::Node& node) {
    TarEntry entry = Describe(path, node.st);
    entry.type = EntryType::kHardlink;
    entry.link = target;
    return tar_.AddHeader(entry);
  }

  absl::Status AddInode(const std::string& path, const MergedDir::Node& node) {
    TarEntry entry = Describe(path, node.st);
    GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(node.layer_fd, node.name, O_PATH | O_NOFOLLOW));
    GANTRY_ASSIGN_OR_RETURN(Xattrs xattrs, ReadXattrs(fd.get()));
    for (auto& xattr : xattrs) {
      if (Told(xattr.first)) entry.xattrs.push_back(std::move(xattr));
    }
    switch (node.st.st_mode & S_IFMT) {
      case S_IFREG:
        return AddFile(std::move(entry), node);
      case S_IFDIR:
        entry.type = EntryType::kDirectory;
        break;
      case S_IFLNK: {
        char link[PATH_MAX + 1] = {};
        if (::readlinkat(fd.get(), "", link, PATH_MAX) < 0) return sys::ErrnoStatus("readlinkat", path);
        entry.type = EntryType::kSymlink;
        entry.link = link;
        break;
      }
      case S_IFIFO:
        entry.type = EntryType::kFifo;
        break;
      default:
        entry.type = S_ISCHR(node.st.st_mode) ? EntryType::kCharDevice : EntryType::kBlockDevice;
        entry.dev_major = major(node.st.st_rdev);
        entry.dev_minor = minor(node.st.st_rdev);
    }
    return tar_.AddHeader(entry);
  }

  absl::Status AddFile(TarEntry entry, const MergedDir::Node& node) {
    GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd file, sys::OpenAt(node.layer_fd, node.name, O_RDONLY | O_NOFOLLOW));
    struct stat st;
    if (::fstat(file.get(), &st) != 0) return sys::ErrnoStatus("fstat", entry.name);
    entry.size = st.st_size;
    GANTRY_RETURN_IF_ERROR(tar_.AddHeader(entry));
    if (!buffer_) buffer_.reset(new char[kStep]);
    for (int64_t left = st.st_size; left > 0;) {
      const ssize_t got = ::read(file.get(), buffer_.get(), std::min<int64_t>(left, kStep));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return sys::ErrnoStatus("read", entry.name);
      if (got == 0) {
        return absl::AbortedError(absl::StrCat("\"", entry.name,
                                               "\" got shorter while it was read: stop or "
                                               "pause what writes to it, and try again"));
      }
      GANTRY_RETURN_IF_ERROR(tar_.AddContent(absl::string_view(buffer_.get(), static_cast<size_t>(got))));
      left -= got;
    }
    return absl::OkStatus();
  }

  using Inode = std::pair<dev_t, ino_t>;
  TarWriter& tar_;
  const ComputeOptions& options_;
  std::map<Inode, std::string> first_names_;
  std::map<Inode, std::vector<std::string>> unchanged_;
  std::unique_ptr<char[]> buffer_;
};

}  // namespace

absl::StatusOr<ComputeResult> Compute(const std::vector<snapshotter::Mount>& left,
                                      const std::vector<snapshotter::Mount>& right,
                                      const ComputeOptions& options, const Sink& sink) {
  if (options.compression == Compression::kZstd)
    return absl::UnimplementedError("layers are not written in zstd");
  GANTRY_ASSIGN_OR_RETURN(const std::unique_ptr<MergedDir> before, OpenMounts(left));
  GANTRY_ASSIGN_OR_RETURN(const std::unique_ptr<MergedDir> after, OpenMounts(right));
  content::Digester digester;
  std::optional<GzipWriter> gzip;
  if (options.compression == Compression::kGzip) gzip.emplace(sink);
  TarWriter tar([&](absl::string_view bytes) {
    digester.Update(bytes);
    return gzip ? gzip->Write(bytes) : sink(bytes);
  });
  LayerWriter layer(&tar, options);
  GANTRY_RETURN_IF_ERROR(Compare(*before, *after, [&](const Change& change) { return layer.Add(change); }));
  GANTRY_RETURN_IF_ERROR(tar.Finish());
  if (gzip) GANTRY_RETURN_IF_ERROR(gzip->Finish());
  return ComputeResult{digester.Current()};
}

}  // namespace gantry::diff
