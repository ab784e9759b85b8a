#include "cmd/gantry/io/wait_call.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/sys/status.h"

namespace gantry::cli {

struct WaitCall::State {
  sys::UniqueFd event;
  grpc::ClientContext context;
  tasks::WaitRequest request;
  tasks::WaitResponse response;
  grpc::Status status;
};

WaitCall::WaitCall(Client* client, const std::string& id, const std::string& exec_id)
    : state_(std::make_unique<State>()), client_(client) {
  state_->event.reset(::eventfd(0, EFD_CLOEXEC));
  state_->request.set_container_id(id);
  state_->request.set_exec_id(exec_id);
  client_->Prepare(&state_->context, kNoTimeout);
  State* state = state_.get();
  client_->tasks().async()->Wait(&state->context, &state->request, &state->response,
                                 [state](grpc::Status status) {
                                   state->status = std::move(status);
                                   // The write publishes the answer; nothing of `state` may be touched after it.
                                   ::eventfd_write(state->event.get(), 1);
                                 });
}

int WaitCall::fd() const { return state_->event.get(); }

absl::StatusOr<uint32_t> WaitCall::Result() {
  eventfd_t count = 0;
  while (::eventfd_read(state_->event.get(), &count) != 0 && errno == EINTR) {
  }
  taken_ = true;
  GANTRY_RETURN_IF_ERROR(client_->Translate(state_->status));
  return state_->response.exit_status();
}

WaitCall::~WaitCall() {
  if (taken_) return;
  state_->context.TryCancel();
  Result().status().IgnoreError();
}

}  // namespace gantry::cli
