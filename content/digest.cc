#include "content/digest.h"

#include <openssl/evp.h>

#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace gantry::content {
namespace {

struct Known {
  Algorithm algorithm;
  absl::string_view name;
  size_t hex_digits;
};
constexpr Known kKnown[] = {
    {Algorithm::kSha256, "sha256", 64},
    {Algorithm::kSha384, "sha384", 96},
    {Algorithm::kSha512, "sha512", 128},
};

const EVP_MD* Method(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kSha256:
      return EVP_sha256();
    case Algorithm::kSha384:
      return EVP_sha384();
    case Algorithm::kSha512:
      return EVP_sha512();
  }
  return nullptr;
}

// OpenSSL's digests fail only for want of memory or of the algorithm itself: nothing a caller could handle.
void Check(int result) {
  if (result != 1) abort();
}

std::string Hex(EVP_MD_CTX* context) {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  Check(EVP_DigestFinal_ex(context, bytes, &size));
  return absl::BytesToHexString({reinterpret_cast<const char*>(bytes), size});
}

}  // namespace

absl::string_view AlgorithmName(Algorithm algorithm) { return kKnown[static_cast<int>(algorithm)].name; }

absl::StatusOr<Digest> Digest::Parse(absl::string_view text) {
  const auto invalid = [&](absl::string_view rule) {
    return absl::InvalidArgumentError(
        absl::StrCat("invalid digest \"", absl::CEscape(text.substr(0, 200)), "\": ", rule));
  };
  const size_t colon = text.find(':');
  if (colon == absl::string_view::npos) return invalid("it must be algorithm:hex, such as sha256:9f86d0…");
  const absl::string_view name = text.substr(0, colon);
  const absl::string_view hex = text.substr(colon + 1);
  for (const Known& known : kKnown) {
    if (name != known.name) continue;
    if (hex.size() != known.hex_digits) {
      return invalid(absl::StrCat("invalid checksum digest length: ", name, " has ", known.hex_digits,
                                  " hex digits, not ", hex.size()));
    }
    for (char c : hex) {
      if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
        return invalid("only the digits 0-9 and a-f may follow the colon");
      }
    }
    return Digest(known.algorithm, std::string(hex));
  }
  return invalid("unsupported digest algorithm: sha256, sha384 and sha512 are known");
}

Digest Digest::Of(absl::string_view data, Algorithm algorithm) {
  Digester digester(algorithm);
  digester.Update(data);
  return digester.Current();
}

std::string Digest::ToString() const { return absl::StrCat(AlgorithmName(algorithm_), ":", hex_); }

Digester::Digester(Algorithm algorithm) : algorithm_(algorithm), context_(EVP_MD_CTX_new()) {
  Check(context_ != nullptr);
  Reset();
}

Digester::~Digester() { EVP_MD_CTX_free(context_); }

Digester::Digester(Digester&& other) noexcept
    : algorithm_(other.algorithm_), context_(std::exchange(other.context_, nullptr)) {}

Digester& Digester::operator=(Digester&& other) noexcept {
  std::swap(algorithm_, other.algorithm_);
  std::swap(context_, other.context_);
  return *this;
}

void Digester::Update(absl::string_view data) { Check(EVP_DigestUpdate(context_, data.data(), data.size())); }

Digest Digester::Current() const {
  EVP_MD_CTX* copy = EVP_MD_CTX_new();
  Check(copy != nullptr);
  Check(EVP_MD_CTX_copy_ex(copy, context_));
  std::string hex = Hex(copy);
  EVP_MD_CTX_free(copy);
  return Digest(algorithm_, std::move(hex));
}

void Digester::Reset() { Check(EVP_DigestInit_ex(context_, Method(algorithm_), nullptr)); }

}  // namespace gantry::content
