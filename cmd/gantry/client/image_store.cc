#include "cmd/gantry/client/image_store.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "cmd/gantry/client/blobs.h"
#include "cmd/gantry/ui/text.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

constexpr int kMaxIndexDepth = 4;  // indexes inside indexes; more is an attack

bool Fits(const Platform& platform, const Platform& host) {
  if (platform.os.empty() && platform.architecture.empty()) return true;
  return platform.os == host.os && platform.architecture == host.architecture &&
         (platform.variant.empty() || host.variant.empty() || platform.variant == host.variant);
}

absl::Status Collect(Client* client, const ImageDescriptor& from, int depth,
                     std::vector<ImageDescriptor>* out) {
  if (IsManifestType(from.media_type)) {
    out->push_back(from);
    return absl::OkStatus();
  }
  if (!IsIndexType(from.media_type)) {
    return absl::InvalidArgumentError(absl::StrCat(from.digest, " has the media type \"", from.media_type,
                                                   "\", which is neither an image index nor a manifest"));
  }
  if (depth == kMaxIndexDepth) {
    return absl::InvalidArgumentError(
        absl::StrCat("index ", from.digest, " lies more than ", kMaxIndexDepth, " indexes deep"));
  }
  GANTRY_ASSIGN_OR_RETURN(const std::string json, ReadBlob(client, from.digest, kMaxDocumentBytes));
  GANTRY_ASSIGN_OR_RETURN(const ImageIndex index, ParseIndex(json, absl::StrCat("index ", from.digest)));
  for (const ImageDescriptor& child : index.manifests) {
    // What an index holds besides images (signatures, attestations of other kinds) is not an error.
    if (!IsManifestType(child.media_type) && !IsIndexType(child.media_type)) continue;
    // Manifests of platforms that were never fetched are absent, and that is fine.
    if (IsIndexType(child.media_type) && !BlobInfo(client, child.digest).ok()) continue;
    GANTRY_RETURN_IF_ERROR(Collect(client, child, depth + 1, out));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<images::Image>> ListImages(Client* client) {
  images::ListImagesRequest request;
  images::ListImagesResponse response;
  GANTRY_RETURN_IF_ERROR(client->Call(client->images(), &images::Images::Stub::List, request, &response));
  return std::vector<images::Image>(response.images().begin(), response.images().end());
}

absl::StatusOr<images::Image> FindImage(Client* client, const std::string& typed) {
  for (const std::string& name : {typed, absl::StrCat(typed, ":latest")}) {
    images::GetImageRequest request;
    images::GetImageResponse response;
    request.set_name(name);
    const absl::Status status =
        client->Call(client->images(), &images::Images::Stub::Get, request, &response);
    if (status.ok()) return response.image();
    // Not every string is a name to the daemon; as a digest's beginning it may still mean something.
    if (!absl::IsNotFound(status) && !absl::IsInvalidArgument(status)) return status;
  }
  std::vector<images::Image> found;
  const absl::string_view hex = absl::StripPrefix(typed, "sha256:");
  if (hex.size() >= 4) {
    GANTRY_ASSIGN_OR_RETURN(const std::vector<images::Image> all, ListImages(client));
    for (const images::Image& image : all) {
      if (absl::StartsWith(ShortDigest(image.target().digest(), 64), hex)) found.push_back(image);
    }
  }
  if (found.empty()) {
    return absl::NotFoundError(
        absl::StrCat("there is no image \"", typed, "\" in the namespace \"", client->ns(), "\""));
  }
  const std::string& digest = found.front().target().digest();
  const bool same = std::all_of(found.begin(), found.end(),
                                [&](const auto& image) { return image.target().digest() == digest; });
  if (same) return found.front();
  std::vector<std::string> names;
  for (const images::Image& image : found) names.push_back(image.name());
  return absl::InvalidArgumentError(
      absl::StrCat("\"", typed, "\" is the beginning of several images: ", absl::StrJoin(names, ", ")));
}

ImageDescriptor FromWire(const containerd::types::Descriptor& descriptor) {
  ImageDescriptor out{
      .media_type = descriptor.media_type(), .digest = descriptor.digest(), .size = descriptor.size()};
  for (const auto& [key, value] : descriptor.annotations()) out.annotations[key] = value;
  return out;
}

containerd::types::Descriptor ToWire(const ImageDescriptor& descriptor) {
  containerd::types::Descriptor out;
  out.set_media_type(descriptor.media_type);
  out.set_digest(descriptor.digest);
  out.set_size(descriptor.size);
  for (const auto& [key, value] : descriptor.annotations) (*out.mutable_annotations())[key] = value;
  return out;
}

absl::StatusOr<std::vector<ImageDescriptor>> ManifestsOf(Client* client, const ImageDescriptor& target) {
  std::vector<ImageDescriptor> manifests;
  GANTRY_RETURN_IF_ERROR(Collect(client, target, 0, &manifests));
  return manifests;
}

absl::StatusOr<LoadedImage> LoadManifest(Client* client, const ImageDescriptor& descriptor) {
  LoadedImage image;
  image.manifest_descriptor = descriptor;
  GANTRY_ASSIGN_OR_RETURN(const std::string json, ReadBlob(client, descriptor.digest, kMaxDocumentBytes));
  GANTRY_ASSIGN_OR_RETURN(image.manifest, ParseManifest(json, absl::StrCat("manifest ", descriptor.digest)));
  const std::string& config = image.manifest.config.digest;
  GANTRY_ASSIGN_OR_RETURN(image.config_json, ReadBlob(client, config, kMaxDocumentBytes));
  GANTRY_ASSIGN_OR_RETURN(image.config,
                          ParseConfig(image.config_json, absl::StrCat("image config ", config)));
  return image;
}

absl::StatusOr<LoadedImage> LoadImage(Client* client, const containerd::types::Descriptor& target) {
  GANTRY_ASSIGN_OR_RETURN(const std::vector<ImageDescriptor> manifests,
                          ManifestsOf(client, FromWire(target)));
  const Platform host = HostPlatform();
  std::vector<std::string> others;
  for (const ImageDescriptor& manifest : manifests) {
    if (!Fits(manifest.platform, host)) {
      others.push_back(PlatformName(manifest.platform));
      continue;
    }
    GANTRY_ASSIGN_OR_RETURN(LoadedImage image, LoadManifest(client, manifest));
    // A manifest alone names no platform; its config does.
    if (Fits(image.config.platform, host)) return image;
    others.push_back(PlatformName(image.config.platform));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the image has nothing for this machine's platform ", PlatformName(host),
                   others.empty() ? ": it holds no manifest at all"
                                  : absl::StrCat(", only for ", absl::StrJoin(others, ", "))));
}

}  // namespace gantry::cli
