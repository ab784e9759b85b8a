#include "runtime/linux/child.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <type_traits>
#include <variant>

#include "runtime/sys/mount_api.h"

namespace gantry::linux {

// The operations that are not the child's are passed by.
struct Runner {
  Child* child;

  template <typename Operation>
  bool operator()(const Operation& operation) const {
    if constexpr (std::is_same_v<Operation, plan::CreateCgroup> ||
                  std::is_same_v<Operation, plan::OpenNamespace> ||
                  std::is_same_v<Operation, plan::NewMount> ||
                  std::is_same_v<Operation, plan::CompileSeccomp> ||
                  std::is_same_v<Operation, plan::ConnectSeccompAgent> ||
                  std::is_same_v<Operation, plan::Clone> || std::is_same_v<Operation, plan::WriteIdMaps> ||
                  std::is_same_v<Operation, plan::RunOnCpus> ||
                  std::is_same_v<Operation, plan::OpenResctrlGroup> ||
                  std::is_same_v<Operation, plan::JoinResctrlGroup> ||
                  std::is_same_v<Operation, plan::MoveNetDevice> ||
                  std::is_same_v<Operation, plan::SetOomScore>) {
      return true;
    } else {
      return child->Do(operation);
    }
  }
};

void Child::Run() {
  control_ = p_.sync;
  if (p_.unwanted >= 0) close(p_.unwanted);
  umask_ = umask(0);
  const auto& operations = p_.plan->operations;
  for (size_t i = p_.first; i < operations.size(); i++) {
    bool ok = i != p_.fail_at;
    if (!ok) {
      errno = p_.fail_errno;
      Fail("failpoint");
    }
    if (!ok || !std::visit(Runner{this}, operations[i])) {
      failure_.kind = MessageKind::kFailed;
      SendMessage(control_, failure_);
      _exit(1);
    }
  }
  _exit(1);  // not reached: the last operation is Exec
}

namespace {

void Copy(char* to, size_t size, const char* from) {
  const size_t length = strnlen(from, size - 1);
  memcpy(to, from, length);
  to[length] = '\0';
}

}  // namespace

bool Child::Fail(const char* step, const char* detail) {
  failure_.error = errno;
  failure_.failure = Failure::kErrno;
  Copy(failure_.step, sizeof failure_.step, step);
  Copy(failure_.detail, sizeof failure_.detail, detail);
  return false;
}

bool Child::FailAs(Failure failure, const char* step, const char* detail) {
  Fail(step, detail);
  failure_.failure = failure;
  return false;
}

bool Child::FailMount(const char* step, const char* detail, int fs_fd) {
  Fail(step, detail);
  const size_t used = strlen(failure_.detail);
  if (used + 8 < sizeof failure_.detail) {
    memcpy(failure_.detail + used, " (", 2);
    const size_t logged =
        sys::ReadMountLog(fs_fd, failure_.detail + used + 2, sizeof failure_.detail - used - 4);
    if (logged == 0) {
      failure_.detail[used] = '\0';
    } else {
      memcpy(failure_.detail + used + 2 + logged, ")", 2);
    }
  }
  return false;
}

void Child::Warn(const char* step, const char* detail, int error) {
  Message warning;
  warning.kind = MessageKind::kWarning;
  warning.error = error;
  Copy(warning.step, sizeof warning.step, step);
  Copy(warning.detail, sizeof warning.detail, detail);
  SendMessage(p_.sync, warning);
}

bool Child::WaitForGo() {
  Message message;
  const int error = ReceiveMessage(p_.sync, &message, nullptr);
  if (error != 0 || message.kind != MessageKind::kGo) {
    errno = error != 0 ? error : EBADMSG;
    return Fail("wait for the parent");
  }
  return true;
}

}  // namespace gantry::linux
