// What the fuzz targets share.
#ifndef GANTRY_TEST_FUZZ_INPUT_H_
#define GANTRY_TEST_FUZZ_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/string_view.h"

namespace gantry::fuzz {

inline absl::string_view View(const uint8_t* data, size_t size) {
  return size == 0 ? absl::string_view() : absl::string_view(reinterpret_cast<const char*>(data), size);
}

// Takes one byte off the front to choose by; 0 when nothing is left.
inline uint8_t TakeByte(absl::string_view& input) {
  if (input.empty()) return 0;
  const auto byte = static_cast<uint8_t>(input.front());
  input.remove_prefix(1);
  return byte;
}

// A broken promise of the code under test ends the process, as a crash does.
inline void Check(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

}  // namespace gantry::fuzz

#endif  // GANTRY_TEST_FUZZ_INPUT_H_
