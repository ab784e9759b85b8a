#include "daemon/events/fields.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <memory>

#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
// Linked in for their descriptors: an event is decoded by the name of its type.
#include "api/proto/containerd/events/container.pb.h"
#include "api/proto/containerd/events/content.pb.h"
#include "api/proto/containerd/events/image.pb.h"
#include "api/proto/containerd/events/namespace.pb.h"
#include "api/proto/containerd/events/sandbox.pb.h"
#include "api/proto/containerd/events/snapshot.pb.h"
#include "api/proto/containerd/events/task.pb.h"

namespace gantry::events {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::optional<std::string> Present(std::string value) {
  if (value.empty()) return std::nullopt;
  return value;
}

// The value of a map<string, string> for the key that the rest of the path spells (a label may hold dots).
std::optional<std::string> MapValue(const Message& message, const FieldDescriptor* field,
                                    absl::string_view key) {
  const google::protobuf::Reflection* reflection = message.GetReflection();
  const FieldDescriptor* key_field = field->message_type()->map_key();
  const FieldDescriptor* value_field = field->message_type()->map_value();
  if (key_field->type() != FieldDescriptor::TYPE_STRING ||
      value_field->type() != FieldDescriptor::TYPE_STRING) {
    return std::nullopt;
  }
  for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
    const Message& entry = reflection->GetRepeatedMessage(message, field, i);
    if (absl::string_view(entry.GetReflection()->GetString(entry, key_field)) == key) {
      return entry.GetReflection()->GetString(entry, value_field);
    }
  }
  return std::nullopt;
}

std::optional<std::string> Lookup(const Message& message, const std::vector<std::string>& path, size_t at) {
  if (at >= path.size()) return std::nullopt;
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(path[at]);
  if (field == nullptr) return std::nullopt;
  if (field->is_map()) {
    return MapValue(message, field, absl::StrJoin(path.begin() + at + 1, path.end(), "."));
  }
  if (field->is_repeated()) return std::nullopt;
  const google::protobuf::Reflection* reflection = message.GetReflection();
  if (field->type() == FieldDescriptor::TYPE_STRING && at + 1 == path.size()) {
    return Present(reflection->GetString(message, field));
  }
  if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || !reflection->HasField(message, field)) {
    return std::nullopt;
  }
  return Lookup(reflection->GetMessage(message, field), path, at + 1);
}

std::unique_ptr<Message> Decode(const google::protobuf::Any& any) {
  absl::string_view name = any.type_url();
  if (const size_t slash = name.rfind('/'); slash != absl::string_view::npos) name.remove_prefix(slash + 1);
  const google::protobuf::Descriptor* descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(std::string(name));
  if (descriptor == nullptr) return nullptr;
  std::unique_ptr<Message> message(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
  if (!message->ParseFromString(any.value())) return nullptr;
  return message;
}

}  // namespace

std::optional<std::string> FieldOf(const containerd::types::Envelope& envelope,
                                   const std::vector<std::string>& path) {
  if (path.empty()) return std::nullopt;
  if (path.size() == 1 && path[0] == "namespace") return Present(envelope.namespace_());
  if (path.size() == 1 && path[0] == "topic") return Present(envelope.topic());
  if (path[0] != "event") return std::nullopt;
  const std::unique_ptr<Message> event = Decode(envelope.event());
  return event == nullptr ? std::nullopt : Lookup(*event, path, 1);
}

}  // namespace gantry::events
