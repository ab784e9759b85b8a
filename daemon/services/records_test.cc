// The services of records and blobs, as a client on a channel sees them.
#include <google/protobuf/empty.pb.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/metadata/containers.h"
#include "daemon/metadata/images.h"
#include "daemon/metadata/namespaces.h"
#include "daemon/metadata/test_database.h"
#include "daemon/services/containers_service.h"
#include "daemon/services/content_service.h"
#include "daemon/services/images_service.h"
#include "daemon/services/leases_service.h"
#include "daemon/services/namespaces_service.h"

namespace gantry::services {
namespace {

namespace containers = containerd::services::containers::v1;
namespace blobs = containerd::services::content::v1;
namespace images = containerd::services::images::v1;
namespace leases = containerd::services::leases::v1;
namespace namespaces = containerd::services::namespaces::v1;
using google::protobuf::Empty;
using grpc::StatusCode;

// Answers at once, and counts.
class CountingTrigger : public gc::Trigger {
 public:
  void CollectNow(absl::AnyInvocable<void(absl::Status)> done) override {
    ++collections;
    done(absl::OkStatus());
  }
  std::atomic<int> collections{0};
};

class RecordsTest : public metadata::DatabaseTest {
 protected:
  void SetUp() override {
    metadata::DatabaseTest::SetUp();
    exchange_.Subscribe(nullptr, [this](std::shared_ptr<const events::Envelope> envelope) {
      topics_.push_back(absl::StrCat(envelope->namespace_(), " ", envelope->topic()));
      return true;
    });
    namespaces_ = std::make_unique<metadata::Namespaces>(database_.get());
    containers_ = std::make_unique<metadata::Containers>(database_.get());
    images_ = std::make_unique<metadata::Images>(database_.get());
    leases_ = std::make_unique<metadata::Leases>(database_.get());
    services_.push_back(std::make_unique<NamespacesService>(namespaces_.get(), &exchange_, &*pool_));
    services_.push_back(std::make_unique<ContainersService>(containers_.get(), &exchange_, &*pool_));
    services_.push_back(std::make_unique<ImagesService>(images_.get(), &exchange_, &gc_, &*pool_));
    services_.push_back(std::make_unique<LeasesService>(leases_.get(), &gc_, &*pool_));
    services_.push_back(std::make_unique<ContentService>(content_.get(), &exchange_, &*pool_, &*pool_));
    grpc::ServerBuilder builder;
    for (const auto& service : services_) builder.RegisterService(service.get());
    server_ = builder.BuildAndStart();
    channel_ = server_->InProcessChannel({});
  }
  void TearDown() override {
    channel_.reset();
    server_->Shutdown();
    server_.reset();
    services_.clear();
    pool_.reset();
    metadata::DatabaseTest::TearDown();
  }

  // A context of one call.
  std::unique_ptr<grpc::ClientContext> Call(const std::string& lease = "") {
    auto context = std::make_unique<grpc::ClientContext>();
    context->AddMetadata("containerd-namespace", "default");
    if (!lease.empty()) context->AddMetadata("containerd-lease", lease);
    return context;
  }

  // One stream of Content.Write.
  struct Upload {
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientReaderWriter<blobs::WriteContentRequest, blobs::WriteContentResponse>> stream;

    bool Send(blobs::WriteAction action, const std::string& ref, int64_t offset, const std::string& data,
              blobs::WriteContentResponse* response, const std::string& expected = "", int64_t total = 0) {
      blobs::WriteContentRequest request;
      request.set_action(action);
      request.set_ref(ref);
      request.set_offset(offset);
      request.set_data(data);
      request.set_expected(expected);
      request.set_total(total);
      return stream->Write(request) && stream->Read(response);
    }
    StatusCode Finish() {
      stream->WritesDone();
      return stream->Finish().error_code();
    }
  };
  Upload Begin(const std::string& lease = "") {
    Upload upload{Call(lease), nullptr};
    upload.stream = blobs::Content::NewStub(channel_)->Write(upload.context.get());
    return upload;
  }

  events::Exchange exchange_;
  std::vector<std::string> topics_;
  CountingTrigger gc_;
  std::unique_ptr<server::WorkerPool> pool_ = std::make_unique<server::WorkerPool>("records-test", 2);
  std::unique_ptr<metadata::Namespaces> namespaces_;
  std::unique_ptr<metadata::Containers> containers_;
  std::unique_ptr<metadata::Images> images_;
  std::unique_ptr<metadata::Leases> leases_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(RecordsTest, UploadIsWrittenStatedAndCommitted) {
  Upload upload = Begin();
  blobs::WriteContentResponse response;
  const std::string digest = content::Digest::Of("hello, world").ToString();
  ASSERT_TRUE(upload.Send(blobs::STAT, "r", 0, "", &response, "", 12));
  EXPECT_EQ(response.offset(), 0);
  EXPECT_EQ(response.total(), 12);
  EXPECT_GT(response.started_at().seconds(), 0);
  ASSERT_TRUE(upload.Send(blobs::WRITE, "r", 0, "hello, ", &response));
  EXPECT_EQ(response.offset(), 7);
  ASSERT_TRUE(upload.Send(blobs::COMMIT, "r", 7, "world", &response, digest, 12));
  EXPECT_EQ(response.offset(), 12);
  EXPECT_EQ(response.digest(), digest);
  EXPECT_EQ(upload.Finish(), StatusCode::OK);
  EXPECT_TRUE(content_->Info(ns_, content::Digest::Of("hello, world")).ok());
  EXPECT_EQ(topics_, (std::vector<std::string>{"default /content/create"}));
}

TEST_F(RecordsTest, WrongOffsetIsOutOfRangeAndZeroBeginsAnew) {
  blobs::WriteContentResponse response;
  Upload upload = Begin();
  ASSERT_TRUE(upload.Send(blobs::WRITE, "r", 0, "abc", &response));
  EXPECT_FALSE(upload.Send(blobs::WRITE, "r", 5, "def", &response));
  EXPECT_EQ(upload.Finish(), StatusCode::OUT_OF_RANGE);
  Upload again = Begin();
  ASSERT_TRUE(again.Send(blobs::STAT, "r", 0, "", &response));
  EXPECT_EQ(response.offset(), 3);
  ASSERT_TRUE(again.Send(blobs::WRITE, "r", 0, "xy", &response));
  EXPECT_EQ(response.offset(), 2);
  Upload other = Begin();
  EXPECT_FALSE(other.Send(blobs::STAT, "r", 0, "", &response));
  EXPECT_EQ(other.Finish(), StatusCode::UNAVAILABLE);
}

TEST_F(RecordsTest, RefusedUploads) {
  blobs::WriteContentResponse response;
  Upload nameless = Begin();
  EXPECT_FALSE(nameless.Send(blobs::STAT, "", 0, "", &response));
  EXPECT_EQ(nameless.Finish(), StatusCode::INVALID_ARGUMENT);
  Upload wrong = Begin();
  EXPECT_FALSE(wrong.Send(blobs::COMMIT, "r", 0, "abc", &response, content::Digest::Of("x").ToString()));
  EXPECT_EQ(wrong.Finish(), StatusCode::FAILED_PRECONDITION);
  const content::Digest there = Put(ns_, "there");
  Upload again = Begin();
  EXPECT_FALSE(again.Send(blobs::STAT, "s", 0, "", &response, there.ToString()));
  EXPECT_EQ(again.Finish(), StatusCode::ALREADY_EXISTS);
  Upload unleased = Begin("never");
  EXPECT_FALSE(unleased.Send(blobs::STAT, "t", 0, "", &response));
  EXPECT_EQ(unleased.Finish(), StatusCode::NOT_FOUND);
}

TEST_F(RecordsTest, ReadServesRangesInChunks) {
  std::string data(2 * ContentService::kChunkBytes + 7, 'x');
  data.back() = 'y';
  const content::Digest digest = Put(ns_, data);
  const auto read = [&](int64_t offset, int64_t size, StatusCode expected) {
    blobs::ReadContentRequest request;
    request.set_digest(digest.ToString());
    request.set_offset(offset);
    request.set_size(size);
    const auto context = Call();
    auto reader = blobs::Content::NewStub(channel_)->Read(context.get(), request);
    blobs::ReadContentResponse response;
    std::string got;
    while (reader->Read(&response)) {
      EXPECT_EQ(response.offset(), offset + static_cast<int64_t>(got.size()));
      EXPECT_LE(response.data().size(), ContentService::kChunkBytes);
      got += response.data();
    }
    EXPECT_EQ(reader->Finish().error_code(), expected);
    return got;
  };
  EXPECT_EQ(read(0, 0, StatusCode::OK), data);
  EXPECT_EQ(read(10, 5, StatusCode::OK), data.substr(10, 5));
  EXPECT_EQ(read(static_cast<int64_t>(data.size()) - 2, 100, StatusCode::OK), "xy");
  EXPECT_EQ(read(static_cast<int64_t>(data.size()), 0, StatusCode::OK), "");
  EXPECT_EQ(read(static_cast<int64_t>(data.size()) + 1, 0, StatusCode::OUT_OF_RANGE), "");
}

TEST_F(RecordsTest, ContentIsListedInSeveralMessages) {
  for (int i = 0; i < 150; ++i) Put(ns_, absl::StrCat("blob ", i));
  const auto context = Call();
  auto reader = blobs::Content::NewStub(channel_)->List(context.get(), {});
  blobs::ListContentResponse response;
  int infos = 0, messages = 0;
  for (; reader->Read(&response); ++messages) infos += response.info_size();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(infos, 150);
  EXPECT_EQ(messages, 2);
}

TEST_F(RecordsTest, ContainersAreStreamedOneByOneAndPublished) {
  auto stub = containers::Containers::NewStub(channel_);
  for (int i = 0; i < 130; ++i) {
    containers::CreateContainerRequest request;
    containers::CreateContainerResponse response;
    request.mutable_container()->set_id(absl::StrCat("c", i));
    request.mutable_container()->mutable_runtime()->set_name("r");
    request.mutable_container()->mutable_spec()->set_type_url("t");
    ASSERT_TRUE(stub->Create(Call().get(), request, &response).ok());
  }
  EXPECT_EQ(topics_.size(), 130u);
  const auto context = Call();
  auto reader = stub->ListStream(context.get(), {});
  containers::ListContainerMessage message;
  int count = 0;
  while (reader->Read(&message)) ++count;
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(count, 130);
  containers::ListContainersRequest bad;
  bad.add_filters("id=~[");
  containers::ListContainersResponse none;
  EXPECT_EQ(stub->List(Call().get(), bad, &none).error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(RecordsTest, SynchronousDeletesWaitForACollection) {
  auto stub = images::Images::NewStub(channel_);
  for (const char* name : {"a", "b"}) {
    images::CreateImageRequest request;
    images::CreateImageResponse response;
    request.mutable_image()->set_name(name);
    request.mutable_image()->mutable_target()->set_digest(content::Digest::Of("x").ToString());
    request.mutable_image()->mutable_target()->set_size(1);
    request.mutable_image()->mutable_target()->set_media_type("m");
    ASSERT_TRUE(stub->Create(Call().get(), request, &response).ok());
  }
  Empty empty;
  images::DeleteImageRequest request;
  request.set_name("a");
  EXPECT_TRUE(stub->Delete(Call().get(), request, &empty).ok());
  EXPECT_EQ(gc_.collections, 0);
  request.set_sync(true);
  EXPECT_EQ(stub->Delete(Call().get(), request, &empty).error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(gc_.collections, 0);
  request.set_name("b");
  EXPECT_TRUE(stub->Delete(Call().get(), request, &empty).ok());
  EXPECT_EQ(gc_.collections, 1);
  leases::CreateRequest create;
  leases::CreateResponse created;
  create.set_id("l");
  auto lease_stub = leases::Leases::NewStub(channel_);
  ASSERT_TRUE(lease_stub->Create(Call().get(), create, &created).ok());
  leases::DeleteRequest erase;
  erase.set_id("l");
  erase.set_sync(true);
  EXPECT_TRUE(lease_stub->Delete(Call().get(), erase, &empty).ok());
  EXPECT_EQ(gc_.collections, 2);
}

TEST_F(RecordsTest, NamespacesNeedNoNamespaceButOthersDo) {
  grpc::ClientContext bare, bare_too;
  namespaces::ListNamespacesResponse response;
  EXPECT_TRUE(namespaces::Namespaces::NewStub(channel_)->List(&bare, {}, &response).ok());
  images::ListImagesResponse images;
  EXPECT_EQ(images::Images::NewStub(channel_)->List(&bare_too, {}, &images).error_code(),
            StatusCode::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace gantry::services
