#include "daemon/server/bad_message.h"

namespace gantry::server {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;

class BadMessageInterceptor : public grpc::experimental::Interceptor {
 public:
  // Called before each operation of a call begins and after it ended, mostly by another thread: gRPC orders them.
  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE)) {
      // The request of a unary call; a stream's end is no message either, but ends with another status.
      undecoded_ = methods->GetRecvMessage() == nullptr;
    }
    if (undecoded_ && methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS) &&
        methods->GetSendStatus().error_code() == grpc::StatusCode::UNIMPLEMENTED) {
      methods->ModifySendStatus(
          grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                       "the request could not be decoded: it is no valid protobuf message"));
    }
    methods->Proceed();
  }

 private:
  bool undecoded_ = false;
};

class Factory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo*) override {
    return new BadMessageInterceptor();
  }
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeBadMessageInterceptor() {
  return std::make_unique<Factory>();
}

}  // namespace gantry::server
