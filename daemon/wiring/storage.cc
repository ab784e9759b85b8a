#include "daemon/wiring/storage.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "content/local_store.h"
#include "daemon/services/containers_service.h"
#include "daemon/services/content_service.h"
#include "daemon/services/diff_service.h"
#include "daemon/services/images_service.h"
#include "daemon/services/leases_service.h"
#include "daemon/services/namespaces_service.h"
#include "daemon/services/snapshots_service.h"
#include "daemon/wiring/plugins.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"
#include "snapshotter/native/native.h"
#include "snapshotter/overlay/overlay.h"

namespace gantry::wiring {
namespace {

// containerd's own place, where tools look for layers.
std::string RootOf(const config::Config& config, const config::Snapshotter& snapshotter,
                   absl::string_view name) {
  if (!snapshotter.root_path.empty()) return snapshotter.root_path;
  return absl::StrCat(config.root, "/", kSnapshotterPlugin, ".", name);
}

void AddSnapshotter(Core& core, Storage* storage, const std::string& name, const std::string& root,
                    absl::StatusOr<std::unique_ptr<snapshotter::Snapshotter>> opened) {
  services::PluginRecord record = Plugin(kSnapshotterPlugin, name, opened.status());
  record.platform_bound = true;
  record.exports["root"] = root;
  if (opened.ok()) {
    storage->snapshotters[name] = *std::move(opened);
  } else {
    log::Warn("a snapshotter cannot be used",
              {{"snapshotter", name}, {"error", std::string(opened.status().message())}});
  }
  core.plugins.push_back(std::move(record));
}

void OpenSnapshotters(Core& core, Storage* storage) {
  const config::Config& config = *core.config;
  const snapshotter::Executor background = [bulk = core.bulk](std::function<void()> work) {
    bulk->Submit(std::move(work));
  };
  snapshotter::OverlayOptions overlay;
  overlay.root = RootOf(config, config.overlayfs, snapshotter::kOverlayName);
  overlay.db = storage->database->records();
  overlay.background = background;
  overlay.mount_options = config.overlayfs.mount_options;
  overlay.upperdir_label = config.overlayfs.upperdir_label;
  if (config.overlayfs.sync_remove) overlay.background = nullptr;
  const std::string overlay_root = overlay.root;
  AddSnapshotter(core, storage, snapshotter::kOverlayName, overlay_root,
                 snapshotter::OpenOverlaySnapshotter(std::move(overlay)));
  snapshotter::NativeOptions native;
  native.root = RootOf(config, config.native, snapshotter::kNativeName);
  native.db = storage->database->records();
  native.background = background;
  const std::string native_root = native.root;
  AddSnapshotter(core, storage, snapshotter::kNativeName, native_root,
                 snapshotter::OpenNativeSnapshotter(std::move(native)));
}

void StartCollector(Core& core, Storage* storage) {
  storage->collector.emplace(storage->database.get(), &*storage->content, storage->snapshots.get(),
                             core.exchange);
  const config::GcScheduler& config = core.config->gc;
  const gc::SchedulerOptions options = {config.pause_threshold, config.deletion_threshold,
                                        config.mutation_threshold, config.schedule_delay,
                                        config.startup_delay};
  storage->scheduler.emplace(core.loop, core.bulk, options,
                             [collector = &*storage->collector] { return collector->Collect(); });
  storage->database->Observe(
      [scheduler = &*storage->scheduler](metadata::Change change) { scheduler->OnChange(change); });
  storage->scheduler->Start();
}

void AddServices(Core& core, Storage* storage, Services* services) {
  services->push_back(
      std::make_unique<services::NamespacesService>(&*storage->namespaces, core.exchange, core.records));
  services->push_back(
      std::make_unique<services::ContainersService>(&*storage->containers, core.exchange, core.records));
  services->push_back(std::make_unique<services::ImagesService>(&*storage->images, core.exchange,
                                                                &*storage->scheduler, core.records));
  services->push_back(
      std::make_unique<services::LeasesService>(&*storage->leases, &*storage->scheduler, core.records));
  services->push_back(
      std::make_unique<services::ContentService>(&*storage->content, core.exchange, core.records, core.bulk));
  services::SnapshotsService::Options snapshots;
  for (const auto& [name, snapshotter] : storage->snapshotters) {
    snapshots.snapshotters[name] = snapshotter.get();
  }
  snapshots.database = storage->database.get();
  snapshots.events = core.exchange;
  snapshots.records = core.records;
  snapshots.bulk = core.bulk;
  services->push_back(std::make_unique<services::SnapshotsService>(std::move(snapshots)));
  services->push_back(std::make_unique<services::DiffService>(&*storage->content, core.bulk));
  core.plugins.push_back(Plugin(kDifferPlugin, "walking"));
  for (const char* service :
       {"namespaces", "containers", "images", "leases", "content", "snapshots", "diff"}) {
    AddServicePlugins(service, &core.plugins);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Storage>> MakeStorage(Core& core, Services* services) {
  const config::Config& config = *core.config;
  auto storage = std::make_unique<Storage>();
  GANTRY_ASSIGN_OR_RETURN(storage->database, metadata::Database::Open(config.root + "/metadata"));
  GANTRY_ASSIGN_OR_RETURN(storage->files, content::LocalStore::Create(config.root + "/content"));
  metadata::Database* database = storage->database.get();
  storage->content.emplace(database, storage->files.get(),
                           config.content_sharing_policy == "isolated" ? metadata::SharingPolicy::kIsolated
                                                                       : metadata::SharingPolicy::kShared);
  core.plugins.push_back(Plugin(kContentPlugin, "content"));
  core.plugins.push_back(Plugin(kMetadataPlugin, "bolt"));
  core.plugins.push_back(Plugin(kGcPlugin, "scheduler"));
  core.plugins.push_back(Plugin(kLeasePlugin, "manager"));
  OpenSnapshotters(core, storage.get());

  std::map<std::string, snapshotter::Snapshotter*> snapshotters;
  for (const auto& [name, snapshotter] : storage->snapshotters) snapshotters[name] = snapshotter.get();
  storage->snapshots = std::make_unique<gc::SnapshotterSet>(std::move(snapshotters));
  storage->namespaces.emplace(database, [snapshots = storage->snapshots.get()](absl::string_view ns) {
    return snapshots->HoldingsOf(ns);
  });
  storage->containers.emplace(database);
  storage->sandboxes.emplace(database);
  storage->images.emplace(database);
  storage->leases.emplace(database);
  StartCollector(core, storage.get());
  AddServices(core, storage.get(), services);
  return storage;
}

}  // namespace gantry::wiring
