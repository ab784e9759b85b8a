// Standard streams that go over the shim's own socket: containerd.services.streaming.v1.Streaming.
//
// A client opens a stream under a name of its choice, and names it in Create or Exec: `ttrpc+unix://SOCKET?streaming_id=ID`.
// Whichever comes first waits for the other. On the stream, each message is an Any: containerd.types.transfer.Data, and
// WindowUpdate, which allows the other side so many more bytes.
//
// A client may go (its connection ends) and come again under the same name, as with a FIFO: meanwhile output waits in its
// pipe, and the process with it. A client that closes its side of stdin ends stdin.
//
// Belongs to the loop's thread.
#ifndef GANTRY_SHIM_STDIO_STREAM_HUB_H_
#define GANTRY_SHIM_STDIO_STREAM_HUB_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "api/ttrpc/server.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::shim {

// The shim's end of a stream: a process's pipe. Made by StreamHub, which it must not outlive.
class StreamEnd {
 public:
  virtual ~StreamEnd() = default;
  virtual void Attach(std::shared_ptr<ttrpc::ServerStream> client) = 0;
  virtual void OnMessage(absl::string_view type, absl::string_view value) = 0;
  // The client sends no more.
  virtual void OnHalfClose() = 0;
  virtual void OnClientGone() = 0;
};

class StreamHub {
 public:
  explicit StreamHub(sys::EventLoop* loop) : loop_(loop) {}
  StreamHub(const StreamHub&) = delete;
  StreamHub& operator=(const StreamHub&) = delete;

  void RegisterWith(ttrpc::Server* server);

  sys::EventLoop* loop() const { return loop_; }
  // A process's end takes the name; its client's stream is attached now or when it comes. ALREADY_EXISTS: another
  // process has it.
  absl::Status Claim(const std::string& id, StreamEnd* end);
  // The name is free.
  void Release(const std::string& id);
  // Ends the streams that no process has.
  void FinishUnclaimed();
  // The name has no client.
  void Drop(const std::string& id);

 private:
  struct Slot {
    std::shared_ptr<ttrpc::ServerStream> client;
    StreamEnd* end = nullptr;
    int64_t early_window = 0;  // allowed by the client before there was a process
  };
  void OnStream(std::shared_ptr<ttrpc::ServerStream> stream);
  absl::Status OnInit(const std::shared_ptr<ttrpc::ServerStream>& stream, absl::string_view message,
                      std::string* id);
  void OnMessage(const std::string& id, absl::string_view message);
  void OnGone(const std::string& id);

  sys::EventLoop* const loop_;
  std::map<std::string, Slot> slots_;
};

// Output: what comes out of `source`, the reading end of a pipe (O_NONBLOCK), goes to the client, up to the pipe's end.
// `done` is called once, never from inside.
class StreamOutput final : public StreamEnd {
 public:
  static absl::StatusOr<std::unique_ptr<StreamOutput>> Create(StreamHub* hub, const std::string& id,
                                                              sys::UniqueFd source,
                                                              absl::AnyInvocable<void()> done);
  ~StreamOutput() override;
  // The process has ended: without a client it is over after `patience`.
  void Finish(absl::Duration patience);
  bool ended() const { return ended_; }

  void Attach(std::shared_ptr<ttrpc::ServerStream> client) override;
  void OnMessage(absl::string_view type, absl::string_view value) override;
  void OnHalfClose() override {}
  void OnClientGone() override;

 private:
  StreamOutput(StreamHub* hub, std::string id, sys::UniqueFd source, absl::AnyInvocable<void()> done);
  void Watch();
  void Unwatch();
  void Copy();
  void End();

  StreamHub* const hub_;
  const std::string id_;
  sys::UniqueFd source_;
  absl::AnyInvocable<void()> done_;
  std::shared_ptr<ttrpc::ServerStream> client_;
  int64_t window_ = 0;  // bytes that the client still takes
  bool watching_ = false, ended_ = false, finishing_ = false;
  absl::Duration patience_;
  sys::EventLoop::TimerId timer_ = 0;  // of Finish, or the call of done_
};

// Input: what the client sends goes into `sink`, the writing end of a pipe (O_NONBLOCK).
class StreamInput final : public StreamEnd {
 public:
  static absl::StatusOr<std::unique_ptr<StreamInput>> Create(StreamHub* hub, const std::string& id,
                                                             sys::UniqueFd sink);
  ~StreamInput() override;
  // The process gets end of file when the client has closed its side or gone; at once if there is none.
  void CloseWithClient();
  void Close();

  void Attach(std::shared_ptr<ttrpc::ServerStream> client) override;
  void OnMessage(absl::string_view type, absl::string_view value) override;
  void OnHalfClose() override;
  void OnClientGone() override;

 private:
  StreamInput(StreamHub* hub, std::string id, sys::UniqueFd sink);
  void Write();
  void Grant(int64_t bytes);

  StreamHub* const hub_;
  const std::string id_;
  sys::UniqueFd sink_;
  std::shared_ptr<ttrpc::ServerStream> client_;
  int64_t granted_ = 0;  // bytes that the client may still send
  int64_t taken_ = 0;    // bytes that were passed on, and not granted again yet
  std::string pending_;  // what the pipe does not take now
  bool watching_ = false;
  bool half_closed_ = false;  // no more comes
  bool held_ = true;          // another client may come
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_STDIO_STREAM_HUB_H_
