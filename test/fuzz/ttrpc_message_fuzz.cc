// ttrpc's frames and envelopes: any bytes, in pieces of any size.
#include "absl/status/statusor.h"
#include "api/ttrpc/envelope.h"
#include "api/ttrpc/frame.h"
#include "test/fuzz/input.h"

namespace gantry::fuzz {
namespace {

void TryEnvelopes(absl::string_view bytes) {
  if (auto request = ttrpc::ParseRequest(bytes); request.ok()) {
    auto again = ttrpc::ParseRequest(ttrpc::EncodeRequest(*request));
    Check(again.ok(), "what EncodeRequest writes, ParseRequest reads");
    Check(again->service == request->service && again->method == request->method &&
              again->payload == request->payload && again->timeout_nanos == request->timeout_nanos &&
              again->metadata == request->metadata,
          "a request survives");
  }
  if (auto response = ttrpc::ParseResponse(bytes); response.ok()) {
    auto again = ttrpc::ParseResponse(ttrpc::EncodeResponse(*response));
    Check(again.ok(), "what EncodeResponse writes, ParseResponse reads");
    Check(again->status.code() == response->status.code() && again->payload == response->payload,
          "a response survives");
  }
}

}  // namespace
}  // namespace gantry::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gantry;
  absl::string_view input = fuzz::View(data, size);
  fuzz::TryEnvelopes(input);
  const size_t piece = fuzz::TakeByte(input) + 1;
  ttrpc::FrameDecoder decoder;
  while (!input.empty()) {
    const absl::string_view part = input.substr(0, piece);
    input.remove_prefix(part.size());
    decoder.Append(part);
    while (true) {
      absl::StatusOr<std::optional<ttrpc::Frame>> frame = decoder.Next();
      if (!frame.ok()) return 0;
      if (!frame->has_value()) break;
      fuzz::Check((*frame)->data.size() <= ttrpc::kMaxDataBytes, "no frame is larger than allowed");
      fuzz::TryEnvelopes((*frame)->data);
    }
    fuzz::Check(decoder.buffered_bytes() <= ttrpc::kMaxDataBytes + ttrpc::kHeaderBytes + piece,
                "what is held is bounded");
  }
  return 0;
}
