// explain: what create would ask the kernel for, without asking.
#include "runtime/plan/explain.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "cmd/gantry-oci/context.h"
#include "runtime/cgroup/systemd.h"
#include "runtime/linux/probe.h"
#include "runtime/plan/print.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::oci_cli {
namespace {

// Where no id is given: the bundle's own name, as far as an id may have its characters.
std::string IdOf(const std::string& bundle) {
  std::string id = bundle.substr(bundle.rfind('/') + 1);
  for (char& c : id) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '-' && c != '_') c = '-';
  }
  return container::CheckId(id).ok() ? id : "container";
}

// The operations, numbered, with what belongs to one (the writes of a cgroup) below it.
std::string Steps(const plan::Plan& plan) {
  std::string text = "\nStep by step: all operations, in their order\n";
  size_t number = 0;
  for (const plan::Operation& operation : plan.operations)
    absl::StrAppend(&text, ++number, "  ", plan::ToText(operation));
  return text;
}

absl::StatusOr<plan::HostFacts> FactsFor(const oci::Spec& spec) {
  GANTRY_ASSIGN_OR_RETURN(plan::HostFacts facts, linux::ProbeHost());
  // Without a user namespace only root can run it: told as root would see it.
  const bool user_namespace =
      spec.linux.has_value() && spec.linux->FindNamespace(oci::NamespaceType::kUser) != nullptr;
  if (geteuid() != 0 && !user_namespace) facts.capabilities = facts.known_capabilities;
  return facts;
}

}  // namespace

Result Explain(const Context& context, const Arguments& arguments) {
  const std::string format = arguments.Find("format").value_or("text");
  if (format != "text" && format != "json") {
    return absl::InvalidArgumentError(absl::StrCat("--format \"", format, "\": must be text or json"));
  }
  GANTRY_ASSIGN_OR_RETURN(const std::string bundle, Absolute(arguments.Find("bundle").value_or(".")));
  const std::string path = bundle + "/config.json";
  // A FIFO of that name is not waited for.
  GANTRY_ASSIGN_OR_RETURN(const std::string config,
                          sys::ReadFileAt(AT_FDCWD, path, oci::kMaxSpecBytes, O_NONBLOCK));
  GANTRY_ASSIGN_OR_RETURN(const oci::Spec spec, oci::ParseSpec(config, path));
  GANTRY_RETURN_IF_ERROR(sys::Annotate(oci::Validate(spec), path));
  container::CreateOptions options;
  options.id = arguments.positional().empty() ? IdOf(bundle) : arguments.positional()[0];
  GANTRY_RETURN_IF_ERROR(container::CheckId(options.id));
  options.bundle = bundle;
  options.spec = &spec;
  options.systemd_cgroup = context.systemd_cgroup;
  options.no_pivot = arguments.Has("no-pivot");
  options.no_new_keyring = arguments.Has("no-new-keyring");
  GANTRY_ASSIGN_OR_RETURN(plan::HostFacts facts, FactsFor(spec));
  if (context.systemd_cgroup) GANTRY_RETURN_IF_ERROR(cgroup::ProbeSystemd(&facts.cgroup));
  GANTRY_ASSIGN_OR_RETURN(const plan::Plan plan, container::PlanOf(options, facts));
  const plan::Explanation explanation = plan::Explain(plan);
  if (format == "json") {
    GANTRY_RETURN_IF_ERROR(Print(plan::ToJson(explanation, plan) + "\n"));
  } else {
    GANTRY_RETURN_IF_ERROR(
        Print(plan::ToText(explanation) + (arguments.Has("steps") ? Steps(plan) : std::string())));
  }
  return 0;
}

}  // namespace gantry::oci_cli
