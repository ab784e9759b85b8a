// The program containerd-shim-gantry-v2: what each action does. See shim/README.md for the protocol.
#ifndef GANTRY_SHIM_BOOTSTRAP_COMMANDS_H_
#define GANTRY_SHIM_BOOTSTRAP_COMMANDS_H_

namespace gantry::shim {

// Runs the program; the result is its exit status. Silent on success but for the answer that is asked for; an
// error is one line on stderr.
int Main(int argc, char** argv);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BOOTSTRAP_COMMANDS_H_
