#include "daemon/events/exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "api/proto/containerd/events/task.pb.h"

namespace gantry::events {
namespace {

using testing::ElementsAre;

containerd::events::TaskStart Start(const std::string& id) {
  containerd::events::TaskStart event;
  event.set_container_id(id);
  return event;
}

TEST(ExchangeTest, EverySubscriberSeesWhatItsMatcherWantsInOneOrder) {
  Exchange exchange;
  std::vector<std::string> all, some;
  exchange.Subscribe(nullptr, [&](std::shared_ptr<const Envelope> e) {
    all.push_back(e->topic());
    return true;
  });
  exchange.Subscribe([](const Envelope& e) { return e.topic() == "/tasks/start"; },
                     [&](std::shared_ptr<const Envelope> e) {
                       some.push_back(e->namespace_());
                       return true;
                     });
  ASSERT_TRUE(exchange.Publish("a", "/tasks/create", Start("x")).ok());
  ASSERT_TRUE(exchange.Publish("b", "/tasks/start", Start("x")).ok());
  EXPECT_THAT(all, ElementsAre("/tasks/create", "/tasks/start"));
  EXPECT_THAT(some, ElementsAre("b"));
}

TEST(ExchangeTest, EnvelopeHasTimeAndTheBareTypeName) {
  Exchange exchange;
  Envelope seen;
  exchange.Subscribe(nullptr, [&](std::shared_ptr<const Envelope> e) {
    seen = *e;
    return true;
  });
  ASSERT_TRUE(exchange.Publish("a", "/tasks/start", Start("x")).ok());
  EXPECT_EQ(seen.event().type_url(), "containerd.events.TaskStart");
  EXPECT_GT(seen.timestamp().seconds(), 1'600'000'000);
}

TEST(ExchangeTest, SinkThatReturnsFalseIsDropped) {
  Exchange exchange;
  int calls = 0;
  exchange.Subscribe(nullptr, [&](std::shared_ptr<const Envelope>) { return ++calls < 2; });
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(exchange.Publish("a", "/x", Start("x")).ok());
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(exchange.subscribers(), 0u);
}

TEST(ExchangeTest, UnsubscribedSinkIsNotCalled) {
  Exchange exchange;
  int calls = 0;
  const auto id = exchange.Subscribe(nullptr, [&](std::shared_ptr<const Envelope>) { return ++calls > 0; });
  exchange.Unsubscribe(id);
  exchange.Unsubscribe(id);
  ASSERT_TRUE(exchange.Publish("a", "/x", Start("x")).ok());
  EXPECT_EQ(calls, 0);
}

TEST(ExchangeTest, NewsFromBeforeTheDaemonReachesWhoComesALittleLater) {
  Exchange exchange;
  Envelope old;
  old.set_namespace_("a");
  old.set_topic("/tasks/exit");
  old.mutable_timestamp()->set_seconds(1);
  ASSERT_TRUE(exchange.Forward(old).ok());
  ASSERT_TRUE(exchange.Publish("a", "/tasks/start", Start("new")).ok());
  std::vector<std::string> first, second, others;
  exchange.Subscribe(nullptr,
                     [&](std::shared_ptr<const Envelope> e) { return first.push_back(e->topic()), true; });
  exchange.Subscribe([](const Envelope& e) { return e.namespace_() == "b"; },
                     [&](std::shared_ptr<const Envelope> e) { return others.push_back(e->topic()), true; });
  EXPECT_EQ(first, std::vector<std::string>{"/tasks/exit"}) << "the old event alone, and once";
  old.set_topic("/tasks/oom");
  ASSERT_TRUE(exchange.Forward(old).ok());
  exchange.Subscribe(nullptr,
                     [&](std::shared_ptr<const Envelope> e) { return second.push_back(e->topic()), true; });
  EXPECT_EQ(first, (std::vector<std::string>{"/tasks/exit", "/tasks/oom"}));
  EXPECT_EQ(second, (std::vector<std::string>{"/tasks/exit", "/tasks/oom"}));
  EXPECT_TRUE(others.empty());
}

TEST(ExchangeTest, BadNamespaceTopicAndMissingTimeAreRefused) {
  Exchange exchange;
  for (const char* topic : {"", "/", "tasks/start", "/tasks//start", "/tasks/st art"}) {
    EXPECT_EQ(exchange.Publish("a", topic, Start("x")).code(), absl::StatusCode::kInvalidArgument) << topic;
  }
  EXPECT_EQ(exchange.Publish("a/b", "/tasks/start", Start("x")).code(), absl::StatusCode::kInvalidArgument);
  Envelope envelope;
  envelope.set_namespace_("a");
  envelope.set_topic("/tasks/start");
  EXPECT_EQ(exchange.Forward(envelope).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace gantry::events
