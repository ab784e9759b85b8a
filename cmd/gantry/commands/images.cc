#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "cmd/gantry/client/container_store.h"
#include "cmd/gantry/client/image_store.h"
#include "cmd/gantry/commands/commands.h"
#include "cmd/gantry/ui/failure.h"
#include "cmd/gantry/ui/json.h"
#include "cmd/gantry/ui/table.h"
#include "cmd/gantry/ui/text.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

struct ImageFacts {
  int64_t size_bytes = 0;
  std::vector<std::string> platforms;
};

// What the manifests that are here say. An image with a missing or damaged document is listed all the same.
ImageFacts FactsOf(Client* client, const images::Image& image) {
  ImageFacts facts;
  const auto manifests = ManifestsOf(client, FromWire(image.target()));
  if (!manifests.ok()) return facts;
  for (const ImageDescriptor& descriptor : *manifests) {
    const absl::StatusOr<LoadedImage> loaded = LoadManifest(client, descriptor);
    if (!loaded.ok()) continue;
    facts.size_bytes += descriptor.size + loaded->manifest.config.size;
    for (const ImageDescriptor& layer : loaded->manifest.layers) facts.size_bytes += layer.size;
    facts.platforms.push_back(PlatformName(loaded->config.platform));
  }
  return facts;
}

std::string NextForImport(const absl::Status& status) {
  if (absl::IsDataLoss(status)) return "get or make the archive again: it is not what it was";
  if (absl::IsInvalidArgument(status))
    return "give an OCI image layout or the output of docker save, as a tar archive";
  if (absl::IsNotFound(status)) return "check the path";
  if (absl::IsFailedPrecondition(status))
    return "get or make the archive again: its content is not what it says";
  return "";
}

}  // namespace

absl::StatusOr<int> ImagesCommand(const Globals& globals, bool quiet) {
  Client client(globals.Connection());
  constexpr char kWhat[] = "cannot list images";
  absl::StatusOr<std::vector<images::Image>> listed = ListImages(&client);
  GANTRY_RETURN_IF_ERROR(Explain(kWhat, listed.status()));
  std::sort(listed->begin(), listed->end(), [](const auto& a, const auto& b) { return a.name() < b.name(); });
  const absl::Time now = WallClock();
  Table table({{"NAME", Table::kShrinks}, {"DIGEST"}, {"PLATFORMS", Table::kShrinks}, {"SIZE"}, {"CREATED"}});
  for (const images::Image& image : *listed) {
    if (quiet) {
      std::printf("%s\n", OneLine(image.name()).c_str());
      continue;
    }
    const ImageFacts facts = FactsOf(&client, image);
    const absl::Time created =
        absl::FromUnixSeconds(image.created_at().seconds()) + absl::Nanoseconds(image.created_at().nanos());
    if (globals.json) {
      std::printf("%s\n",
                  JsonObject()
                      .Text("name", image.name())
                      .Text("digest", image.target().digest())
                      .Texts("platforms", facts.platforms)
                      .Number("size_bytes", facts.size_bytes)
                      .Text("created_at", absl::FormatTime(absl::RFC3339_full, created, absl::UTCTimeZone()))
                      .Take()
                      .c_str());
      continue;
    }
    table.Add({image.name(), ShortDigest(image.target().digest()), absl::StrJoin(facts.platforms, ","),
               HumanSize(static_cast<uint64_t>(facts.size_bytes)),
               absl::StrCat(HumanAge(now - created), " ago")});
  }
  if (!quiet && !globals.json) std::fputs(table.Render(TerminalWidth(STDOUT_FILENO)).c_str(), stdout);
  return 0;
}

absl::StatusOr<int> ImageImportCommand(const Globals& globals, const ImportOptions& options) {
  Client client(globals.Connection());
  const absl::StatusOr<std::vector<ImportedImage>> imported = Import(&client, options);
  GANTRY_RETURN_IF_ERROR(Explain(absl::StrCat("cannot import ", options.path), imported.status(),
                                 NextForImport(imported.status())));
  for (const ImportedImage& image : *imported) {
    if (globals.json) {
      std::printf("%s\n", JsonObject()
                              .Text("name", image.name)
                              .Text("digest", image.digest)
                              .Number("layers", static_cast<int64_t>(image.layers))
                              .Number("size_bytes", image.size_bytes)
                              .Text("chain_id", image.chain_id)
                              .Take()
                              .c_str());
    } else {
      std::printf("%s  %s  %zu layer%s, %s\n", OneLine(image.name).c_str(), image.digest.c_str(),
                  image.layers, image.layers == 1 ? "" : "s",
                  HumanSize(static_cast<uint64_t>(image.size_bytes)).c_str());
    }
  }
  return 0;
}

absl::StatusOr<int> ImageRemoveCommand(const Globals& globals, const RemoveOptions& options) {
  Client client(globals.Connection());
  for (const std::string& typed : options.names) {
    const std::string what = absl::StrCat("cannot remove image ", typed);
    const absl::StatusOr<images::Image> image = FindImage(&client, typed);
    GANTRY_RETURN_IF_ERROR(Explain(
        what, image.status(), absl::IsNotFound(image.status()) ? "see what there is: gantry images" : ""));
    const absl::StatusOr<std::vector<containers::Container>> users = ListContainers(&client);
    GANTRY_RETURN_IF_ERROR(Explain(what, users.status()));
    for (const containers::Container& container : *users) {
      if (options.force || container.image() != image->name()) continue;
      return Failure({.what = what,
                      .why = absl::StrCat("container ", container.id(), " was made from it"),
                      .next = absl::StrCat("remove that first: gantry rm ", container.id(),
                                           "; or gantry image rm -f ", typed)});
    }
    images::DeleteImageRequest request;
    google::protobuf::Empty response;
    request.set_name(image->name());
    request.set_sync(true);
    GANTRY_RETURN_IF_ERROR(
        Explain(what, client.Call(client.images(), &images::Images::Stub::Delete, request, &response)));
    std::printf("%s\n", OneLine(image->name()).c_str());
  }
  return 0;
}

}  // namespace gantry::cli
