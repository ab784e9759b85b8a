// The ContentWriter of ContentStore. Private to daemon/metadata.
#ifndef GANTRY_DAEMON_METADATA_CONTENT_WRITER_H_
#define GANTRY_DAEMON_METADATA_CONTENT_WRITER_H_

#include <memory>
#include <optional>

#include "daemon/metadata/content.h"

namespace gantry::metadata {

// What a writer works with; all outlive it.
struct WriterParts {
  Database* database;
  content::Store* files;
  DigestPins* pins;
};

// Either over `writer`, an ingest of files, or, if that is null, over `shared`, a blob that another namespace
// has: then nothing needs to be written, and Commit only adds the record. Should the client write after all,
// the ingest begins then.
std::unique_ptr<ContentWriter> MakeNamespacedWriter(WriterParts parts, Scope scope,
                                                    content::WriterOptions options,
                                                    std::unique_ptr<content::Writer> writer,
                                                    std::optional<content::BlobInfo> shared);

}  // namespace gantry::metadata

#endif  // GANTRY_DAEMON_METADATA_CONTENT_WRITER_H_
