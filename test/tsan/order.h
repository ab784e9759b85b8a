// What the sanitizer is told when a library's function is replaced. Thread-safe; nothing here takes a lock of absl's.
#ifndef GANTRY_TEST_TSAN_ORDER_H_
#define GANTRY_TEST_TSAN_ORDER_H_

#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdio>
#include <cstdlib>

namespace gantry::tsan {

// The definition that comes after ours. `Self`: the object, then the method's parameters, as the ABI passes them.
template <typename Result, typename... Self>
class Next {
 public:
  explicit Next(const char* symbol) {
    void* found = dlsym(RTLD_NEXT, symbol);
    if (found == nullptr) {
      fprintf(stderr, "test/tsan: there is no %s: the library's version is another one\n", symbol);
      abort();
    }
    function_ = reinterpret_cast<Result (*)(Self...)>(found);
  }
  Result operator()(Self... self) const { return function_(self...); }

 private:
  Result (*function_)(Self...);
};

// Whether `address` lies in the text of one of gRPC's libraries.
bool IsGrpcText(void* address);

// All of gRPC together, as one lock.
inline char all_of_grpc = 0;

// The order that one call of a lock's method makes, for a caller at `return_address`.
class Order {
 public:
  Order(void* lock, void* return_address) : lock_(lock) { grpc_ = IsGrpcText(return_address); }
  // Something of gRPC's goes on: what this thread did so far comes before it.
  void Enter() const {
    if (grpc_) __tsan_release(&all_of_grpc);
  }
  void Acquire() const {
    __tsan_acquire(lock_);
    if (grpc_) __tsan_acquire(&all_of_grpc);
  }
  void Release() const {
    __tsan_release(lock_);
    Enter();
  }

 private:
  void* const lock_;
  bool grpc_ = false;
};

}  // namespace gantry::tsan

#endif  // GANTRY_TEST_TSAN_ORDER_H_
