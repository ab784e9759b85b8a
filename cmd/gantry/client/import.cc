#include "cmd/gantry/client/import.h"

#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cmd/gantry/archive/documents.h"
#include "cmd/gantry/archive/reader.h"
#include "cmd/gantry/client/blobs.h"
#include "cmd/gantry/client/image_store.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

constexpr size_t kMaxMembers = 100000;       // of an archive
constexpr size_t kMaxKeptBytes = 256 << 20;  // of JSON documents, all together

// What one pass over the archive found.
struct Contents {
  std::map<std::string, std::string> documents;  // path -> JSON, for the files that are documents
  std::map<std::string, ImageDescriptor> files;  // path -> digest and size, for what became a blob
  std::map<std::string, std::string> links;      // path -> target, as docker save shares layers
  size_t kept_bytes = 0;
};

// blobs/<algorithm>/<hex> -> "<algorithm>:<hex>"; "" for other paths.
std::string DigestOfPath(absl::string_view path) {
  const std::vector<absl::string_view> parts = absl::StrSplit(path, '/');
  if (parts.size() != 3 || parts[0] != "blobs") return "";
  return absl::StrCat(parts[1], ":", parts[2]);
}

absl::Status KeepDocument(ArchiveReader* reader, const std::string& path, Contents* contents) {
  GANTRY_ASSIGN_OR_RETURN(std::string json, reader->ReadWhole(kMaxDocumentBytes));
  contents->kept_bytes += json.size();
  if (contents->kept_bytes > kMaxKeptBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the archive holds more than ", kMaxKeptBytes, " bytes of JSON documents"));
  }
  contents->documents[path] = std::move(json);
  return absl::OkStatus();
}

absl::Status StoreMember(Client* client, ArchiveReader* reader, const ArchiveReader::Member& member,
                         Contents* contents) {
  const std::string digest = DigestOfPath(member.path);
  if (!digest.empty()) {
    GANTRY_RETURN_IF_ERROR(sys::Annotate(ValidateDigest(digest), member.path));
  } else if (absl::EndsWith(member.path, ".json") || member.path == "oci-layout") {
    return KeepDocument(reader, member.path, contents);
  } else if (!absl::EndsWith(member.path, ".tar")) {
    return absl::OkStatus();  // repositories, VERSION and the like: nothing that we read
  }
  const BlobSource source = [&](char* data, size_t size) { return reader->Read(data, size); };
  const absl::StatusOr<std::string> written = WriteBlob(client, digest, member.size_bytes, source);
  if (!written.ok()) {
    return sys::Annotate(written.status(), absl::StrCat("member ", member.path, " of the archive"));
  }
  contents->files[member.path] = {.digest = *written, .size = static_cast<int64_t>(member.size_bytes)};
  return absl::OkStatus();
}

absl::StatusOr<Contents> ReadArchive(Client* client, const std::string& path) {
  GANTRY_ASSIGN_OR_RETURN(const std::unique_ptr<ArchiveReader> reader, ArchiveReader::Open(path));
  Contents contents;
  ArchiveReader::Member member;
  for (size_t members = 0;; ++members) {
    GANTRY_ASSIGN_OR_RETURN(const bool more, reader->Next(&member));
    if (!more) break;
    if (members == kMaxMembers) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the archive has more than ", kMaxMembers, " members"));
    }
    if (member.regular) {
      GANTRY_RETURN_IF_ERROR(StoreMember(client, reader.get(), member, &contents));
    } else if (!member.link_target.empty()) {
      contents.links[member.path] = member.link_target;
    }
  }
  return contents;
}

// ---- docker save -----------------------------------------------------------------------------------------

// "../abc/layer.tar", seen from "def/layer.tar", is "abc/layer.tar".
std::string Resolve(const Contents& contents, const std::string& path) {
  const auto link = contents.links.find(path);
  if (link == contents.links.end()) return path;
  std::vector<std::string> parts = absl::StrSplit(path, '/');
  parts.pop_back();
  for (const absl::string_view part : absl::StrSplit(link->second, '/')) {
    if (part == ".." && !parts.empty()) {
      parts.pop_back();
    } else if (part != "." && part != ".." && !part.empty()) {
      parts.emplace_back(part);
    }
  }
  std::string joined;
  for (const std::string& part : parts) absl::StrAppend(&joined, joined.empty() ? "" : "/", part);
  return contents.files.count(joined) != 0 ? joined : link->second;
}

absl::StatusOr<std::string> DocumentAt(Client* client, const Contents& contents, const std::string& path) {
  const auto kept = contents.documents.find(path);
  if (kept != contents.documents.end()) return kept->second;
  const auto file = contents.files.find(path);
  if (file != contents.files.end()) return ReadBlob(client, file->second.digest, kMaxDocumentBytes);
  return absl::InvalidArgumentError(
      absl::StrCat("the archive names the file ", path, " and doesn't hold it"));
}

// Turns one entry of manifest.json into an OCI manifest, written as a blob.
absl::StatusOr<ImageDescriptor> ConvertSaved(Client* client, const Contents& contents,
                                             const SavedImage& saved) {
  GANTRY_ASSIGN_OR_RETURN(const std::string config, DocumentAt(client, contents, saved.config));
  GANTRY_ASSIGN_OR_RETURN(const ImageConfig parsed, ParseConfig(config, saved.config));
  ImageManifest manifest;
  manifest.config = {.media_type = kOciConfig, .size = static_cast<int64_t>(config.size())};
  GANTRY_ASSIGN_OR_RETURN(manifest.config.digest, WriteBlob(client, config));
  for (size_t i = 0; i < saved.layers.size(); ++i) {
    const auto file = contents.files.find(Resolve(contents, saved.layers[i]));
    if (file == contents.files.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the archive names the layer ", saved.layers[i], " and doesn't hold it"));
    }
    ImageDescriptor& layer = manifest.layers.emplace_back(file->second);
    // docker save stores layers uncompressed; then the blob's digest is the diff id.
    const bool plain = i < parsed.diff_ids.size() && layer.digest == parsed.diff_ids[i];
    layer.media_type = plain ? kOciLayer : kOciLayerGzip;
  }
  const std::string json = ManifestJson(manifest);
  ImageDescriptor descriptor{.media_type = kOciManifest, .size = static_cast<int64_t>(json.size())};
  GANTRY_ASSIGN_OR_RETURN(descriptor.digest, WriteBlob(client, json));
  return descriptor;
}

// ---- naming ----------------------------------------------------------------------------------------------

// "dir/busy.box.tar.gz" -> "busy.box"
std::string StemOf(absl::string_view path) {
  if (path == "-") return "imported";
  const size_t slash = path.rfind('/');
  if (slash != absl::string_view::npos) path.remove_prefix(slash + 1);
  for (const absl::string_view suffix : {".gz", ".tgz", ".zst", ".tar", ".oci"})
    absl::ConsumeSuffix(&path, suffix);
  return path.empty() ? "imported" : std::string(path);
}

// The name that index.json gives an image; its "ref.name" may be a whole name or a tag alone.
std::string NameOf(const ImageDescriptor& descriptor, const ImportOptions& options) {
  if (!options.name.empty()) return options.name;
  const auto full = descriptor.annotations.find("io.containerd.image.name");
  if (full != descriptor.annotations.end() && !full->second.empty()) return full->second;
  const auto ref = descriptor.annotations.find("org.opencontainers.image.ref.name");
  if (ref == descriptor.annotations.end() || ref->second.empty())
    return absl::StrCat(StemOf(options.path), ":latest");
  if (absl::StrContains(ref->second, ':') || absl::StrContains(ref->second, '/')) return ref->second;
  return absl::StrCat(StemOf(options.path), ":", ref->second);
}

using Named = std::pair<std::string, ImageDescriptor>;

absl::StatusOr<std::vector<Named>> NamedImages(Client* client, const Contents& contents,
                                               const ImportOptions& options) {
  std::vector<Named> named;
  const auto index = contents.documents.find("index.json");
  const auto saved = contents.documents.find("manifest.json");
  if (index != contents.documents.end()) {
    GANTRY_ASSIGN_OR_RETURN(const ImageIndex parsed, ParseIndex(index->second, "index.json"));
    for (const ImageDescriptor& entry : parsed.manifests) named.emplace_back(NameOf(entry, options), entry);
  } else if (saved != contents.documents.end()) {
    GANTRY_ASSIGN_OR_RETURN(const std::vector<SavedImage> parsed, ParseSavedImages(saved->second));
    for (const SavedImage& image : parsed) {
      GANTRY_ASSIGN_OR_RETURN(const ImageDescriptor descriptor, ConvertSaved(client, contents, image));
      std::vector<std::string> names = image.tags;
      if (!options.name.empty()) names = {options.name};
      if (names.empty()) names = {absl::StrCat(StemOf(options.path), ":latest")};
      for (const std::string& name : names) named.emplace_back(name, descriptor);
    }
  } else {
    return absl::InvalidArgumentError(
        "the archive holds neither index.json (an OCI image layout) nor manifest.json (docker save), so it "
        "is no "
        "image");
  }
  if (named.empty())
    return absl::InvalidArgumentError("the archive holds no image: its list of images is empty");
  std::set<std::string> names;
  for (const Named& image : named) {
    if (names.insert(image.first).second) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("two images of the archive would get the name \"", image.first, "\""));
  }
  return named;
}

// ---- references between blobs, and the image's record ----------------------------------------------------

// Labels by which garbage collection walks from an index or manifest to what it needs. Manifests of other
// platforms may lack their blobs; one that is there must be whole.
absl::Status LinkTree(Client* client, const ImageDescriptor& node, int depth) {
  constexpr int kMaxDepth = 4;
  if (depth == kMaxDepth) return absl::InvalidArgumentError("the archive's indexes are nested too deeply");
  const absl::StatusOr<std::string> json = ReadBlob(client, node.digest, kMaxDocumentBytes);
  if (absl::IsNotFound(json.status()) && depth > 0) return absl::OkStatus();
  if (absl::IsNotFound(json.status())) {
    return absl::InvalidArgumentError(
        absl::StrCat("the archive names the blob ", node.digest, " and doesn't hold it"));
  }
  GANTRY_RETURN_IF_ERROR(json.status());
  std::map<std::string, std::string> labels;
  if (IsIndexType(node.media_type)) {
    GANTRY_ASSIGN_OR_RETURN(const ImageIndex index, ParseIndex(*json, absl::StrCat("index ", node.digest)));
    for (size_t i = 0; i < index.manifests.size(); ++i) {
      GANTRY_RETURN_IF_ERROR(LinkTree(client, index.manifests[i], depth + 1));
      labels[absl::StrCat("containerd.io/gc.ref.content.m.", i)] = index.manifests[i].digest;
    }
  } else if (IsManifestType(node.media_type)) {
    GANTRY_ASSIGN_OR_RETURN(const ImageManifest manifest,
                            ParseManifest(*json, absl::StrCat("manifest ", node.digest)));
    std::vector<std::string> needed = {manifest.config.digest};
    labels["containerd.io/gc.ref.content.config"] = manifest.config.digest;
    for (size_t i = 0; i < manifest.layers.size(); ++i) {
      needed.push_back(manifest.layers[i].digest);
      labels[absl::StrCat("containerd.io/gc.ref.content.l.", i)] = manifest.layers[i].digest;
    }
    for (const std::string& digest : needed) {
      const absl::Status there = BlobInfo(client, digest).status();
      if (absl::IsNotFound(there)) {
        return absl::InvalidArgumentError(absl::StrCat("manifest ", node.digest, " names the blob ", digest,
                                                       ", and the archive doesn't hold it"));
      }
      GANTRY_RETURN_IF_ERROR(there);
    }
  } else {
    return absl::OkStatus();
  }
  return labels.empty() ? absl::OkStatus() : LabelBlob(client, node.digest, labels);
}

absl::Status Record(Client* client, const std::string& name, const ImageDescriptor& target) {
  images::CreateImageRequest create;
  images::CreateImageResponse created;
  create.mutable_image()->set_name(name);
  ImageDescriptor plain = target;
  plain.annotations.clear();
  *create.mutable_image()->mutable_target() = ToWire(plain);
  const absl::Status status = client->Call(client->images(), &images::Images::Stub::Create, create, &created);
  if (!absl::IsAlreadyExists(status)) return status;
  images::UpdateImageRequest update;
  images::UpdateImageResponse updated;
  *update.mutable_image() = create.image();
  update.mutable_update_mask()->add_paths("target");
  return client->Call(client->images(), &images::Images::Stub::Update, update, &updated);
}

absl::StatusOr<ImportedImage> Finish(Client* client, const Named& named, const ImportOptions& options) {
  GANTRY_RETURN_IF_ERROR(LinkTree(client, named.second, 0));
  GANTRY_ASSIGN_OR_RETURN(const LoadedImage image, LoadImage(client, ToWire(named.second)));
  ImportedImage out{
      .name = named.first, .digest = named.second.digest, .layers = image.manifest.layers.size()};
  out.size_bytes = image.manifest_descriptor.size + image.manifest.config.size;
  for (const ImageDescriptor& layer : image.manifest.layers) out.size_bytes += layer.size;
  if (options.unpack) {
    GANTRY_ASSIGN_OR_RETURN(out.chain_id, Unpack(client, options.snapshotter, image));
  }
  return out;
}

}  // namespace

absl::StatusOr<std::vector<ImportedImage>> Import(Client* client, const ImportOptions& options) {
  GANTRY_ASSIGN_OR_RETURN(const std::unique_ptr<Lease> lease, Lease::Create(client));
  GANTRY_ASSIGN_OR_RETURN(const Contents contents, ReadArchive(client, options.path));
  GANTRY_ASSIGN_OR_RETURN(const std::vector<Named> named, NamedImages(client, contents, options));
  std::vector<ImportedImage> imported;
  for (const Named& image : named) {
    GANTRY_ASSIGN_OR_RETURN(imported.emplace_back(), Finish(client, image, options));
  }
  // Records come last and together: an archive that is wrong anywhere leaves none.
  for (const Named& image : named) GANTRY_RETURN_IF_ERROR(Record(client, image.first, image.second));
  GANTRY_RETURN_IF_ERROR(lease->End(/*collect=*/false));
  return imported;
}

}  // namespace gantry::cli
