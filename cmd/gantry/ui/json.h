// A JSON object written member by member, in the order of the calls:
//
//   JsonObject().Text("id", id).Number("pid", pid).Raw("spec", spec_json).Take()
//
// Not thread-safe.
#ifndef GANTRY_CMD_GANTRY_UI_JSON_H_
#define GANTRY_CMD_GANTRY_UI_JSON_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace gantry::cli {

// `text` with quotes; bytes that are no UTF-8 become U+FFFD, so that the output is always JSON.
std::string JsonString(absl::string_view text);

// "[a,b]" of values that are JSON already.
std::string JsonArray(const std::vector<std::string>& values);

// `json` again, indented by two spaces a level; unchanged if it is no JSON.
std::string PrettyJson(const std::string& json);

class JsonObject {
 public:
  JsonObject& Text(absl::string_view key, absl::string_view value) { return Raw(key, JsonString(value)); }
  JsonObject& Number(absl::string_view key, int64_t value);
  JsonObject& Bool(absl::string_view key, bool value) { return Raw(key, value ? "true" : "false"); }
  JsonObject& Texts(absl::string_view key, const std::vector<std::string>& values);
  JsonObject& Map(absl::string_view key, const std::map<std::string, std::string>& values);
  // `json` must be a JSON value.
  JsonObject& Raw(absl::string_view key, absl::string_view json);

  std::string Take() const { return "{" + body_ + "}"; }

 private:
  std::string body_;
};

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_UI_JSON_H_
