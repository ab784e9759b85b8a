// ThreadSanitizer still sees a race between two handlers of gRPC, in spite of what absl_order.cc and grpc_order.cc tell it and of what
// suppressions.txt leaves out; and sees none where a lock is held.
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/server_callback.h>
#include <sched.h>

#include <atomic>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "api/proto/containerd/services/version/v1/version.grpc.pb.h"
#include "gtest/gtest.h"

// What test/run sets, for whoever runs this program alone.
extern "C" const char* __tsan_default_options() { return "halt_on_error=1"; }

namespace gantry {
namespace {

namespace version = containerd::services::version::v1;

// Two calls meet inside of the handler, by an atomic that orders nothing, and then write one variable.
class Meeting final : public version::Version::CallbackService {
 public:
  explicit Meeting(bool locked) : locked_(locked) {}

  grpc::ServerUnaryReactor* Version(grpc::CallbackServerContext* context, const google::protobuf::Empty*,
                                    version::VersionResponse*) override {
    inside_.fetch_add(1, std::memory_order_relaxed);
    const absl::Time late = absl::Now() + absl::Seconds(20);
    while (inside_.load(std::memory_order_relaxed) < 2 && absl::Now() < late) sched_yield();
    if (locked_) {
      absl::MutexLock lock(&mutex_);
      ++written_;
    } else {
      ++written_;
    }
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  const bool locked_;
  std::atomic<int> inside_ = 0;
  absl::Mutex mutex_;
  int written_ = 0;
};

void Call(const std::string& address) {
  const std::unique_ptr<version::Version::Stub> stub =
      version::Version::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  version::VersionResponse response;
  EXPECT_TRUE(stub->Version(&context, google::protobuf::Empty(), &response).ok());
}

void ServeTwoCalls(bool locked) {
  Meeting meeting(locked);
  grpc::ServerBuilder builder;
  const std::string address = absl::StrCat("unix:", testing::TempDir(), "/handler-race-", getpid(), ".sock");
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.RegisterService(&meeting);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  std::thread first([&address] { Call(address); });
  std::thread second([&address] { Call(address); });
  first.join();
  second.join();
}

TEST(HandlerRaceTest, TwoHandlersThatWriteWithALockAreInOrder) { ServeTwoCalls(/*locked=*/true); }

TEST(HandlerRaceTest, TwoHandlersThatWriteWithoutOneAreReported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(ServeTwoCalls(/*locked=*/false), "ThreadSanitizer: data race");
}

}  // namespace
}  // namespace gantry
