#include "shim/bootstrap/group.h"

#include "gtest/gtest.h"

namespace gantry::shim {
namespace {

TEST(GroupTest, AnAnnotationNamesIt) {
  EXPECT_EQ(GroupOfSpec(R"({"ociVersion":"1.0.2","annotations":{"io.containerd.runc.v2.group":"g"}})"), "g");
  EXPECT_EQ(GroupOfSpec(R"({"ociVersion":"1.0.2","annotations":{"io.kubernetes.cri.sandbox-id":"pod"}})"),
            "pod");
}

TEST(GroupTest, ContainerdsOwnAnnotationGoesFirst) {
  EXPECT_EQ(GroupOfSpec(R"({"ociVersion":"1.0.2","annotations":{"io.kubernetes.cri.sandbox-id":"pod",)"
                        R"("io.containerd.runc.v2.group":"g"}})"),
            "g");
}

TEST(GroupTest, WithoutOneThereIsNone) {
  EXPECT_EQ(GroupOfSpec(R"({"ociVersion":"1.0.2","annotations":{"other":"x"}})"), "");
  EXPECT_EQ(GroupOfSpec(R"({"hostname":"io.containerd.runc.v2.group"})"), "");
  EXPECT_EQ(GroupOfSpec(R"({"annotations":{"io.containerd.runc.v2.group":)"), "") << "not JSON";
  EXPECT_EQ(GroupOfBundle("/nonexistent"), "");
}

}  // namespace
}  // namespace gantry::shim
