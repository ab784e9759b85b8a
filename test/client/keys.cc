// Prints the keys of a daemon's record store, one a line: FAMILY KEY, bytes that are not printable as \xNN.
//
//   record-keys ROOT/metadata          the daemon must not run
#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/escaping.h"
#include "content/kv/kv.h"
#include "daemon/metadata/schema.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: record-keys DIRECTORY\n", stderr);
    return 2;
  }
  auto database = gantry::kv::Database::Open({.path = argv[1], .families = gantry::metadata::Families()});
  if (!database.ok()) {
    std::fprintf(stderr, "record-keys: %s\n", database.status().ToString().c_str());
    return 1;
  }
  for (const std::string& family : gantry::metadata::Families()) {
    const std::unique_ptr<gantry::kv::Iterator> it = (*database)->Scan(family, "");
    for (; it->Valid(); it->Next()) {
      std::printf("%s %s\n", family.c_str(), absl::CHexEscape(it->key()).c_str());
    }
    if (!it->status().ok()) {
      std::fprintf(stderr, "record-keys: %s: %s\n", family.c_str(), it->status().ToString().c_str());
      return 1;
    }
  }
  return 0;
}
