// Importing an archive: an OCI image layout in a tar (image-layout.md), or what `docker save` writes.
//
// Not thread-safe: one import at a time per Client.
#ifndef GANTRY_CMD_GANTRY_CLIENT_IMPORT_H_
#define GANTRY_CMD_GANTRY_CLIENT_IMPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cmd/gantry/client/client.h"

namespace gantry::cli {

struct ImportOptions {
  std::string path;         // of the archive; "-" is standard input
  std::string name;         // of the image; empty: as the archive says, else made from the file's name
  std::string snapshotter;  // where layers are unpacked
  bool unpack = true;
};

struct ImportedImage {
  std::string name = "";
  std::string digest = "";    // of the image's target
  size_t layers = 0;          // of the manifest for this machine
  int64_t size_bytes = 0;     // of the manifest, config and layers, as stored
  std::string chain_id = "";  // of the unpacked snapshot; "" if it was not unpacked
};

// Imports all images of the archive, in a single pass over it. Every blob is checked against its digest, by
// the daemon as it is written. On an error no image record exists that was not there before, and what was
// written is collected as garbage.
absl::StatusOr<std::vector<ImportedImage>> Import(Client* client, const ImportOptions& options);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_CLIENT_IMPORT_H_
