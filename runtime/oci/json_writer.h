// Writing structs as JSON, leaving out what is empty. Internal to runtime/oci and cmd/gantry-oci.
#ifndef GANTRY_RUNTIME_OCI_JSON_WRITER_H_
#define GANTRY_RUNTIME_OCI_JSON_WRITER_H_

#include <rapidjson/prettywriter.h>
#include <rapidjson/stringbuffer.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace gantry::oci {

class JsonWriter {
 public:
  explicit JsonWriter(bool pretty);

  // The document so far; the writer is done with it.
  std::string Take() const;

  void StartObject() { writer_.StartObject(); }
  void EndObject() { writer_.EndObject(); }
  void StartArray() { writer_.StartArray(); }
  void EndArray() { writer_.EndArray(); }
  void Key(absl::string_view key) { writer_.Key(key.data(), static_cast<rapidjson::SizeType>(key.size())); }
  void Null() { writer_.Null(); }

  void Value(bool v) { writer_.Bool(v); }
  void Value(uint16_t v) { writer_.Uint(v); }
  void Value(int32_t v) { writer_.Int(v); }
  void Value(uint32_t v) { writer_.Uint(v); }
  void Value(int64_t v) { writer_.Int64(v); }
  void Value(uint64_t v) { writer_.Uint64(v); }
  void Value(double v) { writer_.Double(v); }
  void Value(const char* v) { writer_.String(v); }
  void Value(absl::string_view v) { writer_.String(v.data(), static_cast<rapidjson::SizeType>(v.size())); }
  void Value(const std::string& v) { Value(absl::string_view(v)); }
  template <typename T>
  void Value(const std::vector<T>& list) {
    StartArray();
    for (const T& item : list) Write(*this, item);
    EndArray();
  }
  template <typename T>
  void Value(const std::map<std::string, T>& map) {
    StartObject();
    for (const auto& [key, value] : map) {
      Key(key);
      Write(*this, value);
    }
    EndObject();
  }

  // "key": value
  template <typename T>
  void Member(absl::string_view key, const T& value) {
    Key(key);
    Write(*this, value);
  }
  void Member(absl::string_view key, const char* value) {
    Key(key);
    Value(value);
  }
  // The same, unless the value is empty, false or 0.
  void Some(absl::string_view key, const std::string& value) {
    if (!value.empty()) Member(key, value);
  }
  template <typename T>
  void Some(absl::string_view key, const std::vector<T>& value) {
    if (!value.empty()) Member(key, value);
  }
  template <typename T>
  void Some(absl::string_view key, const std::map<std::string, T>& value) {
    if (!value.empty()) Member(key, value);
  }
  template <typename T>
  void Some(absl::string_view key, const std::optional<T>& value) {
    if (value.has_value()) Member(key, *value);
  }
  template <typename T>
  std::enable_if_t<std::is_arithmetic_v<T>> Some(absl::string_view key, T value) {
    if (value != T{}) Member(key, value);
  }

 private:
  const bool pretty_;
  rapidjson::StringBuffer buffer_;
  rapidjson::PrettyWriter<rapidjson::StringBuffer> writer_;
};

// Overloaded for structs, beside them.
template <typename T>
auto Write(JsonWriter& json, const T& value) -> decltype(json.Value(value)) {
  json.Value(value);
}

}  // namespace gantry::oci

#endif  // GANTRY_RUNTIME_OCI_JSON_WRITER_H_
