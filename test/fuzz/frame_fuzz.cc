// The filter of HTTP/2 frames: however the reads fall, the same comes out, never more than one frame for each refused stream
// longer than what came in.
#include <algorithm>
#include <string>

#include "daemon/server/frame_filter.h"
#include "test/fuzz/input.h"

namespace {

std::string Pass(absl::string_view data, size_t most, std::string* replies) {
  gantry::server::FrameFilter filter(1000);
  std::string out;
  for (size_t at = 0; at < data.size();) {
    const absl::string_view part = data.substr(at, most);
    at += part.size();
    const size_t plain = filter.Received(part);
    gantry::fuzz::Check(plain <= part.size(), "no more is handed on than came");
    out.append(part.data(), plain);
    out += filter.ready();
    filter.ready().clear();
  }
  *replies = filter.TakeReplies();
  filter.Sent(data);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input = gantry::fuzz::View(data, size);
  std::string replies, other;
  const std::string whole = Pass(input, std::max<size_t>(size, 1), &replies);
  gantry::fuzz::Check(whole.size() <= 2 * size + 32,
                      "a refusal takes a frame, and a frame makes no more than one");
  for (const size_t most : {1, 2, 7, 23}) {
    gantry::fuzz::Check(Pass(input, most, &other) == whole, "reads of any size give the same");
    gantry::fuzz::Check(other == replies, "reads of any size are answered the same");
  }
  return 0;
}
