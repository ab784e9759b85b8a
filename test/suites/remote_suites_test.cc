// StoreSuite and SnapshotterSuite through the daemon's services, over HTTP/2 on a unix socket.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "content/local_store.h"
#include "content/store_suite.h"
#include "daemon/events/exchange.h"
#include "daemon/metadata/content.h"
#include "daemon/metadata/database.h"
#include "daemon/server/worker_pool.h"
#include "daemon/services/content_service.h"
#include "daemon/services/snapshots_service.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"
#include "snapshotter/native/native.h"
#include "snapshotter/overlay/overlay.h"
#include "snapshotter/snapshotter_suite.h"
#include "test/client/remote_snapshotter.h"
#include "test/client/remote_store.h"

namespace gantry {
namespace {

// One service of the daemon behind a socket, with all that it stands on.
class Served {
 public:
  ~Served() {
    if (server_ != nullptr) server_->Shutdown();
    server_.reset();
    service_.reset();
    pool_.reset();
    content_.reset();
    snapshotter_.reset();
  }

  // `root` is the store's directory; what else is needed lies beside it.
  absl::Status Open(const std::string& root) {
    GANTRY_RETURN_IF_ERROR(sys::MkdirAll(root, 0700));
    GANTRY_ASSIGN_OR_RETURN(database_, metadata::Database::Open(root + ".metadata"));
    return absl::OkStatus();
  }
  absl::Status ServeContent(const std::string& root) {
    GANTRY_ASSIGN_OR_RETURN(files_, content::LocalStore::Create(root));
    content_ = std::make_unique<metadata::ContentStore>(database_.get(), files_.get(),
                                                        metadata::SharingPolicy::kShared);
    return Serve(
        std::make_unique<services::ContentService>(content_.get(), &exchange_, pool_.get(), pool_.get()),
        root);
  }
  absl::Status ServeSnapshots(const std::string& root, const std::string& name,
                              std::unique_ptr<snapshotter::Snapshotter> snapshotter) {
    snapshotter_ = std::move(snapshotter);
    return Serve(std::make_unique<services::SnapshotsService>(services::SnapshotsService::Options{
                     {{name, snapshotter_.get()}}, database_.get(), &exchange_, pool_.get(), pool_.get()}),
                 root);
  }
  kv::Database* records() const { return database_->records(); }

  // A channel that keeps all of this alive as long as it lives.
  static std::shared_ptr<grpc::Channel> Channel(std::shared_ptr<Served> served) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    auto channel = grpc::CreateCustomChannel(served->address_, grpc::InsecureChannelCredentials(), arguments);
    grpc::Channel* const raw = channel.get();
    return {raw, [channel = std::move(channel), served = std::move(served)](grpc::Channel*) mutable {
              channel.reset();
              served.reset();
            }};
  }

 private:
  absl::Status Serve(std::unique_ptr<grpc::Service> service, const std::string& root) {
    service_ = std::move(service);
    address_ = "unix:" + root + ".sock";
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address_, grpc::InsecureServerCredentials());
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    return server_ != nullptr ? absl::OkStatus() : absl::InternalError("no server at " + address_);
  }

  std::string address_;
  events::Exchange exchange_;
  std::unique_ptr<metadata::Database> database_;
  std::unique_ptr<content::Store> files_;
  std::unique_ptr<metadata::ContentStore> content_;
  std::unique_ptr<snapshotter::Snapshotter> snapshotter_;
  std::unique_ptr<server::WorkerPool> pool_ = std::make_unique<server::WorkerPool>("suites", 4);
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
};

absl::StatusOr<std::unique_ptr<content::Store>> ServedStore(const std::string& root) {
  auto served = std::make_shared<Served>();
  GANTRY_RETURN_IF_ERROR(served->Open(root + "/content"));
  GANTRY_RETURN_IF_ERROR(served->ServeContent(root + "/content"));
  return client::OpenRemoteStore({Served::Channel(std::move(served)), "suite"});
}

using OpenLocal = absl::StatusOr<std::unique_ptr<snapshotter::Snapshotter>> (*)(const std::string& root,
                                                                                kv::Database* db);

snapshotter::SuiteOptions ServedSnapshotter(const std::string& name, OpenLocal open) {
  snapshotter::SuiteOptions options;
  options.name = name;
  options.remote = true;
  options.open = [name, open](const std::string& root,
                              kv::Database*) -> absl::StatusOr<std::unique_ptr<snapshotter::Snapshotter>> {
    auto served = std::make_shared<Served>();
    GANTRY_RETURN_IF_ERROR(served->Open(root));
    GANTRY_ASSIGN_OR_RETURN(auto local, open(root, served->records()));
    GANTRY_RETURN_IF_ERROR(served->ServeSnapshots(root, name, std::move(local)));
    return client::OpenRemoteSnapshotter({Served::Channel(std::move(served)), "suite", name});
  };
  return options;
}

}  // namespace

namespace content {

INSTANTIATE_TEST_SUITE_P(OverGrpc, StoreSuite, ::testing::Values(StoreMaker(ServedStore)));

}  // namespace content

namespace snapshotter {

INSTANTIATE_TEST_SUITE_P(OverlayOverGrpc, SnapshotterSuite,
                         testing::Values(ServedSnapshotter("overlayfs", [](const std::string& root,
                                                                           kv::Database* db) {
                           return OpenOverlaySnapshotter({.root = root, .db = db, .sync_commits = false});
                         })));

INSTANTIATE_TEST_SUITE_P(NativeOverGrpc, SnapshotterSuite,
                         testing::Values(ServedSnapshotter("native", [](const std::string& root,
                                                                        kv::Database* db) {
                           return OpenNativeSnapshotter({.root = root, .db = db, .sync_commits = false});
                         })));

}  // namespace snapshotter
}  // namespace gantry
