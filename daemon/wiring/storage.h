// What the daemon keeps: the record store, the blobs, the snapshotters, and the collector over all of them; with the
// services of namespaces, containers, images, leases and content.
#ifndef GANTRY_DAEMON_WIRING_STORAGE_H_
#define GANTRY_DAEMON_WIRING_STORAGE_H_

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "content/store.h"
#include "daemon/gc/collector.h"
#include "daemon/gc/scheduler.h"
#include "daemon/gc/snapshots.h"
#include "daemon/metadata/containers.h"
#include "daemon/metadata/content.h"
#include "daemon/metadata/database.h"
#include "daemon/metadata/images.h"
#include "daemon/metadata/leases.h"
#include "daemon/metadata/namespaces.h"
#include "daemon/metadata/sandboxes.h"
#include "daemon/wiring/core.h"
#include "snapshotter/snapshotter.h"

namespace gantry::wiring {

// Must be destroyed after the server and its workers. Members in the order of their making.
struct Storage {
  std::unique_ptr<metadata::Database> database;
  std::unique_ptr<content::Store> files;
  std::optional<metadata::ContentStore> content;
  // By name. One that the machine cannot serve is absent, and its plugin record tells why.
  std::map<std::string, std::unique_ptr<snapshotter::Snapshotter>> snapshotters;
  std::unique_ptr<gc::Snapshots> snapshots;
  std::optional<metadata::Namespaces> namespaces;
  std::optional<metadata::Containers> containers;
  std::optional<metadata::Sandboxes> sandboxes;
  std::optional<metadata::Images> images;
  std::optional<metadata::Leases> leases;
  std::optional<gc::Collector> collector;
  std::optional<gc::Scheduler> scheduler;
};

// Opens everything below the root directory, adds the services and the plugin records, and starts the collector.
// Core and what it points at outlive the result.
absl::StatusOr<std::unique_ptr<Storage>> MakeStorage(Core& core, Services* services);

}  // namespace gantry::wiring

#endif  // GANTRY_DAEMON_WIRING_STORAGE_H_
