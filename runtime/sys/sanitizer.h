// What the code must know of sanitizers: they map memory of their own around the program's, and have no static runtime.
#ifndef GANTRY_RUNTIME_SYS_SANITIZER_H_
#define GANTRY_RUNTIME_SYS_SANITIZER_H_

namespace gantry::sys {

#ifdef GANTRY_SANITIZED
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

#ifdef GANTRY_TSAN
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_SANITIZER_H_
