#include "test/tsan/order.h"

#include <link.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace gantry::tsan {
namespace {

// Where the text of gRPC's libraries lies.
class GrpcText {
 public:
  GrpcText() { dl_iterate_phdr(&GrpcText::Add, this); }

  bool Contains(void* address) const {
    const auto at = reinterpret_cast<uintptr_t>(address);
    for (const Range& range : ranges_) {
      if (range.begin <= at && at < range.end) return true;
    }
    return false;
  }

 private:
  struct Range {
    uintptr_t begin, end;
  };

  static int Add(dl_phdr_info* library, size_t, void* self) {
    if (strstr(library->dlpi_name, "/libgrpc") == nullptr &&
        strstr(library->dlpi_name, "/libgpr.") == nullptr)
      return 0;
    for (int i = 0; i < library->dlpi_phnum; ++i) {
      const ElfW(Phdr)& part = library->dlpi_phdr[i];
      if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
      const uintptr_t begin = library->dlpi_addr + part.p_vaddr;
      static_cast<GrpcText*>(self)->ranges_.push_back({begin, begin + part.p_memsz});
    }
    return 0;
  }

  std::vector<Range> ranges_;
};

}  // namespace

bool IsGrpcText(void* address) {
  static const GrpcText* const text = new GrpcText;
  return text->Contains(address);
}

}  // namespace gantry::tsan
