#include "daemon/server/call_context.h"

#include <gtest/gtest.h>

namespace gantry::server {
namespace {

TEST(CallContextTest, MissingNamespaceIsAFailedPreconditionWhereOneIsRequired) {
  const auto call = MakeCallContext("", "", NamespaceRule::kRequired);
  EXPECT_EQ(call.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(call.status().message(), "namespace is required");
  EXPECT_TRUE(MakeCallContext("", "", NamespaceRule::kOptional).ok());
}

TEST(CallContextTest, InvalidNamespaceIsRefusedEvenWhereItIsOptional) {
  EXPECT_EQ(MakeCallContext("no/such", "", NamespaceRule::kOptional).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(CallContextTest, CarriesNamespaceAndLease) {
  const auto call = MakeCallContext("default", "lease-1", NamespaceRule::kRequired);
  ASSERT_TRUE(call.ok());
  EXPECT_EQ(call->ns, "default");
  EXPECT_EQ(call->lease, "lease-1");
}

}  // namespace
}  // namespace gantry::server
