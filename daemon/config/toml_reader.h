// Reads one TOML table key by key, and says afterwards which keys nobody asked for.
//
// An error is remembered (the first one) rather than returned from every call, so that a table's reader is a
// plain list of its keys. Only parse.cc includes this; not thread-safe.
#ifndef GANTRY_DAEMON_CONFIG_TOML_READER_H_
#define GANTRY_DAEMON_CONFIG_TOML_READER_H_

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
// toml++ 3.3 asserts on some malformed texts ("[!]") that it then reports as errors by itself.
#define TOML_ASSERT(expr) static_assert(true)
#include <toml++/toml.h>

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace gantry::config {

class TomlReader {
 public:
  // `path` is the table's name for messages ("grpc", empty for the top). Both pointers outlive the reader.
  struct Sink {
    std::string file;
    absl::Status error;  // the first one
    std::vector<std::string>* warnings;
  };
  TomlReader(const toml::table* table, std::string path, Sink* sink)
      : table_(table), path_(std::move(path)), sink_(sink) {}

  // Each leaves *out unchanged when the key is absent or of the wrong type.
  void String(const char* key, std::string* out);
  void Bool(const char* key, bool* out);
  void Int(const char* key, int64_t lowest, int64_t highest, int64_t* out);
  void Int(const char* key, int64_t lowest, int64_t highest, int* out);
  void Uint32(const char* key, uint32_t* out);
  void Double(const char* key, double* out);
  void Duration(const char* key, absl::Duration* out);
  void AppendStrings(const char* key, std::vector<std::string>* out);
  void StringMap(const char* key, std::map<std::string, std::string>* out);
  void OneOf(const char* key, std::vector<std::string> allowed, std::string* out);

  // Calls `read` with a reader of the table `key`, and warns of what that left over.
  void Table(const char* key, const std::function<void(TomlReader&)>& read);
  // The same for each table inside the table `key`.
  void EachTable(const char* key, const std::function<void(const std::string&, TomlReader&)>& read);
  // A key that is known and of no use to us: no warning.
  void Ignore(const char* key);
  // A table that belongs to a part that is not built: one warning, which says so.
  void NotBuilt(const char* key);

  // Warns of each key that none of the calls named.
  void WarnOfRest();

 private:
  const toml::node* Find(const char* key);
  std::string Name(absl::string_view key) const;
  void Fail(const toml::node& node, const char* key, absl::string_view rule);
  void Warn(uint32_t line, absl::string_view text);
  int64_t IntOr(const char* key, int64_t lowest, int64_t highest, int64_t current);

  const toml::table* const table_;
  const std::string path_;
  Sink* const sink_;
  std::set<std::string> seen_;
};

}  // namespace gantry::config

#endif  // GANTRY_DAEMON_CONFIG_TOML_READER_H_
