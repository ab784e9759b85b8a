#include "runtime/oci/json_node.h"

#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>

#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "runtime/oci/spec.h"

namespace gantry::oci::internal {
namespace {

// Passes parser events on to a document, within our limits.
class LimitedHandler {
 public:
  enum class Limit { kNone, kDepth, kElements };

  explicit LimitedHandler(rapidjson::Document* document) : document_(*document) {}

  Limit hit() const { return hit_; }

  bool Null() { return Count() && document_.Null(); }
  bool Bool(bool v) { return Count() && document_.Bool(v); }
  bool Int(int v) { return Count() && document_.Int(v); }
  bool Uint(unsigned v) { return Count() && document_.Uint(v); }
  bool Int64(int64_t v) { return Count() && document_.Int64(v); }
  bool Uint64(uint64_t v) { return Count() && document_.Uint64(v); }
  bool Double(double v) { return Count() && document_.Double(v); }
  bool RawNumber(const char* s, rapidjson::SizeType n, bool copy) {
    return Count() && document_.RawNumber(s, n, copy);
  }
  bool String(const char* s, rapidjson::SizeType n, bool copy) {
    return Count() && document_.String(s, n, copy);
  }
  bool Key(const char* s, rapidjson::SizeType n, bool copy) { return document_.Key(s, n, copy); }
  bool StartObject() { return Enter() && document_.StartObject(); }
  bool EndObject(rapidjson::SizeType n) { return --depth_, document_.EndObject(n); }
  bool StartArray() { return Enter() && document_.StartArray(); }
  bool EndArray(rapidjson::SizeType n) { return --depth_, document_.EndArray(n); }

 private:
  bool Count() {
    if (++elements_ <= kMaxElements) return true;
    hit_ = Limit::kElements;
    return false;
  }
  bool Enter() {
    if (++depth_ > kMaxDepth) {
      hit_ = Limit::kDepth;
      return false;
    }
    return Count();
  }

  rapidjson::Document& document_;
  int depth_ = 0;
  size_t elements_ = 0;
  Limit hit_ = Limit::kNone;
};

// What Document::Populate wants: it runs the reader and keeps its verdict.
struct Generator {
  absl::string_view text;
  rapidjson::ParseResult result;
  LimitedHandler::Limit hit = LimitedHandler::Limit::kNone;

  bool operator()(rapidjson::Document& document) {
    LimitedHandler handler(&document);
    rapidjson::MemoryStream memory(text.data(), text.size());
    rapidjson::EncodedInputStream<rapidjson::UTF8<>, rapidjson::MemoryStream> stream(memory);
    rapidjson::Reader reader;
    result =
        reader.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(stream, handler);
    hit = handler.hit();
    return !result.IsError();
  }
};

// Where in the text an offset is, for people: "line 3, column 14".
std::string Position(absl::string_view text, size_t offset) {
  size_t line = 1, column = 1;
  for (size_t i = 0; i < offset && i < text.size(); ++i) {
    if (text[i] == '\n') {
      ++line;
      column = 1;
    } else {
      ++column;
    }
  }
  return absl::StrCat("line ", line, ", column ", column);
}

std::string Describe(const rapidjson::Value& value) {
  constexpr size_t kShown = 60;
  switch (value.GetType()) {
    case rapidjson::kNullType:
      return "null";
    case rapidjson::kFalseType:
      return "false";
    case rapidjson::kTrueType:
      return "true";
    case rapidjson::kObjectType:
      return "an object";
    case rapidjson::kArrayType:
      return "an array";
    case rapidjson::kStringType: {
      const absl::string_view text(value.GetString(), value.GetStringLength());
      return absl::StrCat("the string \"", absl::Utf8SafeCHexEscape(text.substr(0, kShown)),
                          text.size() > kShown ? "...\"" : "\"");
    }
    case rapidjson::kNumberType:
      if (value.IsInt64()) return absl::StrCat("the number ", value.GetInt64());
      if (value.IsUint64()) return absl::StrCat("the number ", value.GetUint64());
      return absl::StrCat("the number ", value.GetDouble());
  }
  return "something else";
}

template <typename T>
void ReadInteger(const Node& node, T* out) {
  if (!node.ok()) return;
  constexpr T kMin = std::numeric_limits<T>::min();
  constexpr T kMax = std::numeric_limits<T>::max();
  const rapidjson::Value& value = node.value();
  if (value.IsUint64()) {
    if (value.GetUint64() <= static_cast<uint64_t>(kMax)) {
      *out = static_cast<T>(value.GetUint64());
      return;
    }
  } else if (value.IsInt64() && value.GetInt64() >= static_cast<int64_t>(kMin) && kMin < 0) {
    *out = static_cast<T>(value.GetInt64());
    return;
  }
  node.Fail(absl::StrCat("must be an integer from ", kMin, " to ", kMax));
}

}  // namespace

Node::Node(const Node& parent, absl::string_view key)
    : value_(nullptr), context_(parent.context_), parent_(&parent), key_(key) {
  // encoding/json lets the last of equal keys win, and containerd's clients know no other behaviour.
  for (const auto& member : parent.value_->GetObject()) {
    if (absl::string_view(member.name.GetString(), member.name.GetStringLength()) == key) {
      value_ = &member.value;
    }
  }
}

std::string Node::Path() const {
  if (parent_ == nullptr) return "";
  std::string path = parent_->Path();
  if (index_ >= 0) return absl::StrCat(path, "[", index_, "]");
  return absl::StrCat(path, path.empty() ? "" : ".", absl::Utf8SafeCHexEscape(key_.substr(0, 200)));
}

void Node::FailPlain(absl::string_view rule) const {
  if (!ok()) return;
  const std::string path = Path();
  context_->status =
      absl::InvalidArgumentError(absl::StrCat(context_->name, ": ", path, path.empty() ? "" : ": ", rule));
}

void Node::Fail(absl::string_view rule) const {
  FailPlain(absl::StrCat(rule, ", found ", null() ? "null" : Describe(*value_)));
}

bool Node::MustBeObject() const {
  if (!null() && value_->IsObject()) return true;
  Fail("must be an object");
  return false;
}

bool Node::MustBeArray() const {
  if (!null() && value_->IsArray()) return true;
  Fail("must be an array");
  return false;
}

absl::Status Document::Parse(absl::string_view text, absl::string_view name) {
  context_.name = std::string(name);
  context_.status = absl::OkStatus();
  if (text.size() > kMaxSpecBytes) {
    return context_.status = absl::ResourceExhaustedError(absl::StrCat(
               name, ": ", text.size(), " bytes, more than the allowed ", kMaxSpecBytes, " bytes"));
  }
  if (const size_t nul = text.find('\0');
      nul != absl::string_view::npos) {  // which rapidjson takes for the end
    return context_.status = absl::InvalidArgumentError(
               absl::StrCat(name, ": ", Position(text, nul), ": not valid JSON: a NUL byte"));
  }
  Generator generator{text, {}, LimitedHandler::Limit::kNone};
  json_.Populate(generator);
  if (!generator.result.IsError()) return absl::OkStatus();
  const std::string where = absl::StrCat(name, ": ", Position(text, generator.result.Offset()), ": ");
  if (generator.hit == LimitedHandler::Limit::kDepth) {
    return context_.status = absl::ResourceExhaustedError(
               absl::StrCat(where, "nested deeper than the allowed ", kMaxDepth, " levels"));
  }
  if (generator.hit == LimitedHandler::Limit::kElements) {
    return context_.status = absl::ResourceExhaustedError(
               absl::StrCat(where, "more than the allowed ", kMaxElements, " values"));
  }
  return context_.status = absl::InvalidArgumentError(
             absl::StrCat(where, "not valid JSON: ", rapidjson::GetParseError_En(generator.result.Code())));
}

void Read(const Node& node, bool* out) {
  if (!node.ok()) return;
  if (node.null() || !node.value().IsBool()) return node.Fail("must be true or false");
  *out = node.value().GetBool();
}

void Read(const Node& node, std::string* out) {
  if (!node.ok()) return;
  if (node.null() || !node.value().IsString()) return node.Fail("must be a string");
  out->assign(node.value().GetString(), node.value().GetStringLength());
  // Each of our strings ends up in a system call or a file, where it would be cut there.
  if (out->find('\0') != std::string::npos) node.Fail("must not hold a NUL byte");
}

void Read(const Node& node, uint16_t* out) { ReadInteger(node, out); }
void Read(const Node& node, int32_t* out) { ReadInteger(node, out); }
void Read(const Node& node, uint32_t* out) { ReadInteger(node, out); }
void Read(const Node& node, int64_t* out) { ReadInteger(node, out); }
void Read(const Node& node, uint64_t* out) { ReadInteger(node, out); }

}  // namespace gantry::oci::internal
