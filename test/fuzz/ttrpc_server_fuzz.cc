// A whole ttrpc server: one hostile connection, and a good one that must not notice.
#include <sys/socket.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/ttrpc/client.h"
#include "api/ttrpc/server.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/unique_fd.h"
#include "test/fuzz/input.h"

namespace gantry::fuzz {
namespace {

class World {
 public:
  World() : loop_(*sys::EventLoop::Create()), server_(loop_.get()) {
    server_.Register("s", "echo", [](const ttrpc::CallInfo&, std::string payload, ttrpc::Responder respond) {
      respond(std::move(payload));
    });
    server_.Register("s", "keep", [this](const ttrpc::CallInfo&, std::string, ttrpc::Responder respond) {
      kept_.push_back(std::move(respond));
      if (kept_.size() > 8) kept_.clear();
    });
    client_ = *ttrpc::Client::FromFd(loop_.get(), Connect());
  }

  void Try(absl::string_view input) {
    const size_t piece = size_t{TakeByte(input)} * 16 + 1;
    sys::UniqueFd hostile = Connect();
    while (!input.empty()) {
      const absl::string_view part = input.substr(0, piece);
      if (send(hostile.get(), part.data(), part.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) break;
      input.remove_prefix(part.size());
      Turn();
    }
    bool answered = false;
    client_->Call("s", "echo", "ping", absl::InfiniteDuration(), [&](absl::StatusOr<std::string> answer) {
      Check(answer.ok() && *answer == "ping", "the other connection works on");
      answered = true;
    });
    for (int i = 0; i < 10 && !answered; ++i) Turn();
    Check(answered, "the other connection is answered");
    hostile.reset();
    for (int i = 0; i < 10 && server_.connections() > 1; ++i) Turn();
    Check(server_.connections() == 1, "a connection ends with its peer");
    kept_.clear();
  }

 private:
  sys::UniqueFd Connect() {
    int fds[2];
    Check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0, "socketpair");
    Check(server_.Adopt(sys::UniqueFd(fds[0])).ok(), "Adopt");
    return sys::UniqueFd(fds[1]);
  }
  void Turn() { Check(loop_->RunOnce(absl::ZeroDuration()).ok(), "RunOnce"); }

  std::unique_ptr<sys::EventLoop> loop_;
  ttrpc::Server server_;
  std::vector<ttrpc::Responder> kept_;
  std::unique_ptr<ttrpc::Client> client_;
};

}  // namespace
}  // namespace gantry::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  gantry::fuzz::World().Try(gantry::fuzz::View(data, size));
  return 0;
}
