#include "runtime/sys/dbus_value.h"

#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

constexpr int kMaxDepth = 32;             // the specification's limit of arrays, and of structs
constexpr size_t kMaxSignature = 255;     // likewise
constexpr size_t kMaxValues = 1 << 20;    // of one message
constexpr size_t kMaxArray = 64u << 20u;  // likewise the specification's

absl::Status Malformed(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("D-Bus: malformed message: ", what));
}

size_t AlignmentOf(char type) {
  switch (type) {
    case 'y':
    case 'g':
    case 'v':
      return 1;
    case 'n':
    case 'q':
      return 2;
    case 'x':
    case 't':
    case 'd':
    case '(':
    case '{':
      return 8;
    default:
      return 4;
  }
}

// How many bytes of a fixed number; 0 for anything else.
size_t WidthOf(char type) {
  switch (type) {
    case 'y':
      return 1;
    case 'n':
    case 'q':
      return 2;
    case 'b':
    case 'i':
    case 'u':
      return 4;
    case 'x':
    case 't':
    case 'd':
      return 8;
    default:
      return 0;
  }
}

void Pad(size_t alignment, std::string* out) {
  while (out->size() % alignment != 0) out->push_back('\0');
}

void AppendNumber(uint64_t number, size_t width, std::string* out) {
  for (size_t i = 0; i < width; ++i) out->push_back(static_cast<char>(number >> (8 * i) & 0xff));
}

// The length of the complete type at the start of `signature`; 0 if there is none.
size_t CompleteType(absl::string_view signature, int depth) {
  if (signature.empty() || depth > kMaxDepth) return 0;
  const char type = signature[0];
  if (WidthOf(type) != 0 || absl::string_view("sogv").find(type) != absl::string_view::npos) return 1;
  if (type == 'a') {
    const size_t element = CompleteType(signature.substr(1), depth + 1);
    return element == 0 ? 0 : element + 1;
  }
  if (type != '(' && type != '{') return 0;
  const char end = type == '(' ? ')' : '}';
  size_t at = 1;
  while (at < signature.size() && signature[at] != end) {
    const size_t member = CompleteType(signature.substr(at), depth + 1);
    if (member == 0) return 0;
    at += member;
  }
  return at < signature.size() && at > 1 ? at + 1 : 0;
}

class Reader {
 public:
  Reader(absl::string_view body, bool big_endian) : body_(body), big_endian_(big_endian) {}

  bool done() const { return at_ == body_.size(); }

  absl::StatusOr<DBusValue> Value(absl::string_view signature, int depth) {
    if (depth > 2 * kMaxDepth) return Malformed("nested too deeply");
    if (++values_ > kMaxValues) return Malformed("too many values");
    DBusValue value;
    value.signature = std::string(signature);
    const char type = signature[0];
    GANTRY_RETURN_IF_ERROR(Skip(AlignmentOf(type)));
    absl::Status status;
    if (const size_t width = WidthOf(type)) {
      status = Number(width, &value.number);
      if (type == 'd') value.real = std::bit_cast<double>(value.number);
      if (type == 'd') value.number = 0;
      if (type == 'b' && value.number > 1) status = Malformed("a boolean that is neither 0 nor 1");
      if (type == 'n') value.number = static_cast<uint64_t>(static_cast<int16_t>(value.number));
      if (type == 'i') value.number = static_cast<uint64_t>(static_cast<int32_t>(value.number));
    } else if (type == 'v') {
      status = Variant(depth, &value);
    } else if (type == 'a') {
      status = Array(signature.substr(1), depth, &value);
    } else if (type == '(' || type == '{') {
      status = Members(signature.substr(1, signature.size() - 2), depth, &value);
    } else {
      status = Text(type == 'g' ? 1 : 4, &value.text);
    }
    if (!status.ok()) return status;
    return value;
  }

  absl::Status Skip(size_t alignment) {
    while (at_ % alignment != 0) {
      if (at_ == body_.size()) return Malformed("cut off");
      if (body_[at_++] != '\0') return Malformed("padding that is not zero");
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Number(size_t width, uint64_t* number) {
    if (body_.size() - at_ < width) return Malformed("cut off");
    *number = 0;
    for (size_t i = 0; i < width; ++i) {
      const size_t place = big_endian_ ? width - 1 - i : i;
      *number |= uint64_t{static_cast<unsigned char>(body_[at_ + i])} << (8 * place);
    }
    at_ += width;
    return absl::OkStatus();
  }

  absl::Status Text(size_t width, std::string* text) {
    uint64_t size = 0;
    GANTRY_RETURN_IF_ERROR(Number(width, &size));
    if (body_.size() - at_ <= size) return Malformed("a string is cut off");
    *text = std::string(body_.substr(at_, size));
    if (body_[at_ + size] != '\0' || text->find('\0') != std::string::npos) {
      return Malformed("a string that does not end where it says");
    }
    at_ += size + 1;
    return absl::OkStatus();
  }

  absl::Status Variant(int depth, DBusValue* value) {
    std::string inner;
    GANTRY_RETURN_IF_ERROR(Text(1, &inner));
    if (CompleteType(inner, 0) != inner.size() || inner.empty()) return Malformed("the type of a variant");
    GANTRY_ASSIGN_OR_RETURN(DBusValue item, Value(inner, depth + 1));
    value->items.push_back(std::move(item));
    return absl::OkStatus();
  }

  absl::Status Array(absl::string_view element, int depth, DBusValue* value) {
    uint64_t size = 0;
    GANTRY_RETURN_IF_ERROR(Number(4, &size));
    GANTRY_RETURN_IF_ERROR(Skip(AlignmentOf(element[0])));
    if (size > kMaxArray || body_.size() - at_ < size) return Malformed("an array is cut off");
    const size_t end = at_ + size;
    while (at_ < end) {
      GANTRY_ASSIGN_OR_RETURN(DBusValue item, Value(element, depth + 1));
      value->items.push_back(std::move(item));
    }
    return at_ == end ? absl::OkStatus() : Malformed("an array that does not end where it says");
  }

  absl::Status Members(absl::string_view types, int depth, DBusValue* value) {
    while (!types.empty()) {
      const size_t size = CompleteType(types, 0);
      GANTRY_ASSIGN_OR_RETURN(DBusValue item, Value(types.substr(0, size), depth + 1));
      value->items.push_back(std::move(item));
      types.remove_prefix(size);
    }
    return absl::OkStatus();
  }

  const absl::string_view body_;
  const bool big_endian_;
  size_t at_ = 0;
  size_t values_ = 0;
};

DBusValue Field(uint8_t code, DBusValue value) {
  return DBusValue::Struct({{"y", code}, DBusValue::Variant(std::move(value))});
}

}  // namespace

DBusValue DBusValue::Struct(std::vector<DBusValue> members) {
  DBusValue value;
  value.signature = "(";
  for (const DBusValue& member : members) value.signature += member.signature;
  value.signature += ")";
  value.items = std::move(members);
  return value;
}

DBusValue DBusValue::Array(absl::string_view element, std::vector<DBusValue> items) {
  return {absl::StrCat("a", element), 0, 0, "", std::move(items)};
}

void MarshalDBus(const DBusValue& value, std::string* out) {
  const char type = value.signature.empty() ? 'y' : value.signature[0];
  Pad(AlignmentOf(type), out);
  if (const size_t width = WidthOf(type)) {
    AppendNumber(type == 'd' ? std::bit_cast<uint64_t>(value.real) : value.number, width, out);
  } else if (type == 'v') {
    out->push_back(static_cast<char>(value.items[0].signature.size()));
    absl::StrAppend(out, value.items[0].signature, absl::string_view("\0", 1));
    MarshalDBus(value.items[0], out);
  } else if (type == 'a') {
    AppendNumber(0, 4, out);
    const size_t size_at = out->size() - 4;
    Pad(AlignmentOf(value.signature[1]), out);
    const size_t begin = out->size();
    for (const DBusValue& item : value.items) MarshalDBus(item, out);
    std::string size;
    AppendNumber(out->size() - begin, 4, &size);
    out->replace(size_at, 4, size);
  } else if (type == '(' || type == '{') {
    for (const DBusValue& item : value.items) MarshalDBus(item, out);
  } else {
    AppendNumber(value.text.size(), type == 'g' ? 1 : 4, out);
    absl::StrAppend(out, value.text, absl::string_view("\0", 1));
  }
}

absl::StatusOr<std::vector<DBusValue>> UnmarshalDBus(absl::string_view signature, absl::string_view body,
                                                     bool big_endian) {
  if (signature.size() > kMaxSignature) return Malformed("a signature of more than 255 types");
  std::vector<DBusValue> values;
  Reader reader(body, big_endian);
  while (!signature.empty()) {
    const size_t size = CompleteType(signature, 0);
    if (size == 0) return Malformed("a signature that names no type");
    GANTRY_ASSIGN_OR_RETURN(DBusValue value, reader.Value(signature.substr(0, size), 0));
    values.push_back(std::move(value));
    signature.remove_prefix(size);
  }
  if (!reader.done()) return Malformed("more bytes than its signature tells");
  return values;
}

std::string MarshalMessage(const DBusMessage& message) {
  std::string signature, body;
  for (const DBusValue& value : message.body) {
    signature += value.signature;
    MarshalDBus(value, &body);
  }
  std::vector<DBusValue> fields;
  const auto text = [&fields](uint8_t code, const char* type, const std::string& value) {
    if (!value.empty()) fields.push_back(Field(code, {type, 0, 0, value}));
  };
  text(1, "o", message.path);
  text(2, "s", message.interface);
  text(3, "s", message.member);
  text(4, "s", message.error_name);
  if (message.reply_serial != 0) fields.push_back(Field(5, DBusValue::Uint32(message.reply_serial)));
  text(6, "s", message.destination);
  text(7, "s", message.sender);
  text(8, "g", signature);
  std::string out = {'l', static_cast<char>(message.type), static_cast<char>(message.flags), 1};
  AppendNumber(body.size(), 4, &out);
  AppendNumber(message.serial, 4, &out);
  MarshalDBus(DBusValue::Array("(yv)", std::move(fields)), &out);
  Pad(8, &out);
  return out + body;
}

absl::StatusOr<size_t> DBusMessageSize(absl::string_view header) {
  if (header.size() < kDBusFixedHeader) return Malformed("cut off");
  const bool big_endian = header[0] == 'B';
  if (!big_endian && header[0] != 'l') return Malformed("neither byte order");
  if (header[3] != 1) return Malformed("another version of the protocol");
  GANTRY_ASSIGN_OR_RETURN(const std::vector<DBusValue> numbers,
                          UnmarshalDBus("uuu", header.substr(4, 12), big_endian));
  const uint64_t size = kDBusFixedHeader + (numbers[2].number + 7) / 8 * 8 + numbers[0].number;
  if (size > kDBusMaxMessage) {
    return absl::ResourceExhaustedError(
        absl::StrCat("D-Bus: a message of ", size, " bytes; at most ", kDBusMaxMessage, " are read"));
  }
  return static_cast<size_t>(size);
}

absl::StatusOr<DBusMessage> UnmarshalMessage(absl::string_view bytes) {
  GANTRY_ASSIGN_OR_RETURN(const size_t size, DBusMessageSize(bytes));
  if (size != bytes.size()) return Malformed("cut off");
  const bool big_endian = bytes[0] == 'B';
  GANTRY_ASSIGN_OR_RETURN(const std::vector<DBusValue> numbers,
                          UnmarshalDBus("uuu", bytes.substr(4, 12), big_endian));
  const size_t fields_end = kDBusFixedHeader + numbers[2].number;
  // Offsets within the array count from the message's beginning, to which 16 is aligned.
  const size_t fields_at = kDBusFixedHeader - 4;
  std::string fields(4, '\0');  // so that the array's elements stay aligned
  absl::StrAppend(&fields, bytes.substr(fields_at, fields_end - fields_at));
  GANTRY_ASSIGN_OR_RETURN(std::vector<DBusValue> head, UnmarshalDBus("ua(yv)", fields, big_endian));
  DBusMessage message;
  message.type = static_cast<DBusMessage::Type>(bytes[1]);
  message.flags = static_cast<uint8_t>(bytes[2]);
  message.serial = static_cast<uint32_t>(numbers[1].number);
  std::string signature;
  for (DBusValue& field : head[1].items) {
    DBusValue& value = field.items[1].items[0];
    std::string* const texts[] = {
        nullptr, &message.path,        &message.interface, &message.member, &message.error_name,
        nullptr, &message.destination, &message.sender,    &signature};
    const uint64_t code = field.items[0].number;
    if (code == 5) message.reply_serial = static_cast<uint32_t>(value.number);
    if (code < std::size(texts) && texts[code] != nullptr) *texts[code] = std::move(value.text);
  }
  const size_t body_at = (fields_end + 7) / 8 * 8;
  GANTRY_ASSIGN_OR_RETURN(message.body, UnmarshalDBus(signature, bytes.substr(body_at), big_endian));
  return message;
}

}  // namespace gantry::sys
