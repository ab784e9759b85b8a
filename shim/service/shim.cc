#include "shim/service/shim.h"

#include <malloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"
#include "shim/builder/bundle_lock.h"

// Of the linker: where the program's read-only part begins, and where its text ends.
extern "C" const char __executable_start;
extern "C" const char etext;

namespace gantry::shim {
namespace {

constexpr absl::Duration kUnusedPatience = absl::Seconds(30);
constexpr absl::Duration kDeletedPatience = absl::Seconds(10);
constexpr absl::Duration kAnswerGrace = absl::Seconds(1);
constexpr absl::Duration kEndGrace = absl::Seconds(10);
// A container that lives this long may live for months.
constexpr absl::Duration kSettleAfter = absl::Seconds(1);

// Gives back what creating a container took and waiting does not need: free heap, and the pages of the program's
// text (unmodified, so that the next use finds them in the page cache again).
void Settle() {
  malloc_trim(0);
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(&__executable_start) + page - 1) & ~(page - 1);
  const uintptr_t end = reinterpret_cast<uintptr_t>(&etext) & ~(page - 1);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace

Shim::Shim(ShimOptions options, std::unique_ptr<sys::EventLoop> loop)
    : options_(std::move(options)),
      loop_(std::move(loop)),
      streams_(loop_.get()),
      publisher_(loop_.get(), options_.ttrpc_address, options_.namespace_name),
      events_(&publisher_),
      server_(loop_.get()) {}

absl::StatusOr<std::unique_ptr<Shim>> Shim::Create(ShimOptions options, sys::UniqueFd listening) {
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<sys::EventLoop> loop, sys::EventLoop::Create());
  std::unique_ptr<Shim> shim(new Shim(std::move(options), std::move(loop)));
  GANTRY_RETURN_IF_ERROR(shim->Prepare(std::move(listening)));
  return shim;
}

void Shim::MakeServices() {
  context_ = {loop_.get(), reaper_.get(),           graveyard_.get(),
              &events_,    options_.namespace_name, [this] { OnInitExit(); }};
  context_.streams = &streams_;
  service_ = std::make_unique<TaskService>(
      &context_, TaskService::Hooks{.may_create = [this] { return sandbox_->CheckJoin(); },
                                    .on_create = [this](const std::string& bundle) { WatchBundle(bundle); },
                                    .on_created =
                                        [this] {
                                          OnCreated();
                                          sandbox_->OnContainersChanged();
                                          // Its bundle may have gone meanwhile.
                                          loop_->RunAfter(absl::ZeroDuration(), [this] { EndIfAbandoned(); });
                                        },
                                    .on_dropped =
                                        [this](const std::string& bundle) {
                                          if (bundles_ != nullptr) bundles_->Forget(bundle);
                                        },
                                    .on_empty = [this] { EndUnlessUsed(kDeletedPatience); },
                                    .on_shutdown =
                                        [this] {
                                          if (Empty()) End();
                                        }});
  sandbox_ = std::make_unique<SandboxService>(
      &context_, service_.get(),
      SandboxService::Hooks{.on_create = [this](const std::string& bundle) { WatchBundle(bundle); },
                            .on_created =
                                [this] {
                                  OnCreated();
                                  loop_->RunAfter(absl::ZeroDuration(), [this] { EndIfAbandoned(); });
                                },
                            .on_shutdown = [this] { End(); }});
  service_->RegisterWith(&server_);
  sandbox_->RegisterWith(&server_);
  streams_.RegisterWith(&server_);
}

absl::Status Shim::Prepare(sys::UniqueFd listening) {
  // The peer of a socket or the reader of a log may go at any time.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  GANTRY_ASSIGN_OR_RETURN(reaper_, Reaper::Create(loop_.get(), [this] {
                            if (!service_->running() && !sandbox_->running()) End();
                          }));
  graveyard_ = std::make_unique<Graveyard>(loop_.get(), reaper_.get());
  MakeServices();
  if (options_.adopted_init >= 0) {
    GANTRY_ASSIGN_OR_RETURN(successor_lock_, HoldAsSuccessor(options_.bundle));
    GANTRY_RETURN_IF_ERROR(service_->Adopt(options_.adopted_id, options_.bundle,
                                           sys::PidFd(sys::UniqueFd(options_.adopted_init))));
  }
  publisher_.OnIdle([this] { FinishIfDone(); });
  graveyard_->OnEmpty([this] { FinishIfDone(); });
  GANTRY_RETURN_IF_ERROR(
      server_.Serve(std::move(listening), [this](const ucred& peer) { return CheckPeer(peer); }));
  if (absl::StatusOr<std::unique_ptr<BundleWatch>> watch =
          BundleWatch::Create(loop_.get(), [this] { EndIfAbandoned(); });
      watch.ok()) {
    bundles_ = *std::move(watch);
  }
  WatchBundle(options_.bundle);
  if (service_->empty()) EndUnlessUsed(kUnusedPatience);
  return absl::OkStatus();
}

void Shim::OnCreated() {
  if (unused_timer_ != 0) loop_->Cancel(std::exchange(unused_timer_, 0));
  loop_->RunAfter(kSettleAfter, [] { Settle(); });
}

absl::Status Shim::CheckPeer(const ucred& peer) {
  if (peer.uid != geteuid()) {
    return absl::PermissionDeniedError(absl::StrCat("uid ", peer.uid, " may not talk to this shim"));
  }
  // Whoever connects is a daemon: perhaps one that has just come back.
  loop_->RunAfter(absl::ZeroDuration(), [this] { publisher_.Wake(); });
  return absl::OkStatus();
}

void Shim::WatchBundle(const std::string& bundle) {
  const absl::Status watched =
      bundles_ == nullptr ? absl::UnavailableError("no inotify") : bundles_->Add(bundle);
  if (!watched.ok()) {
    log::Warn("a bundle cannot be watched", {{"error", std::string(watched.message())}});
    loop_->RunAfter(absl::ZeroDuration(), [this] { EndIfAbandoned(); });
  }
}

void Shim::OnInitExit() {
  sandbox_->OnContainersChanged();
  EndIfAbandoned();
}

void Shim::EndIfAbandoned() {
  if (ending_ || bundles_ == nullptr) return;
  const auto gone = [this](const std::string& bundle) { return bundles_->IsGone(bundle); };
  service_->AbandonOrphans(gone);
  sandbox_->AbandonIf(gone);
  if (Empty() && BundlesGone()) End();
}

void Shim::EndUnlessUsed(absl::Duration patience) {
  if (ending_ || !Empty()) return;
  if (BundlesGone()) return End();
  if (unused_timer_ != 0) loop_->Cancel(unused_timer_);
  unused_timer_ = loop_->RunAfter(patience, [this, patience] {
    unused_timer_ = 0;
    if (!Empty()) return;
    if (server_.connections() == 0) return End();
    EndUnlessUsed(patience);
  });
}

void Shim::End() {
  if (ending_) return;
  ending_ = true;
  // First of all, and before the listener closes: whoever makes the next shim of this name must not find ours,
  // nor lose its own to us.
  if (!options_.socket_path.empty()) unlink(options_.socket_path.c_str());
  // Those that a process has are copied to their end.
  streams_.FinishUnclaimed();
  server_.Shutdown(server_.streams() > 0 ? kEndGrace : kAnswerGrace, [this] {
    server_down_ = true;
    FinishIfDone();
  });
  loop_->RunAfter(kEndGrace, [this] { loop_->Stop(); });
}

void Shim::FinishIfDone() {
  if (ending_ && server_down_ && publisher_.idle() && graveyard_->empty()) loop_->Stop();
}

absl::Status Shim::Run() {
  malloc_trim(0);
  return loop_->Run();
}

}  // namespace gantry::shim
