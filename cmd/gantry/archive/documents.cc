#include "cmd/gantry/archive/documents.h"

#include <openssl/evp.h>
#include <rapidjson/document.h>
#include <sys/utsname.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cmd/gantry/ui/json.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

using Json = rapidjson::Value;

constexpr size_t kMaxEntries = 10000;  // layers of an image, manifests of an index

absl::Status Wrong(absl::string_view name, absl::string_view member, absl::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat(name, ": ", member, " ", rule));
}

absl::Status ParseInto(absl::string_view json, absl::string_view name, rapidjson::Document* document) {
  if (json.size() > kMaxDocumentBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat(name, ": ", json.size(), " bytes are more than the ", kMaxDocumentBytes, " allowed"));
  }
  document->Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(json.data(),
                                                                                          json.size());
  if (document->HasParseError()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": no JSON: error at byte ", document->GetErrorOffset()));
  }
  if (!document->IsObject() && !document->IsArray()) return Wrong(name, "the document", "must be an object");
  return absl::OkStatus();
}

const Json* Member(const Json& object, const char* key) {
  if (!object.IsObject()) return nullptr;
  const auto it = object.FindMember(key);
  return it == object.MemberEnd() || it->value.IsNull() ? nullptr : &it->value;
}

// Absent or null leaves `out` as it is; another type than expected is an error.
absl::Status ReadText(const Json& object, const char* key, absl::string_view name, std::string* out) {
  const Json* value = Member(object, key);
  if (value == nullptr) return absl::OkStatus();
  if (!value->IsString()) return Wrong(name, key, "must be a string");
  out->assign(value->GetString(), value->GetStringLength());
  return absl::OkStatus();
}

absl::Status ReadTexts(const Json& object, const char* key, absl::string_view name,
                       std::vector<std::string>* out) {
  const Json* value = Member(object, key);
  if (value == nullptr) return absl::OkStatus();
  if (!value->IsArray()) return Wrong(name, key, "must be an array of strings");
  if (value->Size() > kMaxEntries) return Wrong(name, key, "has too many entries");
  for (const Json& entry : value->GetArray()) {
    if (!entry.IsString()) return Wrong(name, key, "must be an array of strings");
    out->emplace_back(entry.GetString(), entry.GetStringLength());
  }
  return absl::OkStatus();
}

absl::Status ReadMap(const Json& object, const char* key, absl::string_view name,
                     std::map<std::string, std::string>* out) {
  const Json* value = Member(object, key);
  if (value == nullptr) return absl::OkStatus();
  if (!value->IsObject()) return Wrong(name, key, "must be an object of strings");
  for (const auto& entry : value->GetObject()) {
    if (!entry.value.IsString()) return Wrong(name, key, "must be an object of strings");
    (*out)[entry.name.GetString()] = entry.value.GetString();
  }
  return absl::OkStatus();
}

absl::Status ReadPlatform(const Json& object, absl::string_view name, Platform* out) {
  GANTRY_RETURN_IF_ERROR(ReadText(object, "os", name, &out->os));
  GANTRY_RETURN_IF_ERROR(ReadText(object, "architecture", name, &out->architecture));
  return ReadText(object, "variant", name, &out->variant);
}

absl::Status ReadDescriptor(const Json& object, absl::string_view name, ImageDescriptor* out) {
  if (!object.IsObject()) return Wrong(name, "a descriptor", "must be an object");
  GANTRY_RETURN_IF_ERROR(ReadText(object, "mediaType", name, &out->media_type));
  GANTRY_RETURN_IF_ERROR(ReadText(object, "digest", name, &out->digest));
  GANTRY_RETURN_IF_ERROR(sys::Annotate(ValidateDigest(out->digest), name));
  const Json* size = Member(object, "size");
  if (size == nullptr || !size->IsInt64() || size->GetInt64() < 0) {
    return Wrong(name, absl::StrCat("size of ", out->digest), "must be a number that is not negative");
  }
  out->size = size->GetInt64();
  if (const Json* platform = Member(object, "platform")) {
    GANTRY_RETURN_IF_ERROR(ReadPlatform(*platform, name, &out->platform));
  }
  return ReadMap(object, "annotations", name, &out->annotations);
}

absl::Status ReadDescriptors(const Json& object, const char* key, absl::string_view name,
                             std::vector<ImageDescriptor>* out) {
  const Json* list = Member(object, key);
  if (list == nullptr) return absl::OkStatus();
  if (!list->IsArray()) return Wrong(name, key, "must be an array");
  if (list->Size() > kMaxEntries) return Wrong(name, key, "has too many entries");
  for (const Json& entry : list->GetArray()) {
    GANTRY_RETURN_IF_ERROR(ReadDescriptor(entry, name, &out->emplace_back()));
  }
  return absl::OkStatus();
}

std::string DescriptorJson(const ImageDescriptor& descriptor) {
  return JsonObject()
      .Text("mediaType", descriptor.media_type)
      .Text("digest", descriptor.digest)
      .Number("size", descriptor.size)
      .Take();
}

}  // namespace

bool IsIndexType(absl::string_view media_type) {
  return media_type == kOciIndex || media_type == kDockerIndex;
}

bool IsManifestType(absl::string_view media_type) {
  return media_type == kOciManifest || media_type == kDockerManifest;
}

Platform HostPlatform() {
  utsname host{};
  ::uname(&host);
  const absl::string_view machine = host.machine;
  if (machine == "x86_64") return {"linux", "amd64", ""};
  if (machine == "aarch64") return {"linux", "arm64", "v8"};
  return {"linux", std::string(machine), ""};
}

std::string PlatformName(const Platform& platform) {
  return absl::StrCat(platform.os, "/", platform.architecture, platform.variant.empty() ? "" : "/",
                      platform.variant);
}

absl::Status ValidateDigest(absl::string_view digest) {
  absl::string_view hex = digest;
  size_t length = 0;
  if (absl::ConsumePrefix(&hex, "sha256:")) length = 64;
  if (absl::ConsumePrefix(&hex, "sha512:")) length = 128;
  bool good = length != 0 && hex.size() == length;
  for (const char c : hex) good = good && (absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'));
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", digest, "\" is no digest: a digest is sha256: and 64 lower-case hexadecimal digits"));
}

absl::StatusOr<ImageIndex> ParseIndex(absl::string_view json, absl::string_view name) {
  rapidjson::Document document;
  GANTRY_RETURN_IF_ERROR(ParseInto(json, name, &document));
  if (Member(document, "layers") != nullptr || Member(document, "config") != nullptr) {
    return Wrong(name, "the document", "is an index and a manifest at once, which is refused as ambiguous");
  }
  ImageIndex index;
  GANTRY_RETURN_IF_ERROR(ReadDescriptors(document, "manifests", name, &index.manifests));
  return index;
}

absl::StatusOr<ImageManifest> ParseManifest(absl::string_view json, absl::string_view name) {
  rapidjson::Document document;
  GANTRY_RETURN_IF_ERROR(ParseInto(json, name, &document));
  if (Member(document, "manifests") != nullptr) {
    return Wrong(name, "the document", "is an index and a manifest at once, which is refused as ambiguous");
  }
  const Json* config = Member(document, "config");
  if (config == nullptr) return Wrong(name, "config", "is missing: this is no image manifest");
  ImageManifest manifest;
  GANTRY_RETURN_IF_ERROR(ReadDescriptor(*config, name, &manifest.config));
  GANTRY_RETURN_IF_ERROR(ReadDescriptors(document, "layers", name, &manifest.layers));
  return manifest;
}

absl::StatusOr<ImageConfig> ParseConfig(absl::string_view json, absl::string_view name) {
  rapidjson::Document document;
  GANTRY_RETURN_IF_ERROR(ParseInto(json, name, &document));
  ImageConfig out;
  GANTRY_RETURN_IF_ERROR(ReadPlatform(document, name, &out.platform));
  GANTRY_RETURN_IF_ERROR(ReadText(document, "created", name, &out.created));
  if (const Json* rootfs = Member(document, "rootfs")) {
    GANTRY_RETURN_IF_ERROR(ReadTexts(*rootfs, "diff_ids", name, &out.diff_ids));
  }
  for (const std::string& id : out.diff_ids) {
    GANTRY_RETURN_IF_ERROR(sys::Annotate(ValidateDigest(id), absl::StrCat(name, ": rootfs.diff_ids")));
  }
  const Json* config = Member(document, "config");
  if (config == nullptr) return out;
  if (!config->IsObject()) return Wrong(name, "config", "must be an object");
  GANTRY_RETURN_IF_ERROR(ReadText(*config, "User", name, &out.user));
  GANTRY_RETURN_IF_ERROR(ReadText(*config, "WorkingDir", name, &out.working_dir));
  GANTRY_RETURN_IF_ERROR(ReadText(*config, "StopSignal", name, &out.stop_signal));
  GANTRY_RETURN_IF_ERROR(ReadTexts(*config, "Env", name, &out.env));
  GANTRY_RETURN_IF_ERROR(ReadTexts(*config, "Entrypoint", name, &out.entrypoint));
  GANTRY_RETURN_IF_ERROR(ReadTexts(*config, "Cmd", name, &out.cmd));
  GANTRY_RETURN_IF_ERROR(ReadMap(*config, "Labels", name, &out.labels));
  return out;
}

absl::StatusOr<std::vector<SavedImage>> ParseSavedImages(absl::string_view json) {
  constexpr char kName[] = "manifest.json";
  rapidjson::Document document;
  GANTRY_RETURN_IF_ERROR(ParseInto(json, kName, &document));
  if (!document.IsArray()) return Wrong(kName, "the document", "must be an array");
  if (document.Size() > kMaxEntries) return Wrong(kName, "the document", "has too many entries");
  std::vector<SavedImage> images;
  for (const Json& entry : document.GetArray()) {
    if (!entry.IsObject()) return Wrong(kName, "each entry", "must be an object");
    SavedImage& image = images.emplace_back();
    GANTRY_RETURN_IF_ERROR(ReadText(entry, "Config", kName, &image.config));
    GANTRY_RETURN_IF_ERROR(ReadTexts(entry, "Layers", kName, &image.layers));
    GANTRY_RETURN_IF_ERROR(ReadTexts(entry, "RepoTags", kName, &image.tags));
    if (image.config.empty()) return Wrong(kName, "Config", "is missing");
  }
  return images;
}

std::string ManifestJson(const ImageManifest& manifest) {
  std::vector<std::string> layers;
  for (const ImageDescriptor& layer : manifest.layers) layers.push_back(DescriptorJson(layer));
  return JsonObject()
      .Number("schemaVersion", 2)
      .Text("mediaType", kOciManifest)
      .Raw("config", DescriptorJson(manifest.config))
      .Raw("layers", JsonArray(layers))
      .Take();
}

std::vector<std::string> ChainIds(const std::vector<std::string>& diff_ids) {
  std::vector<std::string> chain;
  for (const std::string& id : diff_ids) {
    chain.push_back(chain.empty() ? id : Sha256Digest(absl::StrCat(chain.back(), " ", id)));
  }
  return chain;
}

std::string Sha256Digest(absl::string_view data) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(data.data(), data.size(), digest, &size, EVP_sha256(), nullptr);
  return absl::StrCat("sha256:",
                      absl::BytesToHexString(absl::string_view(reinterpret_cast<char*>(digest), size)));
}

}  // namespace gantry::cli
