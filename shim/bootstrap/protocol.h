// What `start` is told on standard input and answers on standard output: three generations of daemons.
//
//   stdin                              MAX_SHIM_VERSION   answer on stdout
//   BootstrapParams  (2.3 on)          any                BootstrapResult, protobuf
//   an Any of options, or nothing      unset (1.6)        the bare address
//   nothing                            2 or less          the bare address
//   an Any of options, or nothing      else               JSON {"version":…,"address":"unix://…","protocol":"ttrpc"}
//
// The JSON's version is the smaller of 3 and MAX_SHIM_VERSION: 1.7 refuses a newer one. The bare address is what
// every daemon understands. The address is the same in all. Pure.
#ifndef GANTRY_SHIM_BOOTSTRAP_PROTOCOL_H_
#define GANTRY_SHIM_BOOTSTRAP_PROTOCOL_H_

#include <string>

#include "absl/strings/string_view.h"
#include "shim/bootstrap/options.h"

namespace gantry::shim {

enum class AnswerForm { kBareAddress, kJson, kProtobuf };

struct StartInput {
  AnswerForm answer = AnswerForm::kBareAddress;
  std::string socket_dir;   // empty: the default
  std::string shim_cgroup;  // of the runtime's options; empty: stay
};

// Understands `input`, and lets BootstrapParams overrule `options`. An Any may decode as BootstrapParams too,
// so these must name the same task and namespace as the command line.
StartInput ReadStartInput(absl::string_view input, Options* options);

std::string FormatStartAnswer(AnswerForm form, absl::string_view address, int max_version);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BOOTSTRAP_PROTOCOL_H_
