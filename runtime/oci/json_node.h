// Reading JSON into structs: a value together with its place in the document, so that an error can name it.
// Internal to runtime/oci (and to its tests); not thread-safe.
//
//   Document document; GANTRY_RETURN_IF_ERROR(document.Parse(text, "config.json"));
//   Node root = document.root(); root.MustBeObject(); Field(root, "hostname", &spec.hostname);
//   return document.status();
//
// The first error sticks: later reads do nothing, so the readers need no checks in between.
#ifndef GANTRY_RUNTIME_OCI_JSON_NODE_H_
#define GANTRY_RUNTIME_OCI_JSON_NODE_H_

#include <rapidjson/document.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gantry::oci::internal {

struct Context {
  std::string name;  // how messages call the document
  absl::Status status;
};

class Node {
 public:
  Node(const rapidjson::Value* value, Context* context) : value_(value), context_(context) {}
  // The member `key` of `parent`; null() if it is absent (or null).
  Node(const Node& parent, absl::string_view key);
  Node(const Node& parent, const rapidjson::Value* element, size_t index)
      : value_(element), context_(parent.context_), parent_(&parent), index_(static_cast<int64_t>(index)) {}
  Node(const Node& parent, const rapidjson::Value* member, absl::string_view key)
      : value_(member), context_(parent.context_), parent_(&parent), key_(key) {}

  bool ok() const { return context_->status.ok(); }
  bool null() const { return value_ == nullptr || value_->IsNull(); }
  const rapidjson::Value& value() const { return *value_; }

  // "config.json: linux.resources.pids.limit: must be ..., found ...": `rule` completes the sentence.
  void Fail(absl::string_view rule) const;
  // The same without what was found.
  void FailPlain(absl::string_view rule) const;
  bool MustBeObject() const;
  bool MustBeArray() const;

 private:
  std::string Path() const;

  const rapidjson::Value* value_;
  Context* context_;
  const Node* parent_ = nullptr;
  absl::string_view key_;
  int64_t index_ = -1;
};

class Document {
 public:
  // Bounded in size, depth and number of values; no recursion.
  absl::Status Parse(absl::string_view text, absl::string_view name);
  Node root() { return Node(&json_, &context_); }
  const absl::Status& status() const { return context_.status; }

 private:
  rapidjson::Document json_;
  Context context_;
};

void Read(const Node& node, bool* out);
void Read(const Node& node, std::string* out);
void Read(const Node& node, uint16_t* out);
void Read(const Node& node, int32_t* out);
void Read(const Node& node, uint32_t* out);
void Read(const Node& node, int64_t* out);
void Read(const Node& node, uint64_t* out);

template <typename T>
void Read(const Node& node, std::optional<T>* out) {
  Read(node, &out->emplace());
}

template <typename T>
void Read(const Node& node, std::vector<T>* out) {
  if (!node.ok() || !node.MustBeArray()) return;
  const auto& array = node.value().GetArray();
  out->clear();
  out->reserve(array.Size());
  for (size_t i = 0; i < array.Size() && node.ok(); ++i) {
    Read(Node(node, &array[static_cast<rapidjson::SizeType>(i)], i), &out->emplace_back());
  }
}

template <typename T>
void Read(const Node& node, std::map<std::string, T>* out) {
  if (!node.ok() || !node.MustBeObject()) return;
  out->clear();
  for (const auto& member : node.value().GetObject()) {
    if (!node.ok()) return;
    const absl::string_view key(member.name.GetString(), member.name.GetStringLength());
    const Node child(node, &member.value, key);
    if (key.find('\0') != absl::string_view::npos) return child.FailPlain("a name must not hold a NUL byte");
    T value{};
    Read(child, &value);
    (*out)[std::string(key)] = std::move(value);
  }
}

// Reads the member `name` of `object` into *out; absent or null leaves *out as it is.
template <typename T>
void Field(const Node& object, absl::string_view name, T* out) {
  if (!object.ok()) return;
  const Node child(object, name);
  if (!child.null()) Read(child, out);
}

// The same for a member that the specification requires.
template <typename T>
void RequiredField(const Node& object, absl::string_view name, T* out) {
  if (!object.ok()) return;
  const Node child(object, name);
  if (child.null()) return child.FailPlain("is required");
  Read(child, out);
}

}  // namespace gantry::oci::internal

#endif  // GANTRY_RUNTIME_OCI_JSON_NODE_H_
