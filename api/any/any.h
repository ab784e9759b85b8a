// google.protobuf.Any as containerd uses it: the type URL is the message's bare full name
// ("containerd.runc.v1.Options"), never with "type.googleapis.com/" before it; and types of the OCI
// specification are JSON under URLs of their own.
//
// Templates over the Any and the message, because the daemon has full and the shim lite protobuf, which are
// different classes of the same name. Pure functions, thread-safe.
#ifndef GANTRY_API_ANY_ANY_H_
#define GANTRY_API_ANY_ANY_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace gantry::any {

// JSON of the OCI runtime specification, by containerd's typeurl registry (client and shim register these
// names).
inline constexpr absl::string_view kRuntimeSpec = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
inline constexpr absl::string_view kRuntimeProcess =
    "types.containerd.io/opencontainers/runtime-spec/1/Process";
inline constexpr absl::string_view kLinuxResources =
    "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
inline constexpr absl::string_view kRuntimeFeatures =
    "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

// "x.y.Z" of "type.googleapis.com/x.y.Z" and of "x.y.Z": some clients send the long form.
inline absl::string_view BareName(absl::string_view type_url) {
  return type_url.substr(type_url.rfind('/') + 1);  // npos + 1 is 0
}

// True if `any` holds a `Message`.
template <typename Message, typename Any>
bool Is(const Any& any) {
  return BareName(any.type_url()) == Message().GetTypeName();
}

template <typename Message, typename Any>
void Pack(const Message& message, Any* any) {
  any->set_type_url(message.GetTypeName());
  message.SerializeToString(any->mutable_value());
}

// For JSON under one of the URLs above.
template <typename Any>
void PackJson(absl::string_view type_url, std::string json, Any* any) {
  any->set_type_url(std::string(type_url));
  any->set_value(std::move(json));
}

// INVALID_ARGUMENT, with both names, if it holds another type or damaged bytes.
template <typename Message, typename Any>
absl::StatusOr<Message> Unpack(const Any& any) {
  Message message;
  if (!Is<Message>(any)) {
    return absl::InvalidArgumentError(absl::StrCat("an Any of type \"", any.type_url(), "\" where \"",
                                                   message.GetTypeName(), "\" is expected"));
  }
  if (!message.ParseFromString(any.value())) {
    return absl::InvalidArgumentError(
        absl::StrCat("the bytes of an Any are no valid ", message.GetTypeName()));
  }
  return message;
}

}  // namespace gantry::any

#endif  // GANTRY_API_ANY_ANY_H_
