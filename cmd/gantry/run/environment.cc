#include "cmd/gantry/run/environment.h"

#include <fcntl.h>
#include <stdlib.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

constexpr size_t kMaxLabelBytes = 4096;  // containerd's limit for a key and its value together
constexpr size_t kMaxEnvFileBytes = 1 << 20;

bool IsReserved(absl::string_view key) {
  return absl::StartsWith(key, "containerd.io/") || absl::StartsWith(key, "io.containerd.") ||
         absl::StartsWith(key, "io.cri-containerd") || absl::StartsWith(key, "gantry/");
}

}  // namespace

void SetVariable(std::vector<std::string>* env, const std::string& assignment) {
  const std::string prefix = absl::StrCat(assignment.substr(0, assignment.find('=')), "=");
  for (std::string& variable : *env) {
    if (!absl::StartsWith(variable, prefix)) continue;
    variable = assignment;
    return;
  }
  env->push_back(assignment);
}

bool HasVariable(const std::vector<std::string>& env, const std::string& name) {
  for (const std::string& variable : env) {
    if (absl::StartsWith(variable, absl::StrCat(name, "="))) return true;
  }
  return false;
}

absl::Status AddVariables(const std::vector<std::string>& typed, std::vector<std::string>* env) {
  for (const std::string& text : typed) {
    if (text.empty() || text[0] == '=') {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", text, "\" is no environment variable: it is NAME=VALUE, or NAME alone"));
    }
    if (absl::StrContains(text, '=')) {
      SetVariable(env, text);
    } else if (const char* value = ::getenv(text.c_str())) {
      SetVariable(env, absl::StrCat(text, "=", value));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ReadEnvFile(const std::string& path) {
  GANTRY_ASSIGN_OR_RETURN(const std::string text, sys::ReadFileAt(AT_FDCWD, path, kMaxEnvFileBytes));
  std::vector<std::string> out;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    absl::ConsumeSuffix(&line, "\r");
    const absl::string_view content = absl::StripLeadingAsciiWhitespace(line);
    if (content.empty() || content[0] == '#') continue;
    const absl::string_view name = content.substr(0, content.find('='));
    if (name.empty() || name.find_first_of(" \t") != absl::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ", line ", number, ": \"", name, "\" is no name of a variable: it is empty or has a space"));
    }
    out.emplace_back(content);
  }
  return out;
}

absl::StatusOr<std::map<std::string, std::string>> ParseLabels(const std::vector<std::string>& typed) {
  std::map<std::string, std::string> labels;
  for (const std::string& text : typed) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
    if (parts.first.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no label: a label is KEY=VALUE"));
    }
    if (IsReserved(parts.first)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the label \"", parts.first, "\" is reserved for the daemon and its clients"));
    }
    if (text.size() > kMaxLabelBytes) {
      return absl::InvalidArgumentError(absl::StrCat("the label \"", parts.first, "\" has ", text.size(),
                                                     " bytes, more than ", kMaxLabelBytes));
    }
    labels[parts.first] = parts.second;
  }
  return labels;
}

std::map<std::string, std::string> SafeImageLabels(const std::map<std::string, std::string>& labels) {
  std::map<std::string, std::string> safe;
  for (const auto& [key, value] : labels) {
    if (key.empty() || IsReserved(key) || key.size() + value.size() > kMaxLabelBytes) continue;
    safe[key] = value;
  }
  return safe;
}

}  // namespace gantry::cli
