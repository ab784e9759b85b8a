// Digests: the names of blobs, "<algorithm>:<lowercase hex>".
//
// Source: OCI image-spec, descriptor.md, "Digests". Algorithms: sha256 (what everything uses), sha384 and
// sha512. Thread-safe as values; a Digester belongs to one thread.
#ifndef GANTRY_CONTENT_DIGEST_H_
#define GANTRY_CONTENT_DIGEST_H_

#include <compare>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct evp_md_ctx_st;

namespace gantry::content {

enum class Algorithm { kSha256, kSha384, kSha512 };

// "sha256", ...
absl::string_view AlgorithmName(Algorithm algorithm);

class Digest {
 public:
  // INVALID_ARGUMENT, saying what is wrong, unless `text` is an algorithm we know, a colon and exactly as
  // many lowercase hex digits as the algorithm gives. So a Digest is safe as a part of a path.
  static absl::StatusOr<Digest> Parse(absl::string_view text);
  // The digest of some bytes in memory.
  static Digest Of(absl::string_view data, Algorithm algorithm = Algorithm::kSha256);

  Algorithm algorithm() const { return algorithm_; }
  const std::string& hex() const { return hex_; }
  std::string ToString() const;

  friend bool operator==(const Digest&, const Digest&) = default;
  friend auto operator<=>(const Digest&, const Digest&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Digest& d) {
    return H::combine(std::move(h), static_cast<int>(d.algorithm_), d.hex_);
  }

 private:
  friend class Digester;
  Digest(Algorithm algorithm, std::string hex) : algorithm_(algorithm), hex_(std::move(hex)) {}

  Algorithm algorithm_;
  std::string hex_;
};

// Hashes a stream (OpenSSL's EVP).
class Digester {
 public:
  explicit Digester(Algorithm algorithm = Algorithm::kSha256);
  ~Digester();
  Digester(Digester&&) noexcept;
  Digester& operator=(Digester&&) noexcept;

  void Update(absl::string_view data);
  // The digest of everything so far; more may follow.
  Digest Current() const;
  // As new.
  void Reset();
  Algorithm algorithm() const { return algorithm_; }

 private:
  Algorithm algorithm_;
  evp_md_ctx_st* context_;
};

}  // namespace gantry::content

#endif  // GANTRY_CONTENT_DIGEST_H_
