#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cmd/gantry/client/container_store.h"
#include "cmd/gantry/commands/commands.h"
#include "cmd/gantry/ui/failure.h"
#include "cmd/gantry/ui/text.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

constexpr char kSeeAll[] = "see what there is: gantry ps -a";

absl::StatusOr<containers::Container> Find(Client* client, const std::string& what,
                                           const std::string& typed) {
  absl::StatusOr<containers::Container> container = FindContainer(client, typed);
  GANTRY_RETURN_IF_ERROR(
      Explain(what, container.status(), absl::IsNotFound(container.status()) ? kSeeAll : ""));
  return container;
}

// Runs `one` for each name; goes on after a failure, prints it, and the whole fails with the last one.
template <typename Function>
absl::StatusOr<int> ForEach(const std::vector<std::string>& names, Function one) {
  absl::Status failure;
  for (const std::string& name : names) {
    const absl::Status status = one(name);
    if (status.ok()) continue;
    if (!failure.ok()) std::fputs(Render(Describe(failure)).c_str(), stderr);
    failure = status;
  }
  GANTRY_RETURN_IF_ERROR(failure);
  return 0;
}

int StopSignalOf(const containers::Container& container) {
  const auto label = container.labels().find(kStopSignalLabel);
  if (label == container.labels().end()) return SIGTERM;
  const absl::StatusOr<int> signal = ParseSignal(label->second);
  return signal.ok() ? *signal : SIGTERM;
}

absl::Status StopOne(Client* client, const std::string& id, int signal, absl::Duration patience) {
  const absl::Status killed = KillTask(client, id, signal);
  // It stopped by itself already: what was asked for.
  if (absl::IsFailedPrecondition(killed) || absl::IsNotFound(killed)) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(killed);
  const absl::Status ended = WaitTask(client, id, patience).status();
  if (!absl::IsDeadlineExceeded(ended)) return ended;
  const absl::Status forced = KillTask(client, id, SIGKILL);
  if (!forced.ok() && !absl::IsFailedPrecondition(forced)) return forced;
  return WaitTask(client, id, absl::Seconds(30)).status();
}

// Copies the rest of the log. False when nothing was left.
absl::StatusOr<bool> CopyLog(int log) {
  char buffer[64 << 10];
  const ssize_t got = ::read(log, buffer, sizeof(buffer));
  if (got < 0) return sys::ErrnoStatus("read", "the log");
  if (got == 0) return false;
  GANTRY_RETURN_IF_ERROR(sys::WriteAll(STDOUT_FILENO, absl::string_view(buffer, static_cast<size_t>(got))));
  return true;
}

// Copies what comes to the log until the container has ended.
absl::Status FollowLog(Client* client, const std::string& id, const std::string& path, int log) {
  const sys::UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (::inotify_add_watch(watch.get(), path.c_str(), IN_MODIFY | IN_DELETE_SELF) < 0) {
    return sys::ErrnoStatus("inotify_add_watch", path);
  }
  bool ended = false;
  while (true) {
    GANTRY_ASSIGN_OR_RETURN(const bool copied, CopyLog(log));
    if (copied) continue;
    if (ended) return absl::OkStatus();
    pollfd poll_fd = {watch.get(), POLLIN, 0};
    // The exit is asked for when the log has been silent for a while; a daemon that is away is no end.
    if (::poll(&poll_fd, 1, 500) < 0 && errno != EINTR) return sys::ErrnoStatus("poll", path);
    char events[4096];
    while (::read(watch.get(), events, sizeof(events)) > 0) {
    }
    if ((poll_fd.revents & POLLIN) != 0) continue;
    const absl::StatusOr<std::optional<Process>> task = FindTask(client, id);
    ended = task.ok() && StateName(*task) != "running" && StateName(*task) != "paused";
  }
}

}  // namespace

absl::StatusOr<int> KillCommand(const Globals& globals, const KillOptions& options) {
  const absl::StatusOr<int> signal = ParseSignal(options.signal);
  GANTRY_RETURN_IF_ERROR(Explain("cannot send a signal", signal.status()));
  Client client(globals.Connection());
  return ForEach(options.containers, [&](const std::string& name) -> absl::Status {
    const std::string what = absl::StrCat("cannot kill container ", name);
    GANTRY_ASSIGN_OR_RETURN(const containers::Container container, Find(&client, what, name));
    GANTRY_RETURN_IF_ERROR(Explain(what, KillTask(&client, container.id(), *signal)));
    std::printf("%s\n", container.id().c_str());
    return absl::OkStatus();
  });
}

absl::StatusOr<int> StopCommand(const Globals& globals, const StopOptions& options) {
  Client client(globals.Connection());
  return ForEach(options.containers, [&](const std::string& name) -> absl::Status {
    const std::string what = absl::StrCat("cannot stop container ", name);
    GANTRY_ASSIGN_OR_RETURN(const containers::Container container, Find(&client, what, name));
    const absl::Duration patience = absl::Seconds(options.timeout_seconds);
    GANTRY_RETURN_IF_ERROR(
        Explain(what, StopOne(&client, container.id(), StopSignalOf(container), patience)));
    std::printf("%s\n", container.id().c_str());
    return absl::OkStatus();
  });
}

absl::StatusOr<int> WaitCommand(const Globals& globals, const std::vector<std::string>& names) {
  Client client(globals.Connection());
  return ForEach(names, [&](const std::string& name) -> absl::Status {
    const std::string what = absl::StrCat("cannot wait for container ", name);
    GANTRY_ASSIGN_OR_RETURN(const containers::Container container, Find(&client, what, name));
    const absl::StatusOr<uint32_t> code = WaitTask(&client, container.id(), kNoTimeout);
    GANTRY_RETURN_IF_ERROR(Explain(what, code.status()));
    std::printf("%u\n", *code);
    return absl::OkStatus();
  });
}

absl::StatusOr<int> RemoveCommand(const Globals& globals, const RemoveOptions& options) {
  Client client(globals.Connection());
  return ForEach(options.names, [&](const std::string& name) -> absl::Status {
    const std::string what = absl::StrCat("cannot remove container ", name);
    GANTRY_ASSIGN_OR_RETURN(const containers::Container container, Find(&client, what, name));
    const absl::Status removed = RemoveContainer(&client, container, options.force);
    GANTRY_RETURN_IF_ERROR(
        Explain(what, removed,
                absl::IsFailedPrecondition(removed)
                    ? absl::StrCat("stop it first: gantry stop ", name, "; or gantry rm -f ", name)
                    : ""));
    std::printf("%s\n", container.id().c_str());
    return absl::OkStatus();
  });
}

absl::StatusOr<int> LogsCommand(const Globals& globals, const LogsOptions& options) {
  Client client(globals.Connection());
  const std::string what = absl::StrCat("cannot show the log of container ", options.container);
  GANTRY_ASSIGN_OR_RETURN(const containers::Container container, Find(&client, what, options.container));
  const auto label = container.labels().find(kLogLabel);
  if (label == container.labels().end()) {
    return Failure({.what = what,
                    .why = "it has no log: only containers that gantry run -d started have one",
                    .next = "start it with gantry run -d"});
  }
  const absl::StatusOr<sys::UniqueFd> log = sys::OpenAt(AT_FDCWD, label->second, O_RDONLY);
  GANTRY_RETURN_IF_ERROR(Explain(what, log.status(), "the file was removed behind gantry's back"));
  if (options.follow) {
    GANTRY_RETURN_IF_ERROR(Explain(what, FollowLog(&client, container.id(), label->second, log->get())));
    return 0;
  }
  while (true) {
    const absl::StatusOr<bool> more = CopyLog(log->get());
    GANTRY_RETURN_IF_ERROR(Explain(what, more.status()));
    if (!*more) return 0;
  }
}

}  // namespace gantry::cli
