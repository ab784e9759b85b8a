// A temporary directory, filled and described, for the tests of this room.
#ifndef GANTRY_SNAPSHOTTER_DIFF_TEST_TREE_H_
#define GANTRY_SNAPSHOTTER_DIFF_TEST_TREE_H_

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/sys/file.h"
#include "snapshotter/diff/attributes.h"
#include "snapshotter/diff/merged_dir.h"

namespace gantry::diff {

class TreeTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "owners, devices and trusted attributes need root";
    char path[] = "/tmp/gantry-diff-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
  }
  void TearDown() override {
    if (!dir_.empty()) {
      EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, dir_).ok());
    }
  }

  // A fresh directory.
  std::string Make(const std::string& name) {
    const std::string path = dir_ + "/" + name;
    EXPECT_TRUE(sys::MkdirAll(path, 0755).ok());
    return path;
  }
  static void WriteFile(const std::string& path, absl::string_view content) {
    const auto file = sys::OpenAt(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE(sys::WriteAll(file->get(), content).ok());
  }
  static std::string ReadFile(const std::string& path) {
    const auto content = sys::ReadFileAt(AT_FDCWD, path, 64 << 20, O_NOFOLLOW);
    return content.ok() ? *content : "(none)";
  }

  // What a stack of layers shows: path -> "kind mode uid:gid detail".
  static std::map<std::string, std::string> Shown(const std::vector<std::string>& layers_from_top) {
    std::map<std::string, std::string> shown;
    auto merged = MergedDir::Open(layers_from_top, OverlayXattrs::kTrusted);
    EXPECT_TRUE(merged.ok()) << merged.status();
    if (merged.ok()) Describe(**merged, "", &shown);
    return shown;
  }

  std::string dir_;

 private:
  static void Describe(const MergedDir& merged, const std::string& path,
                       std::map<std::string, std::string>* shown) {
    const auto nodes = merged.List();
    ASSERT_TRUE(nodes.ok()) << nodes.status();
    for (const MergedDir::Node& node : *nodes) {
      const std::string name = absl::StrCat(path, path.empty() ? "" : "/", node.name);
      const struct stat& st = node.st;
      std::string text = absl::StrFormat("%06o %d:%d", st.st_mode, st.st_uid, st.st_gid);
      if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
        absl::StrAppend(&text, " ", major(st.st_rdev), ",", minor(st.st_rdev));
      }
      if (S_ISLNK(st.st_mode)) {
        char link[PATH_MAX + 1] = {};
        (void)!::readlinkat(node.layer_fd, node.name.c_str(), link, PATH_MAX);
        absl::StrAppend(&text, " -> ", link);
      }
      if (S_ISREG(st.st_mode)) {
        const auto content = sys::ReadFileAt(node.layer_fd, node.name, 64 << 20);
        absl::StrAppend(&text, " ", st.st_nlink, " ", content.ok() ? *content : content.status().ToString());
      }
      const auto fd = sys::OpenAt(node.layer_fd, node.name, O_PATH | O_NOFOLLOW);
      const auto xattrs = ReadXattrs(fd->get());
      ASSERT_TRUE(xattrs.ok()) << xattrs.status();
      for (const auto& [key, value] : *xattrs) absl::StrAppend(&text, " ", key, "=", value);
      (*shown)[name] = text;
      if (!S_ISDIR(st.st_mode)) continue;
      const auto below = merged.Descend(node);
      ASSERT_TRUE(below.ok()) << below.status();
      Describe(**below, name, shown);
    }
  }
};

}  // namespace gantry::diff

#endif  // GANTRY_SNAPSHOTTER_DIFF_TEST_TREE_H_
