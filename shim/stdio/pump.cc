#include "shim/stdio/pump.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

// A pipe's own size: one read empties it. Shared by all pumps, as they take turns; its pages are touched only
// as far as data came.
constexpr size_t kBufferBytes = 64 << 10;
char buffer[kBufferBytes];
// Of the source's pipe, once somebody fills it: its writer and this side then work at the same time.
constexpr int kBigPipe = 1 << 20;
// Then others get their turn.
constexpr size_t kTurnBytes = 1 << 20;
// A terminal whose last user closed it may be opened again (a getty does so); nothing tells when.
constexpr absl::Duration kHangUpRetry = absl::Milliseconds(200);
// A client sets a terminal's size after Start was answered, and only then listens for changes of its own (ctr does
// so): whoever changes the size because he sees output, a script for one, would do it in between and in vain.
constexpr absl::Duration kFirstTerminalOutput = absl::Milliseconds(20);

}  // namespace

Pump::Pump(sys::EventLoop* loop, Source kind, sys::UniqueFd source, sys::UniqueFd sink,
           absl::AnyInvocable<void()> done)
    : loop_(loop), kind_(kind), source_(std::move(source)), sink_(std::move(sink)), done_(std::move(done)) {}

absl::StatusOr<std::unique_ptr<Pump>> Pump::Create(sys::EventLoop* loop, Source kind, sys::UniqueFd source,
                                                   sys::UniqueFd sink, absl::AnyInvocable<void()> done) {
  struct stat info;
  if (fstat(sink.get(), &info) != 0) return sys::ErrnoStatus("fstat", "stdio sink");
  std::unique_ptr<Pump> pump(new Pump(loop, kind, std::move(source), std::move(sink), std::move(done)));
  pump->sink_may_block_ = !S_ISREG(info.st_mode);
  GANTRY_RETURN_IF_ERROR(
      loop->Add(pump->source_.get(), EPOLLIN, [p = pump.get()](uint32_t) { p->OnReadable(); }));
  pump->watching_source_ = true;
  return pump;
}

Pump::~Pump() {
  if (timer_ != 0) loop_->Cancel(timer_);
  Unwatch();
}

void Pump::WatchSource() {
  if (watching_source_) return;
  watching_source_ = loop_->Add(source_.get(), EPOLLIN, [this](uint32_t) { OnReadable(); }).ok();
  if (!watching_source_) End();
}

void Pump::WatchSink() {
  watching_sink_ = loop_->Add(sink_.get(), EPOLLOUT, [this](uint32_t) { OnWritable(); }).ok();
  if (!watching_sink_) End();
}

void Pump::Unwatch() {
  if (watching_source_) loop_->Remove(source_.get());
  if (watching_sink_) loop_->Remove(sink_.get());
  watching_source_ = watching_sink_ = false;
}

Pump::ReadResult Pump::ReadOnce(char* data, size_t size, size_t* got) {
  ssize_t n;
  do {
    n = read(source_.get(), data, size);
  } while (n < 0 && errno == EINTR);
  if (n > 0) {
    *got = static_cast<size_t>(n);
    return ReadResult::kData;
  }
  if (n < 0 && errno == EAGAIN) return ReadResult::kEmpty;
  return ReadResult::kEnd;  // also EIO: the master of a terminal that nobody has open
}

bool Pump::Write(absl::string_view data) {
  while (!data.empty()) {
    const ssize_t n = write(sink_.get(), data.data(), data.size());
    if (n > 0) {
      data.remove_prefix(static_cast<size_t>(n));
    } else if (n < 0 && errno == EINTR) {
      continue;
    } else if (n < 0 && errno == EAGAIN && sink_may_block_) {
      pending_.assign(data.data(), data.size());
      return false;
    } else {
      lost_ += data.size();
      return true;
    }
  }
  return true;
}

void Pump::Drain() {
  if (ended_ || !pending_.empty()) return;
  for (size_t total = 0; total < kTurnBytes;) {
    size_t got = 0;
    switch (ReadOnce(buffer, sizeof(buffer), &got)) {
      case ReadResult::kData:
        total += got;
        if (got == sizeof(buffer) && !std::exchange(grown_, true))
          fcntl(source_.get(), F_SETPIPE_SZ, kBigPipe);
        if (!Write(absl::string_view(buffer, got))) {
          Unwatch();
          return WatchSink();
        }
        // A short read emptied a pipe; a terminal hands out a line at a time.
        if (kind_ == Source::kStream && got < sizeof(buffer)) return;
        break;
      case ReadResult::kEmpty:
        if (finishing_) End();
        return;
      case ReadResult::kEnd:
        if (kind_ == Source::kTerminal && !finishing_) return Pause(kHangUpRetry);
        return End();
    }
  }
}

void Pump::OnWritable() {
  const std::string data = std::exchange(pending_, std::string());
  if (!Write(data)) return;
  Unwatch();
  WatchSource();
  // What came meanwhile; and a Finish that was asked for meanwhile.
  Drain();
}

void Pump::OnReadable() {
  if (kind_ == Source::kTerminal && !std::exchange(had_output_, true)) return Pause(kFirstTerminalOutput);
  Drain();
}

void Pump::Pause(absl::Duration pause) {
  Unwatch();
  if (timer_ != 0) return;
  timer_ = loop_->RunAfter(pause, [this] {
    timer_ = 0;
    WatchSource();
  });
}

void Pump::Finish() {
  finishing_ = true;
  if (timer_ != 0 && !ended_) {
    loop_->Cancel(timer_);
    timer_ = 0;
  }
  Drain();
}

void Pump::End() {
  if (ended_) return;
  ended_ = true;
  if (timer_ != 0) loop_->Cancel(timer_);
  Unwatch();
  source_.reset();
  sink_.reset();
  timer_ = loop_->RunAfter(absl::ZeroDuration(), [this] {
    timer_ = 0;
    // The callback may destroy this pump.
    auto done = std::move(done_);
    done();
  });
}

}  // namespace gantry::shim
