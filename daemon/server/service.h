// Everything that a gRPC service class of the daemon needs.
//
// A service derives from the generated CallbackService, takes its dependencies and a WorkerPool in its
// constructor, and stays thin: translate, call, translate. Which helper for which method:
//
//   a unary call that may block (files, database)            RunUnary        handler on the pool
//   a unary call that never blocks (version)                 RunUnary        with pool nullptr
//   a unary call whose answer comes later (task Wait)        RunAsync        handler gets a Reply
//   a server stream of what is there (List, content Read)    RunPullStream   a Generator, pulled as the
//                                                                            client reads
//   a server stream of what happens (events Subscribe)       StartPushStream a bounded queue
//   a bidirectional stream, request by request (Write)       RunExchange     an Exchange object
//
//   class NamespacesService final : public api::Namespaces::CallbackService {
//    public:
//     NamespacesService(metadata::Namespaces* namespaces, server::WorkerPool* pool);
//     grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const GetNamespaceRequest* request,
//                                   GetNamespaceResponse* response) override {
//       return server::RunUnary(pool_, context, server::NamespaceRule::kOptional, request, response,
//                               [this](const server::CallContext& call, const auto& request, auto* response)
//                               {
//                                 return Get(call, request, response);
//                               });
//     }
//
// A method that is not built is not overridden: the generated base answers UNIMPLEMENTED.
#ifndef GANTRY_DAEMON_SERVER_SERVICE_H_
#define GANTRY_DAEMON_SERVER_SERVICE_H_

#include "daemon/server/call_context.h"  // IWYU pragma: export
#include "daemon/server/identifier.h"    // IWYU pragma: export
#include "daemon/server/status.h"        // IWYU pragma: export
#include "daemon/server/streams.h"       // IWYU pragma: export
#include "daemon/server/unary.h"         // IWYU pragma: export
#include "daemon/server/worker_pool.h"   // IWYU pragma: export

#endif  // GANTRY_DAEMON_SERVER_SERVICE_H_
