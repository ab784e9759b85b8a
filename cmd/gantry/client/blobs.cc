#include "cmd/gantry/client/blobs.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "cmd/gantry/archive/documents.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

constexpr size_t kChunkBytes = 1 << 20;

using WriteStream = grpc::ClientReaderWriter<content::WriteContentRequest, content::WriteContentResponse>;

// One message there and its answer back. False when the daemon ended the stream: Finish knows why.
bool Exchange(WriteStream* stream, const content::WriteContentRequest& request,
              content::WriteContentResponse* response) {
  return stream->Write(request) && stream->Read(response);
}

// Sends the source's bytes and commits. False when the daemon ended the stream. *digest is that of what was sent so
// far, also then: a daemon that has the blob already says so, but not which it is.
absl::StatusOr<bool> Send(WriteStream* stream, const std::string& ref, const std::string& expected,
                          uint64_t size, const BlobSource& source, std::string* digest) {
  content::WriteContentRequest request;
  content::WriteContentResponse response;
  request.set_ref(ref);
  request.set_total(static_cast<int64_t>(size));
  request.set_expected(expected);
  std::string chunk(kChunkBytes, '\0');
  uint64_t offset = 0;
  *digest = Sha256Digest("");
  while (true) {
    GANTRY_ASSIGN_OR_RETURN(const size_t got, source(chunk.data(), chunk.size()));
    if (got == 0) break;
    request.set_action(content::WRITE);
    request.set_offset(static_cast<int64_t>(offset));
    request.set_data(chunk.data(), got);
    if (!Exchange(stream, request, &response)) return false;
    *digest = response.digest();
    offset += got;
  }
  request.set_action(content::COMMIT);
  request.set_offset(static_cast<int64_t>(offset));
  request.clear_data();
  if (!Exchange(stream, request, &response)) return false;
  *digest = response.digest();
  return true;
}

}  // namespace

absl::StatusOr<std::string> ReadBlob(Client* client, const std::string& digest, size_t limit_bytes) {
  content::ReadContentRequest request;
  request.set_digest(digest);
  grpc::ClientContext context;
  client->Prepare(&context, kCallTimeout);
  auto reader = client->content().Read(&context, request);
  std::string out;
  content::ReadContentResponse response;
  bool too_large = false;
  while (reader->Read(&response)) {
    too_large = out.size() + response.data().size() > limit_bytes;
    if (too_large) {
      context.TryCancel();
      break;
    }
    out.append(response.data());
  }
  const absl::Status status = client->Translate(reader->Finish());
  if (too_large) {
    return absl::ResourceExhaustedError(absl::StrCat("blob ", digest, " is larger than the ", limit_bytes,
                                                     " bytes that such a document may have"));
  }
  GANTRY_RETURN_IF_ERROR(status);
  return out;
}

absl::StatusOr<content::Info> BlobInfo(Client* client, const std::string& digest) {
  content::InfoRequest request;
  content::InfoResponse response;
  request.set_digest(digest);
  GANTRY_RETURN_IF_ERROR(client->Call(client->content(), &content::Content::Stub::Info, request, &response));
  return response.info();
}

absl::StatusOr<std::string> WriteBlob(Client* client, const std::string& expected, uint64_t size,
                                      const BlobSource& source) {
  // A reference of its own: two imports of one image at once don't meet, the later commit finds it done.
  const std::string ref = absl::StrCat("gantry-import-", RandomHex(8));
  grpc::ClientContext context;
  client->Prepare(&context, kNoTimeout);
  auto stream = client->content().Write(&context);
  std::string digest;
  const absl::StatusOr<bool> sent = Send(stream.get(), ref, expected, size, source, &digest);
  if (!sent.ok()) context.TryCancel();
  if (sent.ok() && *sent) stream->WritesDone();
  // The status comes behind the last message, so all of them must have been read.
  content::WriteContentResponse rest;
  while (stream->Read(&rest)) {
  }
  const absl::Status finished = client->Translate(stream->Finish());
  if (sent.ok() && *sent && finished.ok()) return digest;
  if (sent.ok() && absl::IsAlreadyExists(finished)) {
    // What of the source was not read is skipped by whoever reads the archive. Without an expectation all was.
    return expected.empty() ? digest : expected;
  }
  content::AbortRequest abort;
  google::protobuf::Empty nothing;
  abort.set_ref(ref);
  client->Call(client->content(), &content::Content::Stub::Abort, abort, &nothing).IgnoreError();
  if (!sent.ok()) return sent.status();
  if (finished.ok()) return absl::InternalError("the daemon ended the upload without an answer");
  return finished;
}

absl::StatusOr<std::string> WriteBlob(Client* client, const std::string& data) {
  size_t offset = 0;
  const BlobSource source = [&](char* out, size_t size) -> absl::StatusOr<size_t> {
    const size_t n = std::min(size, data.size() - offset);
    std::copy_n(data.data() + offset, n, out);
    offset += n;
    return n;
  };
  return WriteBlob(client, Sha256Digest(data), data.size(), source);
}

absl::Status LabelBlob(Client* client, const std::string& digest,
                       const std::map<std::string, std::string>& labels) {
  content::UpdateRequest request;
  content::UpdateResponse response;
  request.mutable_info()->set_digest(digest);
  for (const auto& [key, value] : labels) {
    (*request.mutable_info()->mutable_labels())[key] = value;
    request.mutable_update_mask()->add_paths(absl::StrCat("labels.", key));
  }
  return client->Call(client->content(), &content::Content::Stub::Update, request, &response);
}

}  // namespace gantry::cli
