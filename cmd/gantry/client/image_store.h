// Images over the API: finding them by what a person types, reading their documents, unpacking their layers.
//
// May be called from several threads, one Client each.
#ifndef GANTRY_CMD_GANTRY_CLIENT_IMAGE_STORE_H_
#define GANTRY_CMD_GANTRY_CLIENT_IMAGE_STORE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cmd/gantry/archive/documents.h"
#include "cmd/gantry/client/client.h"

namespace gantry::cli {

inline constexpr char kDefaultSnapshotter[] = "overlayfs";

absl::StatusOr<std::vector<images::Image>> ListImages(Client* client);

// The image that `typed` means: its full name, its name without ":latest", or the beginning (four digits or
// more) of its target's digest. NOT_FOUND and INVALID_ARGUMENT (several match: they are named) say what was
// looked for and in which namespace.
absl::StatusOr<images::Image> FindImage(Client* client, const std::string& typed);

// The documents of an image for one platform.
struct LoadedImage {
  ImageDescriptor manifest_descriptor;
  ImageManifest manifest;
  ImageConfig config;
  std::string config_json;
};

// Reads an image's documents: of an index, the manifest for this machine's platform. NOT_FOUND if a document
// is missing; INVALID_ARGUMENT if one is wrong or none fits the platform (those there are named).
absl::StatusOr<LoadedImage> LoadImage(Client* client, const containerd::types::Descriptor& target);

// As LoadImage for any one manifest, without regard to the platform: for listings.
absl::StatusOr<LoadedImage> LoadManifest(Client* client, const ImageDescriptor& descriptor);

// Every manifest that `target` leads to, itself if it is one.
absl::StatusOr<std::vector<ImageDescriptor>> ManifestsOf(Client* client, const ImageDescriptor& target);

ImageDescriptor FromWire(const containerd::types::Descriptor& descriptor);
containerd::types::Descriptor ToWire(const ImageDescriptor& descriptor);

// Makes a committed snapshot of every layer that has none yet, checks each layer against its diff id, and
// returns the chain id of the whole ("" for an image without layers). Call it under a Lease.
absl::StatusOr<std::string> Unpack(Client* client, const std::string& snapshotter, const LoadedImage& image);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_CLIENT_IMAGE_STORE_H_
