#include "snapshotter/records/record.h"

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace gantry::snapshotter {
namespace {

constexpr char kVersion = 1;

std::string Key(absl::string_view driver, char table, absl::string_view rest) {
  return absl::StrCat(driver, absl::string_view("\0", 1), absl::string_view(&table, 1), rest);
}

void PutNumber(uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

void PutText(absl::string_view text, std::string* out) {
  PutNumber(text.size(), out);
  out->append(text.data(), text.size());
}

// Takes values off the front; after the first that is not there, `ok` is false and all are empty.
struct Scanner {
  absl::string_view rest;
  bool ok = true;

  uint64_t Number() {
    uint64_t value = 0;
    for (int shift = 0; ok && shift < 64; shift += 7) {
      if (rest.empty()) break;
      const auto byte = static_cast<unsigned char>(rest.front());
      rest.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    ok = false;
    return 0;
  }

  std::string Text() {
    const uint64_t size = Number();
    if (!ok || size > rest.size()) {
      ok = false;
      return "";
    }
    std::string text(rest.substr(0, size));
    rest.remove_prefix(size);
    return text;
  }
};

}  // namespace

kv::RecordName RecordKey(absl::string_view driver, absl::string_view key) {
  return {std::string(kFamily), Key(driver, 'r', key)};
}

std::string RecordPrefix(absl::string_view driver, absl::string_view key_prefix) {
  return Key(driver, 'r', key_prefix);
}

std::string ChildKey(absl::string_view driver, uint64_t parent_id, uint64_t child_id) {
  return absl::StrCat(ChildPrefix(driver, parent_id), EncodeId(child_id));
}

std::string ChildPrefix(absl::string_view driver, uint64_t parent_id) {
  return Key(driver, 'c', EncodeId(parent_id));
}

std::string NextIdKey(absl::string_view driver) { return Key(driver, 'n', ""); }

std::string EncodeId(uint64_t id) {
  std::string bytes(8, '\0');
  for (int i = 7; i >= 0; --i, id >>= 8) bytes[static_cast<size_t>(i)] = static_cast<char>(id);
  return bytes;
}

uint64_t DecodeId(absl::string_view bytes) {
  if (bytes.size() != 8) return 0;
  uint64_t id = 0;
  for (const char c : bytes) id = id << 8 | static_cast<unsigned char>(c);
  return id;
}

std::string EncodeRecord(const Record& record) {
  std::string out(1, kVersion);
  PutNumber(static_cast<uint64_t>(record.info.kind), &out);
  PutNumber(record.id, &out);
  PutText(record.info.parent, &out);
  PutNumber(static_cast<uint64_t>(absl::ToUnixNanos(record.info.created)), &out);
  PutNumber(static_cast<uint64_t>(absl::ToUnixNanos(record.info.updated)), &out);
  PutNumber(static_cast<uint64_t>(record.usage.size_bytes), &out);
  PutNumber(static_cast<uint64_t>(record.usage.inodes), &out);
  PutNumber(record.parents.size(), &out);
  for (const uint64_t id : record.parents) PutNumber(id, &out);
  PutNumber(record.info.labels.size(), &out);
  for (const auto& [key, value] : record.info.labels) {
    PutText(key, &out);
    PutText(value, &out);
  }
  return out;
}

absl::StatusOr<Record> DecodeRecord(absl::string_view key, absl::string_view bytes) {
  const absl::Status damaged =
      absl::DataLossError(absl::StrCat("the record of snapshot \"", key, "\" is damaged"));
  if (bytes.empty() || bytes[0] != kVersion) return damaged;
  Scanner in{bytes.substr(1)};
  Record record;
  record.info.name = std::string(key);
  record.info.kind = static_cast<Kind>(in.Number());
  record.id = in.Number();
  record.info.parent = in.Text();
  record.info.created = absl::FromUnixNanos(static_cast<int64_t>(in.Number()));
  record.info.updated = absl::FromUnixNanos(static_cast<int64_t>(in.Number()));
  record.usage.size_bytes = static_cast<int64_t>(in.Number());
  record.usage.inodes = static_cast<int64_t>(in.Number());
  for (uint64_t left = in.Number(); in.ok && left > 0; --left) record.parents.push_back(in.Number());
  for (uint64_t left = in.Number(); in.ok && left > 0; --left) {
    std::string label = in.Text();
    record.info.labels[std::move(label)] = in.Text();
  }
  if (!in.ok || !in.rest.empty()) return damaged;
  return record;
}

}  // namespace gantry::snapshotter
