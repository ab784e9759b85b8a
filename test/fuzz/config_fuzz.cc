// The daemon's TOML: any text is an error with its place, or a configuration that survives being written.
#include <string>
#include <vector>

#include "daemon/config/config.h"
#include "test/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gantry;
  config::Config config = config::Defaults("gantryd");
  std::vector<std::string> warnings;
  if (!config::Parse(fuzz::View(data, size), "fuzz.toml", &config, &warnings).ok()) return 0;
  const std::string text = config::ToToml(config);
  config::Config again = config::Defaults("gantryd");
  std::vector<std::string> second;
  fuzz::Check(config::Parse(text, "again.toml", &again, &second).ok(), "what ToToml writes, Parse reads");
  fuzz::Check(second.empty(), "ToToml writes no unknown key");
  fuzz::Check(config::ToToml(again) == text, "a configuration survives");
  return 0;
}
