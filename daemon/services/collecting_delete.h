// Deletes with `sync`: the answer waits for a collection, on no thread.
#ifndef GANTRY_DAEMON_SERVICES_COLLECTING_DELETE_H_
#define GANTRY_DAEMON_SERVICES_COLLECTING_DELETE_H_

#include <google/protobuf/empty.pb.h>

#include <utility>

#include "daemon/gc/scheduler.h"
#include "daemon/server/service.h"

namespace gantry::services {

// Runs `erase`, an absl::Status(const server::CallContext&, const Request&), on `pool`; then, if the request says
// sync, has garbage collected, and answers afterwards.
template <typename Request, typename Erase>
grpc::ServerUnaryReactor* RunCollectingDelete(server::WorkerPool* pool, gc::Trigger* gc,
                                              grpc::CallbackServerContext* context, const Request* request,
                                              google::protobuf::Empty* response, Erase erase) {
  using google::protobuf::Empty;
  return server::RunAsync(
      context, server::NamespaceRule::kRequired, request, response,
      [pool, gc, erase = std::move(erase)](const server::CallContext& call, const Request& request,
                                           server::Reply<Empty> reply) mutable {
        pool->Submit([gc, call, request, reply, erase = std::move(erase)]() mutable {
          const absl::Status status = erase(call, request);
          if (!status.ok()) {
            reply(status);
          } else if (!request.sync()) {
            reply(Empty());
          } else {
            gc->CollectNow([reply](const absl::Status& collected) {
              if (collected.ok()) {
                reply(Empty());
              } else {
                reply(collected);
              }
            });
          }
        });
      });
}

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_COLLECTING_DELETE_H_
