// version and events: what the daemon is, and what it tells.
#include <google/protobuf/util/json_util.h>

#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "api/proto/containerd/events/container.pb.h"
#include "api/proto/containerd/events/content.pb.h"
#include "api/proto/containerd/events/image.pb.h"
#include "api/proto/containerd/events/namespace.pb.h"
#include "api/proto/containerd/events/snapshot.pb.h"
#include "api/proto/containerd/events/task.pb.h"
#include "cmd/gantry/commands/commands.h"
#include "cmd/gantry/ui/failure.h"
#include "cmd/gantry/ui/json.h"
#include "cmd/gantry/ui/text.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

// The type called `name`, of those that events have; null for another. The files are asked, not the pool of all
// types: a static program holds only what its code names.
const google::protobuf::Descriptor* FindEventType(absl::string_view name) {
  const google::protobuf::FileDescriptor* const files[] = {
      containerd::events::ContainerCreate::descriptor()->file(),
      containerd::events::ContentDelete::descriptor()->file(),
      containerd::services::images::v1::ImageCreate::descriptor()->file(),
      containerd::events::NamespaceCreate::descriptor()->file(),
      containerd::events::SnapshotPrepare::descriptor()->file(),
      containerd::events::TaskCreate::descriptor()->file(),
  };
  for (const google::protobuf::FileDescriptor* file : files) {
    absl::string_view local = name;
    if (!absl::ConsumePrefix(&local, file->package()) || !absl::ConsumePrefix(&local, ".")) continue;
    if (const auto* found = file->FindMessageTypeByName(std::string(local)); found != nullptr) return found;
  }
  return nullptr;
}

// The event as JSON; an event of an unknown type as the name of the type alone.
std::string EventJson(const google::protobuf::Any& event) {
  std::string name = event.type_url();
  const size_t slash = name.rfind('/');
  if (slash != std::string::npos) name.erase(0, slash + 1);
  const auto* descriptor = FindEventType(name);
  const auto* prototype =
      descriptor == nullptr ? nullptr
                            : google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor);
  if (prototype == nullptr) return JsonObject().Text("type", name).Take();
  const std::unique_ptr<google::protobuf::Message> message(prototype->New());
  std::string json;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  if (!message->ParseFromString(event.value()) ||
      !google::protobuf::util::MessageToJsonString(*message, &json, options).ok()) {
    return JsonObject().Text("type", name).Take();
  }
  return json;
}

}  // namespace

absl::StatusOr<int> VersionCommand(const Globals& globals) {
  Client client(globals.Connection());
  google::protobuf::Empty request;
  version::VersionResponse response;
  const absl::Status status =
      client.Call(client.version(), &version::Version::Stub::Version, request, &response, absl::Seconds(10));
  if (globals.json) {
    JsonObject out;
    out.Raw("client", JsonObject().Text("version", GANTRY_VERSION).Take());
    if (status.ok()) {
      out.Raw("server",
              JsonObject().Text("version", response.version()).Text("revision", response.revision()).Take());
    }
    std::printf("%s\n", out.Take().c_str());
  } else {
    std::printf("Client:\n  Version:  %s\n", GANTRY_VERSION);
    if (status.ok()) {
      std::printf("Server:\n  Version:  %s\n  Revision: %s\n  Address:  %s\n",
                  OneLine(response.version()).c_str(), OneLine(response.revision()).c_str(),
                  globals.address.c_str());
    }
  }
  GANTRY_RETURN_IF_ERROR(Explain("cannot ask the daemon for its version", status));
  return 0;
}

absl::StatusOr<int> EventsCommand(const Globals& globals, const std::vector<std::string>& filters) {
  Client client(globals.Connection());
  events::SubscribeRequest request;
  for (const std::string& filter : filters) request.add_filters(filter);
  grpc::ClientContext context;
  client.Prepare(&context, kNoTimeout);
  const auto reader = client.events().Subscribe(&context, request);
  containerd::types::Envelope envelope;
  while (reader->Read(&envelope)) {
    const absl::Time time = absl::FromUnixSeconds(envelope.timestamp().seconds()) +
                            absl::Nanoseconds(envelope.timestamp().nanos());
    const std::string stamp = absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone());
    const std::string event = EventJson(envelope.event());
    if (globals.json) {
      std::printf("%s\n", JsonObject()
                              .Text("timestamp", stamp)
                              .Text("namespace", envelope.namespace_())
                              .Text("topic", envelope.topic())
                              .Raw("event", event)
                              .Take()
                              .c_str());
    } else {
      std::printf("%s %s %s %s\n", stamp.c_str(), OneLine(envelope.namespace_()).c_str(),
                  OneLine(envelope.topic()).c_str(), OneLine(event).c_str());
    }
    std::fflush(stdout);
  }
  const absl::Status status = client.Translate(reader->Finish());
  GANTRY_RETURN_IF_ERROR(Explain("the stream of events ended",
                                 status.ok() ? absl::UnavailableError("the daemon closed it") : status));
  return 0;
}

}  // namespace gantry::cli
