// A file that only takes space, so that there is some when the disk is full: opening the record store writes new
// files, and its log grows when something is removed. Private to content/kv.
#ifndef GANTRY_CONTENT_KV_BALLAST_H_
#define GANTRY_CONTENT_KV_BALLAST_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace gantry::kv {

// Thread-safe.
class Ballast {
 public:
  static constexpr uint64_t kBytes = 1 << 20;

  // `directory` must be there.
  explicit Ballast(absl::string_view directory);

  // Gives the space back to the disk. False if there was none.
  bool Release();
  // Takes it again if it was released. False if there is no space for it.
  bool Restore();

 private:
  const std::string path_;
  std::atomic<bool> held_;
};

// Whether so many bytes can be written in `directory` now. It is tried: what a file system says of itself counts blocks
// that it keeps for others, or for its own needs.
bool HasRoom(const std::string& directory, uint64_t bytes);

}  // namespace gantry::kv

#endif  // GANTRY_CONTENT_KV_BALLAST_H_
