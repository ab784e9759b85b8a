// The reader of tar archives, behind the decompressors: any bytes, in pieces of any size.
#include <memory>

#include "snapshotter/diff/decompress.h"
#include "snapshotter/diff/source.h"
#include "snapshotter/diff/tar_reader.h"
#include "test/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gantry;
  absl::string_view input = fuzz::View(data, size);
  const size_t piece = size_t{fuzz::TakeByte(input)} * 8 + 1;
  auto source = diff::Decompress(std::make_unique<diff::StringSource>(input, piece));
  if (!source.ok()) return 0;
  diff::InputBuffer buffer(source->get());
  diff::TarReader reader(&buffer);
  diff::TarEntry entry;
  // A gzip bomb inflates a thousandfold: what is read of it here is bounded, or libFuzzer calls it a hang.
  int64_t budget_bytes = 64 << 20;
  while (budget_bytes > 0) {
    auto more = reader.Next(&entry);
    if (!more.ok() || !*more) return 0;
    budget_bytes -= 512;
    fuzz::Check(!entry.name.empty() && entry.name.find('\0') == std::string::npos,
                "a name is not empty and holds no NUL");
    fuzz::Check(entry.size >= 0, "a size is not negative");
    int64_t end = 0;
    while (budget_bytes > 0) {
      auto part = reader.ReadPiece();
      if (!part.ok()) return 0;
      if (part->bytes.empty()) break;
      fuzz::Check(part->offset >= end, "pieces ascend");
      end = part->offset + static_cast<int64_t>(part->bytes.size());
      fuzz::Check(end <= entry.size, "no content lies outside the file");
      budget_bytes -= static_cast<int64_t>(part->bytes.size());
    }
  }
  return 0;
}
