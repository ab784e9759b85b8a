// What every command gets: the global options and where to complain. See main.cc for the table of commands.
#ifndef GANTRY_CMD_GANTRY_OCI_CONTEXT_H_
#define GANTRY_CMD_GANTRY_OCI_CONTEXT_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cmd/gantry-oci/args.h"
#include "runtime/container/container.h"
#include "runtime/container/state_dir.h"
#include "runtime/oci/spec.h"
#include "runtime/oci/state.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::oci_cli {

class Context {
 public:
  std::string root;
  std::string log_path;
  bool log_json = false;
  bool debug = false;
  bool systemd_cgroup = false;
  // From sys::RunFromReadOnlyMount: let go while a container is being made, when its price is not seen.
  mutable sys::UniqueFd own_file;
  std::optional<bool> rootless;  // absent: as who calls us needs it
  std::string criu = "criu";     // the program of that name

  // Compiled filters are kept beside the containers; no container can have that name.
  std::string seccomp_cache() const { return root + "/@seccomp"; }

  // One line on stderr and in the log. The log is opened only now: most runs have nothing to say.
  void Error(absl::string_view message) const;
  void Warn(absl::string_view message) const;
  void Debug(absl::string_view message) const;

 private:
  void Log(const char* level, absl::string_view message) const;
};

// A command answers its exit status, or the error that main prints (exit status 1).
using Result = absl::StatusOr<int>;
using CommandFunction = Result (*)(const Context& context, const Arguments& arguments);

Result Create(const Context& context, const Arguments& arguments);
Result Start(const Context& context, const Arguments& arguments);
Result Run(const Context& context, const Arguments& arguments);
Result Exec(const Context& context, const Arguments& arguments);
Result State(const Context& context, const Arguments& arguments);
Result List(const Context& context, const Arguments& arguments);
Result Ps(const Context& context, const Arguments& arguments);
Result Kill(const Context& context, const Arguments& arguments);
Result Delete(const Context& context, const Arguments& arguments);
Result Pause(const Context& context, const Arguments& arguments);
Result Resume(const Context& context, const Arguments& arguments);
Result Update(const Context& context, const Arguments& arguments);
Result Events(const Context& context, const Arguments& arguments);
Result Spec(const Context& context, const Arguments& arguments);
Result Explain(const Context& context, const Arguments& arguments);
Result Checkpoint(const Context& context, const Arguments& arguments);
Result Restore(const Context& context, const Arguments& arguments);
Result Features(const Context& context, const Arguments& arguments);

// A container that exists, with what it is now.
struct Loaded {
  container::StateDir dir;
  container::SavedState saved;
  oci::Status status;

  cgroup::Cgroup group() const { return cgroup::Cgroup(saved.cgroup); }
  // The state of runtime.md, as hooks get it.
  oci::State state() const;
};
// NOT_FOUND names the id and the root.
absl::StatusOr<Loaded> Load(const Context& context, const std::string& id);
// The configuration with which it was created.
absl::StatusOr<oci::Spec> LoadSpec(const Loaded& container);

// Ends and removes a container: its processes, its cgroup, the poststop hooks, its state. Idempotent.
// `spec`: its configuration, where the caller has it; null: it is read.
absl::Status Remove(const Context& context, const Loaded& container, bool kill,
                    const oci::Spec* spec = nullptr);

// stdout, all of it.
absl::Status Print(absl::string_view text);
// `path`, made absolute with the current directory.
absl::StatusOr<std::string> Absolute(const std::string& path);
// The number alone, without a newline, as containerd reads it; replaced atomically.
absl::Status WritePidFile(const std::string& path, pid_t pid);

}  // namespace gantry::oci_cli

#endif  // GANTRY_CMD_GANTRY_OCI_CONTEXT_H_
