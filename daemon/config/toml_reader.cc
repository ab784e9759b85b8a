#include "daemon/config/toml_reader.h"

#include <cstdint>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace gantry::config {
namespace {

std::string ToString(const toml::key& key) { return std::string(key.str()); }

// A bare key as it is, others in quotes: the way it stands in the file.
std::string Quoted(absl::string_view key) {
  const bool bare =
      key.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
      absl::string_view::npos;
  return bare && !key.empty() ? std::string(key) : absl::StrCat("\"", key, "\"");
}

}  // namespace

std::string TomlReader::Name(absl::string_view key) const {
  return path_.empty() ? Quoted(key) : absl::StrCat(path_, ".", Quoted(key));
}

const toml::node* TomlReader::Find(const char* key) {
  seen_.insert(key);
  return table_->get(key);
}

void TomlReader::Fail(const toml::node& node, const char* key, absl::string_view rule) {
  if (!sink_->error.ok()) return;
  sink_->error = absl::InvalidArgumentError(
      absl::StrCat(sink_->file, ":", node.source().begin.line, ": ", Name(key), " must be ", rule));
}

void TomlReader::Warn(uint32_t line, absl::string_view text) {
  sink_->warnings->push_back(absl::StrCat(sink_->file, ":", line, ": ", text));
}

void TomlReader::String(const char* key, std::string* out) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  if (const auto* value = node->as_string()) {
    *out = value->get();
  } else {
    Fail(*node, key, "a string");
  }
}

void TomlReader::OneOf(const char* key, std::vector<std::string> allowed, std::string* out) {
  std::string value = *out;
  String(key, &value);
  for (const std::string& candidate : allowed) {
    if (candidate == value) {
      *out = value;
      return;
    }
  }
  if (const toml::node* node = table_->get(key)) {
    Fail(*node, key, absl::StrCat("one of \"", absl::StrJoin(allowed, "\", \""), "\""));
  }
}

void TomlReader::Bool(const char* key, bool* out) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  if (const auto* value = node->as_boolean()) {
    *out = value->get();
  } else {
    Fail(*node, key, "true or false");
  }
}

int64_t TomlReader::IntOr(const char* key, int64_t lowest, int64_t highest, int64_t current) {
  const toml::node* node = Find(key);
  if (node == nullptr) return current;
  const auto* value = node->as_integer();
  if (value != nullptr && value->get() >= lowest && value->get() <= highest) return value->get();
  Fail(*node, key, absl::StrCat("a whole number from ", lowest, " to ", highest));
  return current;
}

void TomlReader::Int(const char* key, int64_t lowest, int64_t highest, int64_t* out) {
  *out = IntOr(key, lowest, highest, *out);
}

void TomlReader::Int(const char* key, int64_t lowest, int64_t highest, int* out) {
  *out = static_cast<int>(IntOr(key, lowest, highest, *out));
}

void TomlReader::Uint32(const char* key, uint32_t* out) {
  // The highest value is (uid_t)-1, which means "no change" to chown(2).
  *out = static_cast<uint32_t>(IntOr(key, 0, std::numeric_limits<uint32_t>::max() - 1, *out));
}

void TomlReader::Double(const char* key, double* out) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  if (const auto* value = node->as_floating_point()) {
    *out = value->get();
  } else if (const auto* whole = node->as_integer()) {
    *out = static_cast<double>(whole->get());
  } else {
    Fail(*node, key, "a number");
  }
}

void TomlReader::Duration(const char* key, absl::Duration* out) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  const auto* value = node->as_string();
  absl::Duration parsed;
  if (value != nullptr && absl::ParseDuration(value->get(), &parsed) && parsed >= absl::ZeroDuration()) {
    *out = parsed;
  } else {
    Fail(*node, key, "a duration such as \"500ms\" or \"1m30s\"");
  }
}

void TomlReader::AppendStrings(const char* key, std::vector<std::string>* out) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  const toml::array* array = node->as_array();
  if (array == nullptr) {
    Fail(*node, key, "a list of strings");
    return;
  }
  for (const toml::node& element : *array) {
    if (const auto* value = element.as_string()) {
      out->push_back(value->get());
    } else {
      Fail(element, key, "a list of strings");
    }
  }
}

void TomlReader::StringMap(const char* key, std::map<std::string, std::string>* out) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  const toml::table* table = node->as_table();
  if (table == nullptr) {
    Fail(*node, key, "a table of strings");
    return;
  }
  for (const auto& [name, element] : *table) {
    if (const auto* value = element.as_string()) {
      (*out)[ToString(name)] = value->get();
    } else {
      Fail(element, key, "a table of strings");
    }
  }
}

void TomlReader::Table(const char* key, const std::function<void(TomlReader&)>& read) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  const toml::table* table = node->as_table();
  if (table == nullptr) {
    Fail(*node, key, "a table");
    return;
  }
  TomlReader reader(table, Name(key), sink_);
  read(reader);
  reader.WarnOfRest();
}

void TomlReader::EachTable(const char* key,
                           const std::function<void(const std::string&, TomlReader&)>& read) {
  const toml::node* node = Find(key);
  if (node == nullptr) return;
  const toml::table* table = node->as_table();
  if (table == nullptr) {
    Fail(*node, key, "a table of tables");
    return;
  }
  for (const auto& [name, element] : *table) {
    const toml::table* inner = element.as_table();
    if (inner == nullptr) {
      Fail(element, key, "a table of tables");
      continue;
    }
    TomlReader reader(inner, absl::StrCat(Name(key), ".", Quoted(ToString(name))), sink_);
    read(ToString(name), reader);
    reader.WarnOfRest();
  }
}

void TomlReader::Ignore(const char* key) { seen_.insert(key); }

void TomlReader::NotBuilt(const char* key) {
  if (const toml::node* node = Find(key)) {
    Warn(node->source().begin.line,
         absl::StrCat("[", Name(key), "] is without effect: that part is not built into this daemon"));
  }
}

void TomlReader::WarnOfRest() {
  for (const auto& [key, node] : *table_) {
    if (seen_.count(ToString(key)) != 0) continue;
    Warn(key.source().begin.line,
         absl::StrCat("unknown key ", Name(ToString(key)), ": ignored; check its spelling and its table"));
  }
}

}  // namespace gantry::config
