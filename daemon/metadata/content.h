// The blob store as a namespace sees it: its own blobs and labels, its own ingests, over one store of files.
//
// A blob's bytes lie on disk once, however many namespaces have it. With the policy kShared a client that
// knows a digest gets the blob that another namespace has without sending it again; with kIsolated it must
// send the bytes (unless a namespace that has the blob is labelled containerd.io/namespace.shareable=true).
//
// Order of writing: the file is durable before its record; a file without a record is garbage, and the
// collector's to remove. Pinned digests are files whose record is being written right now.
//
// Thread-safe, but for ContentWriter, which one thread at a time uses. Calls block on the disk.
// Source: containerd's core/metadata/content.go (behaviour).
#ifndef GANTRY_DAEMON_METADATA_CONTENT_H_
#define GANTRY_DAEMON_METADATA_CONTENT_H_

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "api/proto/containerd/services/content/v1/content.pb.h"
#include "content/store.h"
#include "daemon/filters/filter.h"
#include "daemon/metadata/database.h"
#include "daemon/metadata/labels.h"

namespace gantry::metadata {

using ContentInfo = containerd::services::content::v1::Info;

enum class SharingPolicy { kShared, kIsolated };

// The digests whose files must not be taken for garbage at the moment. Thread-safe.
class DigestPins {
 public:
  // Holds one digest until destroyed. Movable.
  class Pin {
   public:
    Pin(DigestPins* pins, content::Digest digest);
    Pin(Pin&& other) noexcept;
    Pin& operator=(Pin&&) = delete;
    ~Pin();

   private:
    DigestPins* pins_;
    content::Digest digest_;
  };
  Pin Hold(const content::Digest& digest) { return Pin(this, digest); }
  bool Holds(const content::Digest& digest) const;

 private:
  mutable std::mutex mutex_;
  std::map<content::Digest, int> counts_;
};

// What Commit made.
struct CommittedContent {
  content::Digest digest;
  int64_t size_bytes = 0;
};

// As content::Writer, in a namespace; and Commit also writes the record, with labels.
class ContentWriter {
 public:
  virtual ~ContentWriter() = default;
  virtual absl::Status Write(absl::string_view data) = 0;
  virtual absl::Status Truncate(int64_t size) = 0;
  virtual absl::StatusOr<content::IngestStatus> Status() const = 0;
  virtual content::Digest CurrentDigest() const = 0;
  virtual absl::StatusOr<CommittedContent> Commit(int64_t size,
                                                  const std::optional<content::Digest>& expected,
                                                  const Labels& labels) = 0;
};

class ContentStore {
 public:
  ContentStore(Database* database, content::Store* files, SharingPolicy policy)
      : database_(*database), files_(*files), policy_(policy) {}

  absl::StatusOr<ContentInfo> Info(const Scope& scope, const content::Digest& digest) const;
  // `paths`: labels, labels.<key>; empty means labels. Returns the info after the change.
  absl::StatusOr<ContentInfo> Update(const Scope& scope, const ContentInfo& info,
                                     const std::vector<std::string>& paths);
  // Up to `limit` blobs that match, after `position`; see Containers::ListSome. Fields: digest, labels.<key>.
  absl::StatusOr<std::vector<ContentInfo>> ListSome(const Scope& scope, const filters::Filter& filter,
                                                    size_t limit, std::string* position) const;
  // Takes the blob from the namespace; the collector frees the file when no other has it.
  absl::Status Delete(const Scope& scope, const content::Digest& digest);
  // NOT_FOUND; DATA_LOSS if the file is missing or has another size than it was committed with.
  absl::StatusOr<std::unique_ptr<content::ReaderAt>> Open(const Scope& scope,
                                                          const content::Digest& digest) const;

  // Begins or resumes an ingest. ALREADY_EXISTS if the namespace has the expected blob: the call's lease then
  // holds it. UNAVAILABLE while another client writes it.
  absl::StatusOr<std::unique_ptr<ContentWriter>> OpenWriter(const Scope& scope,
                                                            const content::WriterOptions& options);
  absl::StatusOr<content::IngestStatus> Status(const Scope& scope, absl::string_view ref) const;
  // Field: ref.
  absl::StatusOr<std::vector<content::IngestStatus>> ListStatuses(const Scope& scope,
                                                                  const filters::Filter& filter) const;
  absl::Status Abort(const Scope& scope, absl::string_view ref);

  // For the garbage collector.
  content::Store& files() { return files_; }
  const DigestPins& pins() const { return pins_; }

 private:
  // Whether a blob of another namespace may serve this one.
  bool MayShare(const content::Digest& digest) const;

  Database& database_;
  content::Store& files_;
  const SharingPolicy policy_;
  DigestPins pins_;
};

}  // namespace gantry::metadata

#endif  // GANTRY_DAEMON_METADATA_CONTENT_H_
