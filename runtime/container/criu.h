// Talks to criu(8), the program that writes the state of processes to files and brings them back.
//
// Protocol (criu.org/RPC; images/rpc.proto of criu): `criu swrk 3` reads one request from its descriptor 3, a
// SOCK_SEQPACKET socket, and answers; in between it sends notifications that want an answer. Messages are
// protobuf; the few that we need are written and read here by hand, as the static runtime links no protobuf.
//
// Errors: NOT_FOUND when there is no such program; INTERNAL with criu's errno, and the last error line of its log
// file, when it failed. Blocks as long as criu works. Not thread-safe.
#ifndef GANTRY_RUNTIME_CONTAINER_CRIU_H_
#define GANTRY_RUNTIME_CONTAINER_CRIU_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::container {

enum class CriuRequestType : uint32_t {  // criu_req_type
  kDump = 1,
  kRestore = 2,
  kPreDump = 4,
  kNotify = 6,
  kFeatureCheck = 9,
  kVersion = 10,
};

enum class CriuCgroupMode : uint32_t {
  kIgnore = 0,
  kSoft = 3,
  kFull = 4,
  kStrict = 5,
  kDefault = 6
};  // criu_cg_mode
// "soft", "full", "strict", "ignore", or "" for criu's own choice.
absl::StatusOr<CriuCgroupMode> ParseCriuCgroupMode(absl::string_view text);

// criu_opts: members as they are called there; what is empty or false is not sent.
struct CriuOpts {
  int images_dir_fd = -1;
  int work_dir_fd = -1;
  pid_t pid = 0;
  std::string log_file, root, parent_img, freeze_cgroup, config_file, lsm_profile, lsm_mount_context;
  bool leave_running = false, ext_unix_sk = false, tcp_established = false, tcp_skip_in_flight = false;
  bool evasive_devices = false, shell_job = false, file_locks = false, notify_scripts = false;
  bool track_mem = false, auto_dedup = false, link_remap = false, rst_sibling = false;
  bool orphan_pts_master = false;
  CriuCgroupMode manage_cgroups_mode = CriuCgroupMode::kDefault;
  uint32_t empty_ns = 0;  // CLONE_NEW*
  std::string page_server_address;
  int page_server_port = 0;
  std::vector<std::string> external;
  std::vector<std::pair<std::string, std::string>> ext_mnt;  // key, val
  std::vector<std::pair<std::string, std::string>> cg_root;  // ctrl, path
  std::vector<std::pair<std::string, int>> inherit_fd;       // key, number in criu
  std::vector<std::pair<std::string, std::string>> join_ns;  // ns, ns_file
};

struct CriuRequest {
  CriuRequestType type = CriuRequestType::kDump;
  CriuOpts opts;                 // of kDump, kPreDump, kRestore
  bool check_mem_track = false;  // of kFeatureCheck
};

struct CriuResponse {
  uint32_t type = 0;
  bool success = false;
  int32_t cr_errno = 0;
  std::string message;
  std::string notify_script;  // of kNotify
  pid_t pid = 0;              // of kNotify and kRestore
  int version = 0;            // of kVersion: 31701 is 3.17.1
  bool mem_track = false;     // of kFeatureCheck
};

// The wire form, and back. For tests too.
std::string EncodeCriuRequest(const CriuRequest& request);
absl::StatusOr<CriuResponse> DecodeCriuResponse(absl::string_view data);

struct CriuCall {
  std::string program;  // a path, or a name to be looked up in PATH
  CriuRequest request;
  std::vector<std::pair<int, int>> fds;  // what criu has open beside its socket: {ours, number in criu}
  std::string log_path;                  // where it writes its log, for the words of an error
  // Called when criu was spawned, before the request is sent; may change what the request says.
  std::function<absl::Status(pid_t criu, CriuRequest& request)> spawned;
  // A notification, with the descriptors that came with it; an error ends the conversation.
  std::function<absl::Status(const CriuResponse&, std::vector<sys::UniqueFd> fds)> notify;
};

// One request to its final answer; criu has ended then.
absl::StatusOr<CriuResponse> CallCriu(const CriuCall& call);

// 31701 for 3.17.1. FAILED_PRECONDITION below 3.0, which has no such conversation.
absl::StatusOr<int> CriuVersion(const std::string& program);

}  // namespace gantry::container

#endif  // GANTRY_RUNTIME_CONTAINER_CRIU_H_
