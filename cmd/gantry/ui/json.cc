#include "cmd/gantry/ui/json.h"

#include <rapidjson/document.h>
#include <rapidjson/prettywriter.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace gantry::cli {

std::string JsonString(absl::string_view text) {
  // A transcoding pass by rapidjson would stop at the first bad byte; those are replaced one by one instead.
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer, rapidjson::UTF8<>, rapidjson::UTF8<>, rapidjson::CrtAllocator,
                    rapidjson::kWriteValidateEncodingFlag>
      writer(buffer);
  if (writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()))) return buffer.GetString();
  std::string ascii;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80) {
      ascii.push_back(c);
    } else {
      absl::StrAppend(&ascii, "\xEF\xBF\xBD");
    }
  }
  return JsonString(ascii);
}

std::string JsonArray(const std::vector<std::string>& values) {
  return absl::StrCat("[", absl::StrJoin(values, ","), "]");
}

std::string PrettyJson(const std::string& json) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag>(json.data(), json.size());
  if (document.HasParseError()) return json;
  rapidjson::StringBuffer buffer;
  rapidjson::PrettyWriter<rapidjson::StringBuffer> writer(buffer);
  writer.SetIndent(' ', 2);
  document.Accept(writer);
  return buffer.GetString();
}

JsonObject& JsonObject::Number(absl::string_view key, int64_t value) { return Raw(key, absl::StrCat(value)); }

JsonObject& JsonObject::Texts(absl::string_view key, const std::vector<std::string>& values) {
  std::vector<std::string> quoted;
  for (const std::string& value : values) quoted.push_back(JsonString(value));
  return Raw(key, JsonArray(quoted));
}

JsonObject& JsonObject::Map(absl::string_view key, const std::map<std::string, std::string>& values) {
  JsonObject inner;
  for (const auto& [name, value] : values) inner.Text(name, value);
  return Raw(key, inner.Take());
}

JsonObject& JsonObject::Raw(absl::string_view key, absl::string_view json) {
  absl::StrAppend(&body_, body_.empty() ? "" : ",", JsonString(key), ":", json);
  return *this;
}

}  // namespace gantry::cli
