// What every part of the daemon may use, and what a part is. Wiring makes the core first, then the parts in order.
//
// A part is one file of this folder with one function MakeXxx(Core&, ...): it builds the implementations, and
// tells which gRPC services it serves and under which names containerd's clients look for it.
#ifndef GANTRY_DAEMON_WIRING_CORE_H_
#define GANTRY_DAEMON_WIRING_CORE_H_

#include <grpcpp/impl/service_type.h>

#include <memory>
#include <string>
#include <vector>

#include "daemon/config/config.h"
#include "daemon/events/exchange.h"
#include "daemon/server/worker_pool.h"
#include "daemon/services/introspection_service.h"
#include "runtime/sys/event_loop.h"

namespace gantry::wiring {

struct Core {
  const config::Config* config;
  sys::EventLoop* loop;         // the main thread: shims, children, timers. Never block it
  server::WorkerPool* records;  // short work: the database, small files
  server::WorkerPool* bulk;     // long work: blobs, layers, deletion of trees
  events::Exchange* exchange;
  std::vector<services::PluginRecord> plugins;  // each part appends its own
};

// The daemon's own services, to be registered with the server; kept alive until it is gone.
using Services = std::vector<std::unique_ptr<grpc::Service>>;

}  // namespace gantry::wiring

#endif  // GANTRY_DAEMON_WIRING_CORE_H_
