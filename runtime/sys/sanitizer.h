// What the code must know of sanitizers. Tells ThreadSanitizer of an order between threads that a library built without it makes, as Debian's gRPC does between a
// call and the callback of its end. Compiles to nothing in every other build. Thread-safe.
#ifndef GANTRY_RUNTIME_SYS_SANITIZER_H_
#define GANTRY_RUNTIME_SYS_SANITIZER_H_

#ifdef GANTRY_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace gantry::sys {

// A sanitizer maps memory of its own around the program's, and has no static runtime.
#ifdef GANTRY_SANITIZED
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

#ifdef GANTRY_TSAN
inline constexpr bool kThreadSanitizer = true;
// What this thread did so far comes before what any thread does after HappensAfter of the same address.
inline void HappensBefore(void* address) { __tsan_release(address); }
inline void HappensAfter(void* address) { __tsan_acquire(address); }
#else
inline constexpr bool kThreadSanitizer = false;
inline void HappensBefore(void*) {}
inline void HappensAfter(void*) {}
#endif

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_SANITIZER_H_
