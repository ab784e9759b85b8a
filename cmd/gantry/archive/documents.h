// The JSON documents of an image (OCI image specification 1.1: descriptor.md, image-index.md, manifest.md,
// config.md; and manifest.json of docker save), as plain structs: only what a client needs.
//
// Images are data from strangers: every document has a limit on size and depth, a digest must be a digest.
// Errors are INVALID_ARGUMENT and name the document and the member. Pure, so thread-safe.
#ifndef GANTRY_CMD_GANTRY_ARCHIVE_DOCUMENTS_H_
#define GANTRY_CMD_GANTRY_ARCHIVE_DOCUMENTS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::cli {

inline constexpr size_t kMaxDocumentBytes = 8 << 20;  // containerd's limit for a manifest

inline constexpr char kOciIndex[] = "application/vnd.oci.image.index.v1+json";
inline constexpr char kOciManifest[] = "application/vnd.oci.image.manifest.v1+json";
inline constexpr char kOciConfig[] = "application/vnd.oci.image.config.v1+json";
inline constexpr char kOciLayer[] = "application/vnd.oci.image.layer.v1.tar";
inline constexpr char kOciLayerGzip[] = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr char kDockerIndex[] = "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr char kDockerManifest[] = "application/vnd.docker.distribution.manifest.v2+json";

bool IsIndexType(absl::string_view media_type);
bool IsManifestType(absl::string_view media_type);

struct Platform {
  std::string os;
  std::string architecture;
  std::string variant;
};
// The platform of this machine, in the names of the specification ("linux", "amd64").
Platform HostPlatform();
std::string PlatformName(const Platform& platform);  // "linux/arm64/v8"

struct ImageDescriptor {
  std::string media_type = "";
  std::string digest = "";
  int64_t size = 0;
  Platform platform = {};  // empty where none is given
  std::map<std::string, std::string> annotations = {};
};

// "sha256:" and 64 lower-case hexadecimal digits (sha512: 128); INVALID_ARGUMENT for all else.
absl::Status ValidateDigest(absl::string_view digest);

struct ImageIndex {
  std::vector<ImageDescriptor> manifests;
};
absl::StatusOr<ImageIndex> ParseIndex(absl::string_view json, absl::string_view name);

struct ImageManifest {
  ImageDescriptor config;
  std::vector<ImageDescriptor> layers;
};
// Refuses a document that is an index as well (CVE-2021-41190).
absl::StatusOr<ImageManifest> ParseManifest(absl::string_view json, absl::string_view name);

struct ImageConfig {
  Platform platform;
  std::string created;  // RFC 3339, as the image says
  std::string user;
  std::string working_dir;
  std::string stop_signal;
  std::vector<std::string> env;
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::vector<std::string> diff_ids;
  std::map<std::string, std::string> labels;
};
absl::StatusOr<ImageConfig> ParseConfig(absl::string_view json, absl::string_view name);

// manifest.json of `docker save`: one entry an image.
struct SavedImage {
  std::string config;               // path of the config in the archive
  std::vector<std::string> layers;  // paths of the layers, from the ground up
  std::vector<std::string> tags;
};
absl::StatusOr<std::vector<SavedImage>> ParseSavedImages(absl::string_view json);

// The manifest that an index or a saved image turns into, as JSON.
std::string ManifestJson(const ImageManifest& manifest);

// identity.md, "Layer ChainID": of each layer in turn, from the ground up.
std::vector<std::string> ChainIds(const std::vector<std::string>& diff_ids);

// "sha256:…" of `data`.
std::string Sha256Digest(absl::string_view data);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_ARCHIVE_DOCUMENTS_H_
