// Runs a fuzz target over every file of a corpus, without a fuzzer: what libFuzzer's own main does for arguments that
// are files.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  int files = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string data((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
      // On a crash the last line names the file.
      std::printf("%s\n", entry.path().c_str());
      std::fflush(stdout);
      LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(data.data()), data.size());
      ++files;
    }
  }
  LLVMFuzzerTestOneInput(nullptr, 0);
  std::printf("%d files replayed\n", files);
  return files > 0 ? 0 : 1;
}
