#include "api/ttrpc/envelope.h"

#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "api/errors/errors.h"
#include "runtime/sys/status.h"

namespace gantry::ttrpc {
namespace {

constexpr size_t kMaxMetadata = 1000;

// protobuf's wire types that are still in use.
constexpr uint32_t kVarint = 0;
constexpr uint32_t kFixed64 = 1;
constexpr uint32_t kBytes = 2;
constexpr uint32_t kFixed32 = 5;

void AppendVarint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void AppendNumber(std::string& out, uint32_t field, uint64_t value) {
  if (value == 0) return;
  AppendVarint(out, field << 3 | kVarint);
  AppendVarint(out, value);
}

void AppendBytes(std::string& out, uint32_t field, absl::string_view value) {
  AppendVarint(out, field << 3 | kBytes);
  AppendVarint(out, value.size());
  out.append(value.data(), value.size());
}

void AppendString(std::string& out, uint32_t field, absl::string_view value) {
  if (!value.empty()) AppendBytes(out, field, value);
}

std::optional<uint64_t> TakeVarint(absl::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= uint64_t{byte & 0x7fU} << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

struct Field {
  uint32_t number = 0;
  uint32_t wire_type = 0;
  uint64_t value = 0;            // of kVarint
  absl::string_view bytes = {};  // of kBytes
};

// Takes one field off `bytes`; nothing if they are not protobuf.
std::optional<Field> TakeField(absl::string_view& bytes) {
  const std::optional<uint64_t> tag = TakeVarint(bytes);
  if (!tag || *tag >> 3 == 0 || *tag > UINT32_MAX) return std::nullopt;
  Field field{.number = static_cast<uint32_t>(*tag >> 3), .wire_type = static_cast<uint32_t>(*tag & 7)};
  if (field.wire_type == kVarint) {
    const std::optional<uint64_t> value = TakeVarint(bytes);
    if (!value) return std::nullopt;
    field.value = *value;
    return field;
  }
  size_t size = 0;
  if (field.wire_type == kFixed64) {
    size = 8;
  } else if (field.wire_type == kFixed32) {
    size = 4;
  } else if (field.wire_type == kBytes) {
    const std::optional<uint64_t> length = TakeVarint(bytes);
    if (!length || *length > bytes.size()) return std::nullopt;
    size = static_cast<size_t>(*length);
  } else {
    return std::nullopt;
  }
  if (size > bytes.size()) return std::nullopt;
  field.bytes = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return field;
}

// Calls `take` for each field of the message; false from it, or bytes that are not protobuf, make the error.
absl::Status ForEachField(absl::string_view what, absl::string_view bytes,
                          absl::FunctionRef<bool(const Field&)> take) {
  const size_t size = bytes.size();
  while (!bytes.empty()) {
    const size_t at = size - bytes.size();
    const std::optional<Field> field = TakeField(bytes);
    if (!field || !take(*field)) {
      return absl::InvalidArgumentError(absl::StrCat("ttrpc: malformed ", what, ": the field at byte ", at,
                                                     " of ", size, " cannot be read"));
    }
  }
  return absl::OkStatus();
}

bool TakeString(const Field& field, std::string& out) {
  if (field.wire_type != kBytes) return false;
  out.assign(field.bytes.data(), field.bytes.size());
  return true;
}

bool TakeMetadata(const Field& field, Metadata& out) {
  if (field.wire_type != kBytes || out.size() >= kMaxMetadata) return false;
  KeyValue& entry = out.emplace_back();
  return ForEachField("metadata", field.bytes,
                      [&](const Field& part) {
                        if (part.number == 1) return TakeString(part, entry.key);
                        if (part.number == 2) return TakeString(part, entry.value);
                        return true;
                      })
      .ok();
}

bool TakeStatus(const Field& field, absl::Status& out) {
  if (field.wire_type != kBytes) return false;
  int code = 0;
  std::string message;
  const bool ok = ForEachField("status", field.bytes, [&](const Field& part) {
                    if (part.number == 1 && part.wire_type == kVarint) code = static_cast<int>(part.value);
                    if (part.number == 2) return TakeString(part, message);
                    return true;
                  }).ok();
  out = errors::FromWire(code, message);
  return ok;
}

}  // namespace

std::string EncodeRequest(const Request& request) {
  std::string out;
  out.reserve(request.service.size() + request.method.size() + request.payload.size() + 32);
  AppendString(out, 1, request.service);
  AppendString(out, 2, request.method);
  AppendString(out, 3, request.payload);
  AppendNumber(out, 4, static_cast<uint64_t>(request.timeout_nanos));
  for (const KeyValue& entry : request.metadata) {
    std::string encoded;
    AppendString(encoded, 1, entry.key);
    AppendString(encoded, 2, entry.value);
    AppendBytes(out, 5, encoded);
  }
  return out;
}

std::string EncodeResponse(const Response& response) {
  std::string out;
  if (!response.status.ok()) {
    std::string status;
    AppendNumber(status, 1, static_cast<uint64_t>(errors::WireCode(response.status.code())));
    AppendString(status, 2, errors::WireMessage(response.status));
    AppendBytes(out, 1, status);
  }
  AppendString(out, 2, response.payload);
  return out;
}

absl::StatusOr<Request> ParseRequest(absl::string_view bytes) {
  Request request;
  GANTRY_RETURN_IF_ERROR(ForEachField("request", bytes, [&](const Field& field) {
    switch (field.number) {
      case 1:
        return TakeString(field, request.service);
      case 2:
        return TakeString(field, request.method);
      case 3:
        return TakeString(field, request.payload);
      case 4:
        request.timeout_nanos = static_cast<int64_t>(field.value);
        return field.wire_type == kVarint;
      case 5:
        return TakeMetadata(field, request.metadata);
      default:
        return true;
    }
  }));
  return request;
}

absl::StatusOr<Response> ParseResponse(absl::string_view bytes) {
  Response response;
  GANTRY_RETURN_IF_ERROR(ForEachField("response", bytes, [&](const Field& field) {
    if (field.number == 1) return TakeStatus(field, response.status);
    if (field.number == 2) return TakeString(field, response.payload);
    return true;
  }));
  return response;
}

}  // namespace gantry::ttrpc
