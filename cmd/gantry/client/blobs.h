// Blobs over the Content service. All functions may be called from several threads.
#ifndef GANTRY_CMD_GANTRY_CLIENT_BLOBS_H_
#define GANTRY_CMD_GANTRY_CLIENT_BLOBS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cmd/gantry/client/client.h"

namespace gantry::cli {

// The whole blob; RESOURCE_EXHAUSTED if it is larger than `limit_bytes`, NOT_FOUND if there is none.
absl::StatusOr<std::string> ReadBlob(Client* client, const std::string& digest, size_t limit_bytes);

// Size in bytes and labels; NOT_FOUND if there is none.
absl::StatusOr<content::Info> BlobInfo(Client* client, const std::string& digest);

// Fills the buffer with up to `size` bytes, returns how many; 0 at the end.
using BlobSource = std::function<absl::StatusOr<size_t>(char* data, size_t size)>;

// Sends a blob of `size` bytes. `expected` is the digest that the daemon must find ("": any, it is returned).
// A blob that is there already is no error, and is not sent again. If the content has another digest or
// length, the error names both and the daemon keeps nothing.
absl::StatusOr<std::string> WriteBlob(Client* client, const std::string& expected, uint64_t size,
                                      const BlobSource& source);
absl::StatusOr<std::string> WriteBlob(Client* client, const std::string& data);

// Sets these labels of a blob, leaving its others.
absl::Status LabelBlob(Client* client, const std::string& digest,
                       const std::map<std::string, std::string>& labels);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_CLIENT_BLOBS_H_
