// A task that is being created. Only the manager uses this.
#ifndef GANTRY_DAEMON_TASKS_CREATION_H_
#define GANTRY_DAEMON_TASKS_CREATION_H_

#include <google/protobuf/any.pb.h>

#include <memory>
#include <string>

#include "daemon/tasks/manager.h"
#include "runtime/sys/pidfd.h"

namespace gantry::tasks {

struct Manager::Creation {
  TaskPtr task;
  std::shared_ptr<Ticket> ticket;
  NewTask what;
  google::protobuf::Any runtime_options;
  CreateCallback done;
  sys::PidFd process;   // the shim, if it was started for this task
  std::string sandbox;  // whose shim takes it; empty: none
  std::string group;    // whose shim takes it, if it is ours; empty: none
};

}  // namespace gantry::tasks

#endif  // GANTRY_DAEMON_TASKS_CREATION_H_
