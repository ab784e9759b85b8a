// Values of D-Bus, and how they and messages are written and read. Pure.
//
// Source: the D-Bus Specification, "Type System", "Marshaling" and "Message Protocol". What is read comes from another
// process: sizes, depth and counts are bounded, and anything malformed is DATA_LOSS. Thread-safe: values only.
#ifndef GANTRY_RUNTIME_SYS_DBUS_VALUE_H_
#define GANTRY_RUNTIME_SYS_DBUS_VALUE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::sys {

// One value of any type. `signature` is one complete type; which other member counts follows from it.
struct DBusValue {
  std::string signature;
  uint64_t number = 0;           // y b n q i u x t; a negative number as its two's complement in 64 bits
  double real = 0;               // d
  std::string text;              // s o g
  std::vector<DBusValue> items;  // a: the elements; ( and {: the members; v: the one value

  static DBusValue Bool(bool value) { return {"b", value ? 1u : 0u}; }
  static DBusValue Uint32(uint32_t value) { return {"u", value}; }
  static DBusValue Uint64(uint64_t value) { return {"t", value}; }
  static DBusValue Text(absl::string_view value) { return {"s", 0, 0, std::string(value)}; }
  static DBusValue Variant(DBusValue value) { return {"v", 0, 0, "", {std::move(value)}}; }
  static DBusValue Struct(std::vector<DBusValue> members);
  // `element` is the signature of one, so that there may be none.
  static DBusValue Array(absl::string_view element, std::vector<DBusValue> items);

  friend bool operator==(const DBusValue&, const DBusValue&) = default;
};

// In GVariant's text form, for people: "uint64 5", "true", "'text'", "['a', 'b']".
std::string ToText(const DBusValue& value);

// Reads that form: booleans, strings in single or double quotes, numbers (int32 unless a type name such as
// "uint64" stands before it; with a point, double), "objectpath '...'", and arrays of these. INVALID_ARGUMENT says
// what is wrong.
absl::StatusOr<DBusValue> ParseDBusText(absl::string_view text);

// Appends `value`, aligned, to `out`, whose beginning is aligned to 8.
void MarshalDBus(const DBusValue& value, std::string* out);

// Reads the values of `signature`, of any number of complete types, from `body`. Little-endian unless `big_endian`.
absl::StatusOr<std::vector<DBusValue>> UnmarshalDBus(absl::string_view signature, absl::string_view body,
                                                     bool big_endian = false);

struct DBusMessage {
  enum class Type : uint8_t { kCall = 1, kReturn = 2, kError = 3, kSignal = 4 };
  Type type = Type::kCall;
  uint8_t flags = 0;
  uint32_t serial = 0;
  uint32_t reply_serial = 0;  // of a return or error
  std::string path, interface, member, error_name, destination, sender;
  std::vector<DBusValue> body;
};

inline constexpr size_t kDBusFixedHeader = 16;
inline constexpr size_t kDBusMaxMessage = 16 << 20;  // the protocol's own limit is 128 MiB

std::string MarshalMessage(const DBusMessage& message);
// The size of the whole message that begins with these kDBusFixedHeader bytes; never above kDBusMaxMessage.
absl::StatusOr<size_t> DBusMessageSize(absl::string_view fixed_header);
// `bytes` is one whole message.
absl::StatusOr<DBusMessage> UnmarshalMessage(absl::string_view bytes);

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_DBUS_VALUE_H_
