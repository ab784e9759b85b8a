// config.json, process.json and resources: any bytes are either an error or a specification that survives being
// written and read again.
#include "runtime/oci/spec.h"
#include "runtime/oci/validate.h"
#include "runtime/oci/write.h"
#include "test/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gantry;
  const absl::string_view input = fuzz::View(data, size);
  if (auto spec = oci::ParseSpec(input); spec.ok()) {
    oci::Validate(*spec).IgnoreError();
    const std::string json = oci::ToJson(*spec);
    auto again = oci::ParseSpec(json);
    fuzz::Check(again.ok(), "what ToJson writes, ParseSpec reads");
    fuzz::Check(oci::ToJson(*again) == json, "a specification survives");
  }
  if (auto process = oci::ParseProcess(input); process.ok()) {
    oci::ValidateProcess(*process).IgnoreError();
    fuzz::Check(oci::ParseProcess(oci::ToJson(*process)).ok(), "what ToJson writes, ParseProcess reads");
  }
  if (auto resources = oci::ParseResources(input); resources.ok()) {
    oci::ValidateResources(*resources).IgnoreError();
    fuzz::Check(oci::ParseResources(oci::ToJson(*resources)).ok(),
                "what ToJson writes, ParseResources reads");
  }
  return 0;
}
