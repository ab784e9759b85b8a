// ps and inspect: what there is, for people and for programs.
#include <rapidjson/document.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "cmd/gantry/client/container_store.h"
#include "cmd/gantry/client/image_store.h"
#include "cmd/gantry/commands/commands.h"
#include "cmd/gantry/run/health.h"
#include "cmd/gantry/ui/failure.h"
#include "cmd/gantry/ui/json.h"
#include "cmd/gantry/ui/table.h"
#include "cmd/gantry/ui/text.h"
#include "runtime/oci/spec.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

absl::Time ToTime(const google::protobuf::Timestamp& stamp) {
  return absl::FromUnixSeconds(stamp.seconds()) + absl::Nanoseconds(stamp.nanos());
}

std::string Rfc3339(const google::protobuf::Timestamp& stamp) {
  return absl::FormatTime(absl::RFC3339_full, ToTime(stamp), absl::UTCTimeZone());
}

std::map<std::string, std::string> LabelsOf(const google::protobuf::Map<std::string, std::string>& labels) {
  return {labels.begin(), labels.end()};
}

bool IsJson(absl::string_view text) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(text.data(),
                                                                                         text.size());
  return !document.HasParseError();
}

std::string CommandOf(const containers::Container& container) {
  const absl::StatusOr<oci::Spec> spec = oci::ParseSpec(container.spec().value());
  if (!spec.ok() || !spec->process) return "";
  return absl::StrJoin(spec->process->args, " ");
}

// What the daemon found; empty without a health check.
std::string HealthOf(const containers::Container& container) {
  const auto label = container.labels().find(kHealthLabel);
  return label == container.labels().end() ? "" : label->second;
}

std::string StatusText(const std::optional<Process>& task, absl::Time created, absl::Time now) {
  const std::string state = StateName(task);
  if (state == "running") return absl::StrCat("Up ", HumanAge(now - created));
  if (state == "paused") return absl::StrCat("Up ", HumanAge(now - created), " (paused)");
  if (state != "exited") return "Created";
  return absl::StrCat("Exited (", task->exit_status(), ") ", HumanAge(now - ToTime(task->exited_at())),
                      " ago");
}

std::string JsonRow(const containers::Container& container, const std::optional<Process>& task,
                    const std::string& command) {
  JsonObject row;
  row.Text("id", container.id())
      .Text("image", container.image())
      .Text("command", command)
      .Text("state", StateName(task))
      .Text("created_at", Rfc3339(container.created_at()))
      .Text("runtime", container.runtime().name())
      .Number("pid", task ? task->pid() : 0);
  if (StateName(task) == "exited") {
    row.Number("exit_code", task->exit_status()).Text("exited_at", Rfc3339(task->exited_at()));
  }
  if (!HealthOf(container).empty()) row.Text("health", HealthOf(container));
  return row.Map("labels", LabelsOf(container.labels())).Take();
}

std::string ContainerJson(const containers::Container& container, const std::optional<Process>& task) {
  JsonObject out;
  out.Text("id", container.id())
      .Text("image", container.image())
      .Text("state", StateName(task))
      .Number("pid", task ? task->pid() : 0)
      .Number("exit_code", task ? task->exit_status() : 0)
      .Text("created_at", Rfc3339(container.created_at()))
      .Text("updated_at", Rfc3339(container.updated_at()));
  if (StateName(task) == "exited") out.Text("exited_at", Rfc3339(task->exited_at()));
  const auto health = container.extensions().find(kHealthLabel);
  // Written by the daemon; other clients could have put something else there.
  if (health != container.extensions().end() && IsJson(health->second.value())) {
    out.Raw("health", health->second.value());
  }
  const std::string& spec = container.spec().value();
  return out.Text("runtime", container.runtime().name())
      .Text("snapshotter", container.snapshotter())
      .Text("snapshot_key", container.snapshot_key())
      .Map("labels", LabelsOf(container.labels()))
      .Raw("spec", oci::ParseSpec(spec).ok() ? spec : "null")
      .Take();
}

absl::StatusOr<std::string> ImageJson(Client* client, const images::Image& image) {
  GANTRY_ASSIGN_OR_RETURN(const LoadedImage loaded, LoadImage(client, image.target()));
  std::vector<std::string> layers;
  for (const ImageDescriptor& layer : loaded.manifest.layers) layers.push_back(layer.digest);
  return JsonObject()
      .Text("name", image.name())
      .Text("digest", image.target().digest())
      .Text("media_type", image.target().media_type())
      .Text("manifest", loaded.manifest_descriptor.digest)
      .Texts("layers", layers)
      .Text("created_at", Rfc3339(image.created_at()))
      .Map("labels", LabelsOf(image.labels()))
      .Raw("config", loaded.config_json)
      .Take();
}

absl::StatusOr<std::string> InspectOne(Client* client, const std::string& name) {
  const std::string what = absl::StrCat("cannot inspect ", name);
  const absl::StatusOr<containers::Container> container = FindContainer(client, name);
  if (container.ok()) {
    const absl::StatusOr<std::optional<Process>> task = FindTask(client, container->id());
    GANTRY_RETURN_IF_ERROR(Explain(what, task.status()));
    return ContainerJson(*container, *task);
  }
  if (!absl::IsNotFound(container.status())) return Explain(what, container.status());
  const absl::StatusOr<images::Image> image = FindImage(client, name);
  if (absl::IsNotFound(image.status())) {
    return Failure({.what = what,
                    .why = absl::StrCat("there is neither a container nor an image \"", name,
                                        "\" in the namespace \"", client->ns(), "\""),
                    .next = "see what there is: gantry ps -a; gantry images"});
  }
  GANTRY_RETURN_IF_ERROR(Explain(what, image.status()));
  absl::StatusOr<std::string> json = ImageJson(client, *image);
  GANTRY_RETURN_IF_ERROR(Explain(what, json.status()));
  return json;
}

}  // namespace

absl::StatusOr<int> PsCommand(const Globals& globals, const PsOptions& options) {
  Client client(globals.Connection());
  constexpr char kWhat[] = "cannot list containers";
  absl::StatusOr<std::vector<containers::Container>> listed = ListContainers(&client);
  GANTRY_RETURN_IF_ERROR(Explain(kWhat, listed.status()));
  const absl::StatusOr<std::map<std::string, Process>> tasks = ListTasks(&client);
  GANTRY_RETURN_IF_ERROR(Explain(kWhat, tasks.status()));
  std::sort(listed->begin(), listed->end(),
            [](const auto& a, const auto& b) { return ToTime(a.created_at()) > ToTime(b.created_at()); });
  const absl::Time now = WallClock();
  Table table({{"CONTAINER"},
               {"IMAGE", Table::kShrinks},
               {"COMMAND", Table::kShrinks},
               {"CREATED"},
               {"STATUS"},
               {"PID"}});
  for (const containers::Container& container : *listed) {
    const auto found = tasks->find(container.id());
    const std::optional<Process> task = found == tasks->end() ? std::nullopt : std::optional(found->second);
    const std::string state = StateName(task);
    if (!options.all && state != "running" && state != "paused") continue;
    if (options.quiet) {
      std::printf("%s\n", OneLine(container.id()).c_str());
      continue;
    }
    const std::string command = CommandOf(container);
    if (globals.json) {
      std::printf("%s\n", JsonRow(container, task, command).c_str());
      continue;
    }
    const absl::Time created = ToTime(container.created_at());
    const bool alive = state == "running" || state == "paused";
    table.Add({container.id(), container.image(), command, absl::StrCat(HumanAge(now - created), " ago"),
               StatusText(task, created, now) + (state == "running" && !HealthOf(container).empty()
                                                     ? absl::StrCat(" (", OneLine(HealthOf(container)), ")")
                                                     : ""),
               alive ? absl::StrCat(task->pid()) : "-"});
  }
  if (!options.quiet && !globals.json) std::fputs(table.Render(TerminalWidth(STDOUT_FILENO)).c_str(), stdout);
  return 0;
}

absl::StatusOr<int> InspectCommand(const Globals& globals, const std::vector<std::string>& names) {
  Client client(globals.Connection());
  std::vector<std::string> objects;
  for (const std::string& name : names) {
    GANTRY_ASSIGN_OR_RETURN(objects.emplace_back(), InspectOne(&client, name));
  }
  std::printf("%s\n", PrettyJson(JsonArray(objects)).c_str());
  return 0;
}

}  // namespace gantry::cli
