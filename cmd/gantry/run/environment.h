// Environment variables and labels from flags, files and images. Thread-safe: plain functions, which read
// gantry's own environment.
#ifndef GANTRY_CMD_GANTRY_RUN_ENVIRONMENT_H_
#define GANTRY_CMD_GANTRY_RUN_ENVIRONMENT_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace gantry::cli {

// Sets one variable in a list of "K=V", replacing what has the name already.
void SetVariable(std::vector<std::string>* env, const std::string& assignment);
// True if a variable of that name is in the list.
bool HasVariable(const std::vector<std::string>& env, const std::string& name);

// Adds what -e gave: "K=V", or "K", which is taken from gantry's own environment and left out if it isn't there.
absl::Status AddVariables(const std::vector<std::string>& typed, std::vector<std::string>* env);

// The lines of a file of "K=V" and "K"; empty lines and lines that begin with "#" are skipped. Errors name
// the file and the line.
absl::StatusOr<std::vector<std::string>> ReadEnvFile(const std::string& path);

// "K=V" or "K" (an empty value). INVALID_ARGUMENT for an empty key, one that containerd keeps for itself, or
// one that is longer than the 4096 bytes a label may have.
absl::StatusOr<std::map<std::string, std::string>> ParseLabels(const std::vector<std::string>& typed);

// What of an image's labels a container may carry: labels are data from a stranger, and those that steer
// containerd and its CRI plugin are left out (CVE-2026-53488), as are those too long.
std::map<std::string, std::string> SafeImageLabels(const std::map<std::string, std::string>& labels);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_RUN_ENVIRONMENT_H_
