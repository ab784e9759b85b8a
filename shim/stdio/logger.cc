#include "shim/stdio/logger.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/sys/spawn.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

struct Pipe {
  sys::UniqueFd read, write;
};

absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return sys::ErrnoStatus("pipe2", "logger");
  return Pipe{sys::UniqueFd(fds[0]), sys::UniqueFd(fds[1])};
}

}  // namespace

absl::StatusOr<Logger> StartLogger(const StreamTarget& target, const std::string& id,
                                   const std::string& namespace_name) {
  GANTRY_ASSIGN_OR_RETURN(Pipe out, MakePipe());
  GANTRY_ASSIGN_OR_RETURN(Pipe err, MakePipe());
  GANTRY_ASSIGN_OR_RETURN(Pipe ready, MakePipe());
  sys::SpawnOptions options;
  options.path = target.path;
  options.argv.push_back(target.path);
  options.argv.insert(options.argv.end(), target.arguments.begin(), target.arguments.end());
  options.env = {absl::StrCat("CONTAINER_ID=", id), absl::StrCat("CONTAINER_NAMESPACE=", namespace_name)};
  options.fds = {{out.read.get(), 3}, {err.read.get(), 4}, {ready.write.get(), 5}};
  absl::StatusOr<sys::Spawned> spawned = sys::Spawn(options);
  if (!spawned.ok()) return sys::Annotate(spawned.status(), "failed to start binary process");
  if (fcntl(ready.read.get(), F_SETFL, O_NONBLOCK) != 0) return sys::ErrnoStatus("fcntl", "logger");
  Logger logger;
  logger.pid = spawned->pid;
  logger.pidfd = std::move(spawned->pidfd);
  logger.out = std::move(out.write);
  logger.err = std::move(err.write);
  logger.ready = std::move(ready.read);
  return logger;
}

}  // namespace gantry::shim
