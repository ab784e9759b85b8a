// What a daemon keeps through a power cut, by lines: what a Python program writes, reads and lists there, without its own
// gRPC. It belongs to one life of the daemon: when that ends, every call is UNAVAILABLE.
//
//   storage-agent SOCKET NAMESPACE
//
// Calls, one a line, fields separated by tabs:
//   put SEED SIZE LEASE       a blob of so many bytes, settled by the seed; LEASE empty: a root of its own → DIGEST
//   layer SEED FILES          the same of a tar with so many files → DIGEST SIZE
//   check DIGEST              reads it all; DATA_LOSS unless it is what its name says → SIZE
//   blobs · unblob DIGEST
//   image NAME DIGEST         creates the record, or points it elsewhere · unimage NAME · images → NAME=DIGEST...
//   prepare KEY PARENT        → where its files are · apply KEY DIGEST SIZE · commit NAME KEY · unsnapshot NAME
//   snapshots                 → NAME=KIND...
//   record ID VERSION         creates the record, or gives it another version · unrecord ID · records → ID=VERSION...
//   lease ID · unlease ID · leases
// Answers: "ok" and fields, or "error" CODE MESSAGE.
#include <google/protobuf/empty.pb.h>
#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "api/proto/containerd/services/containers/v1/containers.grpc.pb.h"
#include "api/proto/containerd/services/diff/v1/diff.grpc.pb.h"
#include "api/proto/containerd/services/images/v1/images.grpc.pb.h"
#include "api/proto/containerd/services/leases/v1/leases.grpc.pb.h"
#include "runtime/sys/status.h"
#include "test/client/remote_call.h"
#include "test/client/remote_snapshotter.h"
#include "test/client/remote_store.h"

namespace gantry::client {
namespace {

namespace containers = ::containerd::services::containers::v1;
namespace diff = ::containerd::services::diff::v1;
namespace images = ::containerd::services::images::v1;
namespace leases = ::containerd::services::leases::v1;
using google::protobuf::Empty;

using Words = std::vector<std::string>;
using Answer = absl::StatusOr<Words>;

constexpr char kSnapshotter[] = "overlayfs";
// Keeps the collector off what no image refers to.
const std::map<std::string, std::string> kRoot = {{"containerd.io/gc.root", "test"}};

std::string Bytes(uint64_t seed, size_t size) {
  std::mt19937_64 random(seed);
  std::string data(size, '\0');
  for (char& c : data) c = static_cast<char>(random());
  return data;
}

// One file of a ustar archive, padded.
std::string TarFile(const std::string& name, const std::string& content) {
  std::string header(512, '\0');
  const auto field = [&header](size_t at, const std::string& text) { header.replace(at, text.size(), text); };
  field(0, name);
  field(100, "0000644");
  field(108, "0000000");
  field(116, "0000000");
  field(124, absl::StrFormat("%011o", content.size()));
  field(136, "00000000000");
  field(148, "        ");
  field(156, "0");
  field(257, std::string("ustar\0"
                         "00",
                         8));
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  field(148, absl::StrFormat("%06o", sum) + std::string("\0 ", 2));
  return header + content + std::string((512 - content.size() % 512) % 512, '\0');
}

uint64_t Number(const std::string& text) {
  uint64_t number = 0;
  (void)absl::SimpleAtoi(text, &number);
  return number;
}

class Agent {
 public:
  Agent(const std::string& socket, std::string ns)
      : ns_(std::move(ns)),
        channel_(Connect(socket)),
        snapshots_(OpenRemoteSnapshotter({channel_, ns_, kSnapshotter})),
        store_(OpenRemoteStore({channel_, ns_})) {}

  Answer Call(Words words) {
    words.resize(std::max<size_t>(words.size(), 4));
    const auto verb = verbs_.find(words[0]);
    if (verb == verbs_.end()) return absl::UnimplementedError("storage-agent: no such call: " + words[0]);
    return (this->*verb->second)(words);
  }

 private:
  static std::shared_ptr<grpc::Channel> Connect(const std::string& socket) {
    grpc::ChannelArguments arguments;
    arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
    return grpc::CreateCustomChannel("unix:" + socket, grpc::InsecureChannelCredentials(), arguments);
  }

  template <typename Service, typename Request, typename Response>
  absl::Status Ask(grpc::Status (Service::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                   const Request& request, Response* response) {
    const auto stub = Service::NewStub(channel_);
    const auto context = MakeCall(ns_);
    return FromGrpc(((*stub).*method)(context.get(), request, response));
  }
  static Answer Nothing(const absl::Status& status) {
    if (!status.ok()) return status;
    return Words();
  }

  absl::StatusOr<content::BlobInfo> PutBytes(const std::string& data, const std::string& lease) {
    const std::string digest = content::Digest::Of(data).ToString();
    const auto labels = lease.empty() ? kRoot : std::map<std::string, std::string>();
    const auto store = OpenRemoteStore({channel_, ns_, lease, labels});
    GANTRY_ASSIGN_OR_RETURN(
        const auto writer,
        store->OpenWriter({.ref = digest, .total_bytes = static_cast<int64_t>(data.size())}));
    GANTRY_ASSIGN_OR_RETURN(const auto status, writer->Status());
    if (status.offset > 0) GANTRY_RETURN_IF_ERROR(writer->Truncate(0));
    GANTRY_RETURN_IF_ERROR(writer->Write(data));
    return writer->Commit(static_cast<int64_t>(data.size()), content::Digest::Of(data));
  }
  Answer Put(const Words& words) {
    GANTRY_ASSIGN_OR_RETURN(const auto blob, PutBytes(Bytes(Number(words[1]), Number(words[2])), words[3]));
    return Words{blob.digest.ToString()};
  }
  Answer Layer(const Words& words) {
    std::string tar;
    const uint64_t seed = Number(words[1]);
    for (uint64_t i = 0; i < Number(words[2]); ++i) {
      tar += TarFile(absl::StrCat("f", i), absl::StrCat(seed, " ", i, Bytes(seed + i, (seed + i) % 3000)));
    }
    tar += std::string(1024, '\0');
    GANTRY_ASSIGN_OR_RETURN(const auto blob, PutBytes(tar, ""));
    return Words{blob.digest.ToString(), absl::StrCat(tar.size())};
  }
  Answer Check(const Words& words) {
    GANTRY_ASSIGN_OR_RETURN(const auto digest, content::Digest::Parse(words[1]));
    GANTRY_ASSIGN_OR_RETURN(const auto info, store_->Info(digest));
    GANTRY_ASSIGN_OR_RETURN(const std::string data, content::ReadBlob(*store_, digest, 64 << 20));
    if (static_cast<int64_t>(data.size()) != info.size_bytes) {
      return absl::DataLossError(absl::StrCat(words[1], ": ", data.size(), " bytes, not ", info.size_bytes));
    }
    return Words{absl::StrCat(data.size())};
  }
  Answer Blobs(const Words&) {
    Words digests;
    GANTRY_RETURN_IF_ERROR(store_->Walk([&digests](const content::BlobInfo& info) {
      digests.push_back(info.digest.ToString());
      return absl::OkStatus();
    }));
    return digests;
  }
  Answer Unblob(const Words& words) {
    GANTRY_ASSIGN_OR_RETURN(const auto digest, content::Digest::Parse(words[1]));
    return Nothing(store_->Delete(digest));
  }

  Answer Image(const Words& words) {
    images::CreateImageRequest create;
    create.mutable_image()->set_name(words[1]);
    create.mutable_image()->mutable_target()->set_media_type("application/octet-stream");
    create.mutable_image()->mutable_target()->set_digest(words[2]);
    create.mutable_image()->mutable_target()->set_size(1);
    images::CreateImageResponse created;
    const absl::Status status = Ask<images::Images>(&images::Images::Stub::Create, create, &created);
    if (!absl::IsAlreadyExists(status)) return Nothing(status);
    images::UpdateImageRequest update;
    *update.mutable_image() = create.image();
    images::UpdateImageResponse updated;
    return Nothing(Ask<images::Images>(&images::Images::Stub::Update, update, &updated));
  }
  Answer Unimage(const Words& words) {
    images::DeleteImageRequest request;
    request.set_name(words[1]);
    Empty nothing;
    return Nothing(Ask<images::Images>(&images::Images::Stub::Delete, request, &nothing));
  }
  Answer Images(const Words&) {
    images::ListImagesResponse response;
    GANTRY_RETURN_IF_ERROR(
        Ask<images::Images>(&images::Images::Stub::List, images::ListImagesRequest(), &response));
    Words out;
    for (const auto& image : response.images()) {
      out.push_back(absl::StrCat(image.name(), "=", image.target().digest()));
    }
    return out;
  }

  Answer Prepare(const Words& words) {
    GANTRY_ASSIGN_OR_RETURN(const auto mounts, snapshots_->Prepare(words[1], words[2], {.labels = kRoot}));
    for (const std::string& option : mounts[0].options) {
      if (absl::StartsWith(option, "upperdir=")) return Words{option.substr(9)};
    }
    return Words{mounts[0].source};
  }
  Answer Apply(const Words& words) {
    GANTRY_ASSIGN_OR_RETURN(const auto mounts, snapshots_->Mounts(words[1]));
    diff::ApplyRequest request;
    request.mutable_diff()->set_media_type("application/vnd.oci.image.layer.v1.tar");
    request.mutable_diff()->set_digest(words[2]);
    request.mutable_diff()->set_size(static_cast<int64_t>(Number(words[3])));
    for (const auto& mount : mounts) {
      auto* out = request.add_mounts();
      out->set_type(mount.type);
      out->set_source(mount.source);
      for (const std::string& option : mount.options) out->add_options(option);
    }
    diff::ApplyResponse response;
    return Nothing(Ask<diff::Diff>(&diff::Diff::Stub::Apply, request, &response));
  }
  Answer Commit(const Words& words) {
    return Nothing(snapshots_->Commit(words[1], words[2], {.labels = kRoot}));
  }
  Answer Unsnapshot(const Words& words) { return Nothing(snapshots_->Remove(words[1])); }
  Answer Snapshots(const Words&) {
    Words out;
    GANTRY_RETURN_IF_ERROR(snapshots_->Walk("", [&out](const snapshotter::Info& info) {
      constexpr const char* kKinds[] = {"unknown", "view", "active", "committed"};
      out.push_back(absl::StrCat(info.name, "=", kKinds[static_cast<int>(info.kind) & 3]));
      return absl::OkStatus();
    }));
    return out;
  }

  Answer Record(const Words& words) {
    containers::CreateContainerRequest create;
    create.mutable_container()->set_id(words[1]);
    create.mutable_container()->mutable_runtime()->set_name("io.containerd.gantry.v2");
    create.mutable_container()->mutable_spec()->set_type_url(
        "types.containerd.io/opencontainers/runtime-spec/1/Spec");
    create.mutable_container()->mutable_spec()->set_value("{}");
    (*create.mutable_container()->mutable_labels())["version"] = words[2];
    containers::CreateContainerResponse created;
    const absl::Status status =
        Ask<containers::Containers>(&containers::Containers::Stub::Create, create, &created);
    if (!absl::IsAlreadyExists(status)) return Nothing(status);
    containers::UpdateContainerRequest update;
    *update.mutable_container() = create.container();
    update.mutable_update_mask()->add_paths("labels");
    containers::UpdateContainerResponse updated;
    return Nothing(Ask<containers::Containers>(&containers::Containers::Stub::Update, update, &updated));
  }
  Answer Unrecord(const Words& words) {
    containers::DeleteContainerRequest request;
    request.set_id(words[1]);
    Empty nothing;
    return Nothing(Ask<containers::Containers>(&containers::Containers::Stub::Delete, request, &nothing));
  }
  Answer Records(const Words&) {
    containers::ListContainersResponse response;
    GANTRY_RETURN_IF_ERROR(Ask<containers::Containers>(&containers::Containers::Stub::List,
                                                       containers::ListContainersRequest(), &response));
    Words out;
    for (const auto& container : response.containers()) {
      const auto version = container.labels().find("version");
      out.push_back(
          absl::StrCat(container.id(), "=", version == container.labels().end() ? "" : version->second));
    }
    return out;
  }

  Answer Lease(const Words& words) {
    leases::CreateRequest request;
    request.set_id(words[1]);
    leases::CreateResponse response;
    return Nothing(Ask<leases::Leases>(&leases::Leases::Stub::Create, request, &response));
  }
  Answer Unlease(const Words& words) {
    leases::DeleteRequest request;
    request.set_id(words[1]);
    Empty nothing;
    return Nothing(Ask<leases::Leases>(&leases::Leases::Stub::Delete, request, &nothing));
  }
  Answer Leases(const Words&) {
    leases::ListResponse response;
    GANTRY_RETURN_IF_ERROR(
        Ask<leases::Leases>(&leases::Leases::Stub::List, leases::ListRequest(), &response));
    Words out;
    for (const auto& lease : response.leases()) out.push_back(lease.id());
    return out;
  }

  const std::string ns_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<snapshotter::Snapshotter> snapshots_;
  const std::unique_ptr<content::Store> store_;
  const std::map<std::string, Answer (Agent::*)(const Words&)> verbs_ = {{"put", &Agent::Put},
                                                                         {"layer", &Agent::Layer},
                                                                         {"check", &Agent::Check},
                                                                         {"blobs", &Agent::Blobs},
                                                                         {"unblob", &Agent::Unblob},
                                                                         {"image", &Agent::Image},
                                                                         {"unimage", &Agent::Unimage},
                                                                         {"images", &Agent::Images},
                                                                         {"prepare", &Agent::Prepare},
                                                                         {"apply", &Agent::Apply},
                                                                         {"commit", &Agent::Commit},
                                                                         {"unsnapshot", &Agent::Unsnapshot},
                                                                         {"snapshots", &Agent::Snapshots},
                                                                         {"record", &Agent::Record},
                                                                         {"unrecord", &Agent::Unrecord},
                                                                         {"records", &Agent::Records},
                                                                         {"lease", &Agent::Lease},
                                                                         {"unlease", &Agent::Unlease},
                                                                         {"leases", &Agent::Leases}};
};

std::string Line(const Answer& answer) {
  if (answer.ok()) return absl::StrCat("ok", answer->empty() ? "" : "\t", absl::StrJoin(*answer, "\t"));
  return absl::StrCat("error\t", static_cast<int>(answer.status().code()), "\t",
                      absl::StrReplaceAll(answer.status().message(), {{"\n", " "}, {"\t", " "}}));
}

}  // namespace
}  // namespace gantry::client

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: storage-agent SOCKET NAMESPACE\n", stderr);
    return 2;
  }
  gantry::client::Agent agent(argv[1], argv[2]);
  std::string line;
  while (std::getline(std::cin, line)) {
    std::fputs((gantry::client::Line(agent.Call(absl::StrSplit(line, '\t'))) + "\n").c_str(), stdout);
    std::fflush(stdout);
  }
  return 0;
}
