// containerd's filter language: any text is an error or a filter that answers.
#include <map>
#include <string>
#include <vector>

#include "daemon/filters/filter.h"
#include "test/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gantry;
  const absl::string_view input = fuzz::View(data, size);
  auto filter = filters::Filter::Parse(input);
  if (!filter.ok()) return 0;
  const std::map<std::string, std::string> labels = {{"a", "b"}, {"io.x/y", "z"}};
  const auto field = [&](filters::FieldPath path) -> std::optional<absl::string_view> {
    if (path.empty()) return std::nullopt;
    if (path.front() == "labels") return filters::LabelField(path.subspan(1), labels);
    return filters::TextField(path.front());
  };
  const bool once = filter->Match(field);
  fuzz::Check(filter->Match(field) == once, "a filter answers the same twice");
  auto alternatives = filters::Filter::ParseAny(std::vector<std::string>{std::string(input), "never==x"});
  fuzz::Check(alternatives.ok() && (!once || alternatives->Match(field)), "an alternative only adds");
  return 0;
}
