#include "content/store.h"

#include "absl/strings/str_cat.h"
#include "runtime/sys/status.h"

namespace gantry::content {

absl::StatusOr<std::string> ReadBlob(const Store& store, const Digest& digest, int64_t limit_bytes) {
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<ReaderAt> reader, store.Open(digest));
  if (reader->size_bytes() > limit_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat("content ", digest.ToString(), " has ",
                                                     reader->size_bytes(), " bytes, more than the allowed ",
                                                     limit_bytes));
  }
  std::string data(static_cast<size_t>(reader->size_bytes()), '\0');
  GANTRY_ASSIGN_OR_RETURN(const size_t read, reader->ReadAt(data.data(), data.size(), 0));
  data.resize(read);
  if (Digest::Of(data, digest.algorithm()) != digest) {
    return absl::DataLossError(absl::StrCat("content ", digest.ToString(),
                                            " is damaged: its bytes hash to something else; delete it and "
                                            "pull or import it again"));
  }
  return data;
}

}  // namespace gantry::content
