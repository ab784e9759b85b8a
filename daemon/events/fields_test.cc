#include "daemon/events/fields.h"

#include <gtest/gtest.h>

#include "api/proto/containerd/events/container.pb.h"
#include "api/proto/containerd/events/task.pb.h"

namespace gantry::events {
namespace {

template <typename Event>
containerd::types::Envelope Wrap(const Event& event) {
  containerd::types::Envelope envelope;
  envelope.set_namespace_("ns");
  envelope.set_topic("/t");
  envelope.mutable_event()->set_type_url(event.GetDescriptor()->full_name());
  envelope.mutable_event()->set_value(event.SerializeAsString());
  return envelope;
}

TEST(FieldsTest, FindsStringsOfTheEnvelopeAndOfTheEventInside) {
  containerd::events::TaskCreate event;
  event.set_container_id("c1");
  event.mutable_io()->set_stdout("/out");
  event.set_pid(7);
  const auto envelope = Wrap(event);
  EXPECT_EQ(FieldOf(envelope, {"namespace"}), "ns");
  EXPECT_EQ(FieldOf(envelope, {"topic"}), "/t");
  EXPECT_EQ(FieldOf(envelope, {"event", "container_id"}), "c1");
  EXPECT_EQ(FieldOf(envelope, {"event", "io", "stdout"}), "/out");
  EXPECT_EQ(FieldOf(envelope, {"event", "pid"}), std::nullopt);
  EXPECT_EQ(FieldOf(envelope, {"event", "bundle"}), std::nullopt);
  EXPECT_EQ(FieldOf(envelope, {"event", "nothing"}), std::nullopt);
  EXPECT_EQ(FieldOf(envelope, {"event"}), std::nullopt);
  EXPECT_EQ(FieldOf(envelope, {}), std::nullopt);
}

TEST(FieldsTest, LabelsAreFoundByKeysWithDots) {
  containerd::events::ContainerUpdate event;
  (*event.mutable_labels())["a.b/c"] = "v";
  EXPECT_EQ(FieldOf(Wrap(event), {"event", "labels", "a", "b/c"}), "v");
  EXPECT_EQ(FieldOf(Wrap(event), {"event", "labels", "x"}), std::nullopt);
}

TEST(FieldsTest, EventsOfUnknownOrBrokenTypesHaveNoFields) {
  containerd::types::Envelope envelope;
  envelope.mutable_event()->set_type_url("made.up.Type");
  EXPECT_EQ(FieldOf(envelope, {"event", "container_id"}), std::nullopt);
  envelope.mutable_event()->set_type_url("containerd.events.TaskCreate");
  envelope.mutable_event()->set_value("\xff\xff\xff");
  EXPECT_EQ(FieldOf(envelope, {"event", "container_id"}), std::nullopt);
}

}  // namespace
}  // namespace gantry::events
