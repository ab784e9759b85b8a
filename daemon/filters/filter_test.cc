#include "daemon/filters/filter.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace gantry::filters {
namespace {

struct Object {
  std::string name;
  std::map<std::string, std::string> labels;
};

bool Matches(const std::vector<std::string>& filters, const Object& object) {
  auto filter = Filter::ParseAny(filters);
  EXPECT_TRUE(filter.ok()) << filter.status();
  return filter.ok() && filter->Match([&](FieldPath path) -> std::optional<absl::string_view> {
    if (path[0] == "name") return TextField(object.name);
    if (path[0] == "labels") return LabelField(path.subspan(1), object.labels);
    return std::nullopt;
  });
}

const Object kObject = {"foo/bar:1", {{"a", "x"}, {"dotted.key", "y"}, {"very complex label", "z,\"w"}}};

TEST(FilterTest, Selectors) {
  for (const char* text : {"",
                           "name",
                           "name==foo/bar:1",
                           "name == foo/bar:1",
                           "name!=other",
                           "name~=^foo",
                           "name~=bar",
                           "name~=/^foo\\/bar/",
                           "name~=|o/b|",
                           "name~=\"^foo/.*1$\"",
                           "labels.a",
                           "labels.a==x",
                           "labels.dotted.key==y",
                           "labels.\"dotted.key\"==y",
                           "labels.\"very complex label\"",
                           "labels.\"very complex label\"==\"z,\\\"w\"",
                           "labels.none!=x",
                           "labels.none~=^$",
                           "name,labels.a==x",
                           "name==\"foo\\x2fbar:1\"",
                           "name==\"foo\\057bar:1\"",
                           "name==\"\\u0066oo/bar:1\"",
                           "nothing!=1"}) {
    EXPECT_TRUE(Matches({text}, kObject)) << text;
  }
  for (const char* text : {"nothing", "name==foo", "name!=foo/bar:1", "labels.b", "labels.a==y",
                           "name,labels.b", "labels.none==\"\"", "name~=^bar", "labels"}) {
    EXPECT_FALSE(Matches({text}, kObject)) << text;
  }
}

TEST(FilterTest, ListIsAnAlternative) {
  EXPECT_TRUE(Matches({}, kObject));
  EXPECT_TRUE(Matches({"name==no", "labels.a"}, kObject));
  EXPECT_FALSE(Matches({"name==no", "labels.b"}, kObject));
  EXPECT_TRUE(Matches({"name==no", ""}, kObject));
}

TEST(FilterTest, DockersOwnFilter) { EXPECT_TRUE(Matches({"name==foo/bar:1,name~=|^foo/|"}, kObject)); }

TEST(FilterTest, ErrorsNameTheFilterAndThePlace) {
  const std::vector<std::pair<std::string, std::string>> cases = {{"name=~[", "byte 4"},
                                                                  {"name==", "byte 6"},
                                                                  {"name=foo", "byte 4"},
                                                                  {"==foo", "byte 0"},
                                                                  {"name,", "byte 5"},
                                                                  {"name..x", "byte 5"},
                                                                  {"name==/foo/", "byte 6"},
                                                                  {"name==\"foo", "not terminated"},
                                                                  {"name==\"\\q\"", "escape"},
                                                                  {"name~=[", "pattern"},
                                                                  {"name foo", "operator"},
                                                                  {"name==foo bar", "unexpected"},
                                                                  {"na-me", "byte 2"},
                                                                  {"name==\xff", "UTF-8"},
                                                                  {"name===x", "unsupported"},
                                                                  {std::string("name==a\0b", 9), "byte 6"},
                                                                  {"name==\"\\U00110000\"", "escape"}};
  for (const auto& [text, expected] : cases) {
    const absl::Status status = Filter::Parse(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text << ": " << status;
    EXPECT_NE(status.message().find(expected), absl::string_view::npos) << text << ": " << status;
  }
}

TEST(FilterTest, SizeIsBounded) {
  EXPECT_TRUE(absl::IsInvalidArgument(Filter::Parse(std::string(kMaxFilterBytes + 1, 'a')).status()));
  std::string many = "a";
  for (size_t i = 0; i < kMaxSelectors; ++i) many += ",a";
  EXPECT_TRUE(absl::IsInvalidArgument(Filter::Parse(many).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Filter::ParseAny(std::vector<std::string>(1000, "a")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Filter::Parse("name~=((((a{1000}){1000}){1000}){1000})").status()));
}

}  // namespace
}  // namespace gantry::filters
