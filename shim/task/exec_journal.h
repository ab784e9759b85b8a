// What the bundle tells of the execs of a container, for the next shim should this one be killed: the file
// `gantry-execs`, of lines that are appended, in the order of what happened.
//
//   start  <exec id> <pid> <identity> <terminal: 0|1> <stdin> <stdout> <stderr>     it runs
//   exit   <exec id> <status> <nanoseconds since the epoch>                         written before it is announced
//   told   <exec id>                                                                the daemon has acknowledged that
//   delete <exec id>
//
// Fields are separated by tabs, and escaped like C strings. `identity` is sys::PidFd::Identity. A last line that is cut
// off does not count. The file is empty while there is no exec, and is written anew when it has grown long: it holds what
// the execs that there are need, not what there were.
//
// Kept only of containers that can go on under another shim. Costs a write(2) for each line, no sync; errors are logged,
// and nothing else. Belongs to the loop's thread.
#ifndef GANTRY_SHIM_TASK_EXEC_JOURNAL_H_
#define GANTRY_SHIM_TASK_EXEC_JOURNAL_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/sys/unique_fd.h"
#include "shim/stdio/process_io.h"
#include "shim/task/exit_record.h"

namespace gantry::shim {

struct ExecEntry {
  std::string id;
  pid_t pid = 0;
  uint64_t identity = 0;
  StdioPaths stdio;
  std::optional<ExitRecord> exit;
  bool told = false;  // of `exit`
};

class ExecJournal {
 public:
  explicit ExecJournal(const std::string& bundle);

  // Of an exec that runs; `entry.exit` is not looked at.
  void Started(const ExecEntry& entry);
  // For each exec that was Started, in this order, each once; of any other they are ignored.
  void Exited(const std::string& id, const ExitRecord& exit);
  void Told(const std::string& id);
  void Deleted(const std::string& id);

  // The execs that a former shim left, and goes on with them. Only before anything else is called.
  std::vector<ExecEntry> TakeOver();

  // The execs that are not deleted, by id. Lines that are not understood are skipped.
  static std::vector<ExecEntry> Parse(absl::string_view text);

 private:
  void Append(const std::string& id, const std::string& line);
  void Write(absl::string_view text);
  void Rewrite();

  const std::string path_;
  sys::UniqueFd file_;                        // opened when it is needed
  std::map<std::string, std::string> lines_;  // of each exec
  size_t bytes_ = 0;                          // of the file
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_TASK_EXEC_JOURNAL_H_
