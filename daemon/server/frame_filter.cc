#include "daemon/server/frame_filter.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace gantry::server {
namespace {

// RFC 9113, sections 4.1 and 6.
constexpr size_t kHeaderBytes = 9;
constexpr uint8_t kData = 0, kHeaders = 1, kRstStream = 3, kWindowUpdate = 8;
constexpr uint8_t kEndStream = 1, kEndHeaders = 4, kPadded = 8;
constexpr uint32_t kNoError = 0, kCancel = 8;
constexpr size_t kPrefixBytes = 5;

std::string BigEndian(uint32_t number) {
  return {static_cast<char>(number >> 24), static_cast<char>(number >> 16), static_cast<char>(number >> 8),
          static_cast<char>(number)};
}

uint32_t FromBigEndian(const char* bytes, size_t count) {
  uint32_t number = 0;
  for (size_t i = 0; i < count; ++i) number = number << 8 | static_cast<unsigned char>(bytes[i]);
  return number;
}

// RFC 7541, section 6.2.2: a literal field that no table learns. Both parts are shorter than 127 bytes.
std::string Field(absl::string_view name, absl::string_view value) {
  std::string field(1, '\0');
  for (const absl::string_view part : {name, value}) {
    field += static_cast<char>(part.size());
    field.append(part.data(), part.size());
  }
  return field;
}

}  // namespace

FrameFilter::Header FrameFilter::Parse(const char* bytes) {
  return {FromBigEndian(bytes, 3), static_cast<uint8_t>(bytes[3]), static_cast<uint8_t>(bytes[4]),
          FromBigEndian(bytes + 5, 4) & 0x7fffffff};
}

void FrameFilter::Append(std::string* out, Header header, absl::string_view payload) {
  *out += BigEndian(header.size).substr(1);
  *out += static_cast<char>(header.type);
  *out += static_cast<char>(header.flags);
  *out += BigEndian(header.stream);
  out->append(payload.data(), payload.size());
}

size_t FrameFilter::Received(absl::string_view data) {
  size_t plain = 0;
  if (carried_.empty()) {
    plain = Walk(data);
    data.remove_prefix(plain);
    if (data.empty() && (left_ > 0 || inserted_.empty())) return plain;
  }
  Keep(data);
  return plain;
}

void FrameFilter::Keep(absl::string_view data) {
  carried_.append(data.data(), data.size());
  absl::string_view rest = carried_;
  do {
    const size_t walked = Walk(rest);
    ready_.append(rest.data(), walked);
    rest.remove_prefix(walked);
  } while (Change(&rest));
  carried_.erase(0, carried_.size() - rest.size());
}

size_t FrameFilter::Walk(absl::string_view data) {
  size_t at = 0;
  while (at < data.size()) {
    if (preface_left_ > 0) {
      const size_t size = std::min(preface_left_, data.size() - at);
      preface_left_ -= size;
      at += size;
    } else if (left_ > 0) {
      const size_t size = std::min(left_, data.size() - at);
      if (frame_.type == kData) Follow(data.substr(at, size));
      left_ -= size;
      at += size;
    } else if (padding_left_ > 0) {
      return at;
    } else {
      if (inside_) End();
      if (!inserted_.empty() || data.size() - at < kHeaderBytes) return at;
      const Header header = Parse(data.data() + at);
      if ((header.type == kData || header.type == kHeaders) && (header.flags & kPadded) != 0) return at;
      Begin(header);
      at += kHeaderBytes;
    }
  }
  if (inside_ && left_ == 0 && padding_left_ == 0) End();
  return at;
}

bool FrameFilter::Change(absl::string_view* data) {
  if (padding_left_ > 0) {
    const size_t size = std::min(padding_left_, data->size());
    padding_left_ -= size;
    data->remove_prefix(size);
    if (padding_left_ == 0 && inside_) End();
    return size > 0;
  }
  if (left_ == 0 && !inserted_.empty()) {
    ready_ += inserted_;
    inserted_.clear();
    return true;
  }
  if (data->size() <= kHeaderBytes) return false;
  Header header = Parse(data->data());
  const uint32_t padding = static_cast<unsigned char>((*data)[kHeaderBytes]);
  if (header.size <= padding) {  // also of a frame without the byte that tells
    ready_.append(data->data(), kHeaderBytes);
    data->remove_prefix(kHeaderBytes);
    Begin(header);
    return true;
  }
  header.flags &= static_cast<uint8_t>(~kPadded);
  header.size -= 1 + padding;
  Append(&ready_, header, "");
  data->remove_prefix(kHeaderBytes + 1);
  Begin(header);
  padding_left_ = padding;
  if (header.type == kData) {
    const std::string credit = BigEndian(1 + padding);
    Append(&replies_, {4, kWindowUpdate, 0, 0}, credit);
    if ((header.flags & kEndStream) == 0) Append(&replies_, {4, kWindowUpdate, 0, header.stream}, credit);
  }
  return true;
}

void FrameFilter::Begin(const Header& header) {
  frame_ = header;
  left_ = header.size;
  inside_ = true;
}

void FrameFilter::End() {
  inside_ = false;
  const bool last = (frame_.type == kData || frame_.type == kHeaders) && (frame_.flags & kEndStream) != 0;
  if (last || frame_.type == kRstStream) messages_.erase(frame_.stream);
}

void FrameFilter::Follow(absl::string_view payload) {
  Message& message = messages_[frame_.stream];
  while (!payload.empty() && !message.refused) {
    if (message.left > 0) {
      const size_t size = std::min<size_t>(message.left, payload.size());
      message.left -= static_cast<uint32_t>(size);
      payload.remove_prefix(size);
      continue;
    }
    const absl::string_view part = payload.substr(0, kPrefixBytes - message.prefix.size());
    message.prefix.append(part.data(), part.size());
    payload.remove_prefix(part.size());
    if (message.prefix.size() < kPrefixBytes) break;
    message.left = FromBigEndian(message.prefix.data() + 1, 4);
    message.prefix.clear();
    if (message.left > max_message_bytes_) {
      message.refused = true;
      Refuse(message.left);
    }
  }
  if (message.left == 0 && message.prefix.empty() && !message.refused) messages_.erase(frame_.stream);
}

void FrameFilter::Refuse(uint32_t size) {
  std::string fields;
  // Nothing was sent yet: the answer is all in one. The status is entry 8 of the static table, the name of the type 31.
  if (!answered_.contains(frame_.stream))
    fields =
        "\x88\x0f\x10\x10"
        "application/grpc";
  fields += Field("grpc-status", "8");
  fields += Field("grpc-message", absl::StrCat("a message of ", size, " bytes is larger than ",
                                               max_message_bytes_, ", the most that is taken"));
  const uint32_t stream = frame_.stream;
  Append(&replies_, {static_cast<uint32_t>(fields.size()), kHeaders, kEndHeaders | kEndStream, stream},
         fields);
  Append(&replies_, {4, kRstStream, 0, stream}, BigEndian(kNoError));
  Append(&inserted_, {4, kRstStream, 0, stream}, BigEndian(kCancel));
  answered_.erase(stream);
}

void FrameFilter::Sent(absl::string_view data) {
  while (!data.empty()) {
    const size_t skipped = std::min(sent_left_, data.size());
    sent_left_ -= skipped;
    data.remove_prefix(skipped);
    const absl::string_view part = data.substr(0, kHeaderBytes - sent_header_.size());
    sent_header_.append(part.data(), part.size());
    data.remove_prefix(part.size());
    if (sent_header_.size() < kHeaderBytes) continue;
    const Header header = Parse(sent_header_.data());
    sent_header_.clear();
    sent_left_ = header.size;
    const bool ends = (header.flags & kEndStream) != 0;
    if (header.type == kHeaders && !ends) answered_.insert(header.stream);
    if (header.type == kRstStream || ((header.type == kHeaders || header.type == kData) && ends)) {
      answered_.erase(header.stream);
    }
  }
}

std::string FrameFilter::TakeReplies() {
  if (sent_left_ > 0 || !sent_header_.empty()) return {};
  std::string replies;
  replies.swap(replies_);
  return replies;
}

}  // namespace gantry::server
