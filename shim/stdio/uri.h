// Where a stream of a process goes: the strings of containerd's Create and Exec requests.
//
//   ""                      nowhere (/dev/null)
//   /path                   a FIFO (or, as containerd's shim does, an existing file that is appended to)
//   fifo:///path            the same
//   file:///path            a file that is made with its directories, and appended to
//   ttrpc+unix:///path?streaming_id=ID   a stream over the shim's own socket (stream_hub.h)
//   binary:///path?k=v&…    a program that reads the streams; arguments k v …; binary-v2:// must say "ready"
//
// Pure.
#ifndef GANTRY_SHIM_STDIO_URI_H_
#define GANTRY_SHIM_STDIO_URI_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::shim {

enum class StreamKind { kNull, kPath, kFile, kBinary, kStream };

struct StreamTarget {
  StreamKind kind = StreamKind::kNull;
  std::string path;
  std::vector<std::string> arguments;  // of kBinary
  std::string stream_id;               // of kStream
  bool strict_ready = false;           // binary-v2: end of file alone does not mean ready
};

// INVALID_ARGUMENT for an unknown scheme, a bad escape, or a URI without an absolute path.
absl::StatusOr<StreamTarget> ParseStreamTarget(absl::string_view text);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_STDIO_URI_H_
