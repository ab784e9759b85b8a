#include "daemon/tasks/group.h"

#include <gtest/gtest.h>

namespace gantry::tasks {
namespace {

TEST(GroupTest, AnAnnotationNamesIt) {
  EXPECT_EQ(GroupOf(R"({"annotations":{"io.containerd.runc.v2.group":"g"}})"), "g");
  EXPECT_EQ(GroupOf(R"({"annotations":{"io.kubernetes.cri.sandbox-id":"pod"}})"), "pod");
  EXPECT_EQ(
      GroupOf(R"({"annotations":{"io.kubernetes.cri.sandbox-id":"pod","io.containerd.runc.v2.group":"g"}})"),
      "g");
}

TEST(GroupTest, WithoutOneThereIsNone) {
  for (const char* spec :
       {"", "{}", R"({"annotations":{"other":"x"}})", R"({"annotations":{"io.containerd.runc.v2.group":7}})",
        R"({"hostname":"io.containerd.runc.v2.group"})", R"(["io.containerd.runc.v2.group"])",
        R"({"annotations":{"io.containerd.runc.v2.group":)"}) {
    EXPECT_EQ(GroupOf(spec), "") << spec;
  }
}

}  // namespace
}  // namespace gantry::tasks
