// tmpcopyup: fills a new tmpfs with what it is about to cover.
#ifndef GANTRY_RUNTIME_LINUX_COPY_UP_H_
#define GANTRY_RUNTIME_LINUX_COPY_UP_H_

namespace gantry::linux {

// Copies the tree at `from` (an O_PATH descriptor of a directory) into the directory `to`: directories, files,
// symlinks, device nodes and FIFOs with their owners, modes and times; sockets are left out. Never follows a
// symlink. 0, or -1 with errno (ELOOP: more than 64 levels deep). Async-signal-safe: for the child after clone3.
int CopyTree(int from, int to);

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_COPY_UP_H_
