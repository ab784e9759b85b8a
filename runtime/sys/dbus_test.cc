// Against a bus of our own that answers what a test tells it to, well-formed or hostile.
#include "runtime/sys/dbus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "runtime/sys/dbus_value.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"

namespace gantry::sys {
namespace {

using ::testing::HasSubstr;

std::vector<DBusValue> RoundTrip(const std::vector<DBusValue>& values) {
  std::string signature, body;
  for (const DBusValue& value : values) {
    signature += value.signature;
    MarshalDBus(value, &body);
  }
  auto back = UnmarshalDBus(signature, body);
  EXPECT_TRUE(back.ok()) << back.status();
  return back.ok() ? *back : std::vector<DBusValue>{};
}

TEST(DBusValueTest, WhatIsWrittenIsReadBack) {
  DBusValue real{"d"};
  real.real = 1.5;
  const std::vector<DBusValue> values = {
      {"y", 7},
      DBusValue::Text("text"),
      {"n", static_cast<uint64_t>(-5)},
      DBusValue::Bool(true),
      DBusValue::Uint64(UINT64_MAX),
      {"i", static_cast<uint64_t>(-1)},
      real,
      {"o", 0, 0, "/a/b"},
      {"g", 0, 0, "a(sv)"},
      DBusValue::Array("t", {}),
      DBusValue::Array("(sv)", {DBusValue::Struct({DBusValue::Text("PIDs"),
                                                   DBusValue::Variant(DBusValue::Array("u", {{"u", 12}}))})}),
  };
  EXPECT_EQ(RoundTrip(values), values);
}

TEST(DBusValueTest, BytesAreThoseOfTheSpecification) {
  std::string out;
  MarshalDBus(DBusValue::Array("x", {{"x", 5}}), &out);  // the specification's own example
  EXPECT_EQ(out, std::string("\x08\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0", 16));
}

TEST(DBusValueTest, MalformedBytesAreRefused) {
  const auto refused = [](absl::string_view signature, absl::string_view body) {
    return !UnmarshalDBus(signature, body).ok();
  };
  EXPECT_TRUE(refused("u", "abc"));
  EXPECT_TRUE(refused("s", absl::string_view("\xff\xff\xff\xff", 4)));
  EXPECT_TRUE(refused("s", absl::string_view("\x01\0\0\0ab", 6)));
  EXPECT_TRUE(refused("b", absl::string_view("\x02\0\0\0", 4)));
  EXPECT_TRUE(refused("ay", absl::string_view("\xff\xff\xff\x7f", 4)));
  EXPECT_TRUE(refused("(", ""));
  EXPECT_TRUE(refused("()", ""));
  EXPECT_TRUE(refused("a", absl::string_view("\0\0\0\0", 4)));
  EXPECT_TRUE(refused("y", "ab"));
  EXPECT_TRUE(refused(std::string(200, 'a') + "y", absl::string_view("\0\0\0\0", 4)));
  // A variant in a variant in a variant ...
  std::string nested;
  for (int i = 0; i < 5000; ++i) absl::StrAppend(&nested, absl::string_view("\x01v\0", 3));
  EXPECT_TRUE(refused("v", nested));
}

TEST(DBusValueTest, AnyCutOfAMessageIsRefused) {
  DBusMessage message;
  message.path = "/org/freedesktop/systemd1";
  message.member = "JobRemoved";
  message.serial = 3;
  message.body = {DBusValue::Text("x"), DBusValue::Variant(DBusValue::Uint32(5))};
  const std::string bytes = MarshalMessage(message);
  auto whole = UnmarshalMessage(bytes);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->member, "JobRemoved");
  EXPECT_EQ(whole->body, message.body);
  for (size_t i = 0; i < bytes.size(); ++i) EXPECT_FALSE(UnmarshalMessage(bytes.substr(0, i)).ok()) << i;
  for (size_t i = 0; i < bytes.size(); ++i) {  // must not crash, whatever it says
    std::string bent = bytes;
    bent[i] = static_cast<char>(bent[i] ^ 0xff);
    UnmarshalMessage(bent).status().IgnoreError();
  }
}

TEST(DBusTextTest, ReadsWhatPeopleWrite) {
  for (const char* text : {"true", "uint64 18446744073709551615", "-5", "'a \\'b\\''", "['a', 'b']",
                           "int64 -9", "objectpath '/a'", "byte 7", "double 1.5"}) {
    auto value = ParseDBusText(text);
    ASSERT_TRUE(value.ok()) << text << ": " << value.status();
    EXPECT_EQ(ToText(*value), text);
  }
  EXPECT_EQ(ParseDBusText(" \"x\" ")->text, "x");
}

TEST(DBusTextTest, RefusesTheRest) {
  for (const char* text : {"", "uint64", "uint32 4294967296", "uint64 -1", "byte 256", "'open", "[1, 'a']",
                           "[]", "[1", "1 2", "true;", "word", "'a\nb'", "[[[[[[[[[1]]]]]]]]]", "double x"}) {
    EXPECT_FALSE(ParseDBusText(text).ok()) << text;
  }
}

TEST(DBusAddressTest, TheFirstUnixPathCounts) {
  EXPECT_EQ(DBusSocketPath("tcp:host=x;unix:path=/run/user/5/bus,guid=1"), "/run/user/5/bus");
  EXPECT_EQ(DBusSocketPath("unix:path=/a%20b"), "/a b");
  EXPECT_EQ(DBusSocketPath("unix:abstract=/x"), "");
}

// Serves one connection in a thread: authenticates, then gives the connection to `serve`.
class FakeBus {
 public:
  explicit FakeBus(std::function<void(int)> serve, std::string greeting = "DATA\r\nOK 1234\r\n") {
    char name[] = "/tmp/gantry-dbus-test-XXXXXX";
    directory_ = mkdtemp(name);
    path = directory_ + "/bus";
    listen_ = *ListenUnix(path, SOCK_STREAM, 0600);
    thread_ = std::thread([this, serve = std::move(serve), greeting = std::move(greeting)] {
      const UniqueFd fd(accept4(listen_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      char byte;
      std::string seen;
      while (seen.find("DATA\r\n") == std::string::npos && read(fd.get(), &byte, 1) == 1)
        seen.push_back(byte);
      EXPECT_EQ(seen, std::string("\0AUTH EXTERNAL\r\nDATA\r\n", 22));
      WriteAll(fd.get(), greeting).IgnoreError();
      seen.clear();
      while (seen.find("BEGIN\r\n") == std::string::npos && read(fd.get(), &byte, 1) == 1)
        seen.push_back(byte);
      EXPECT_TRUE(seen == "BEGIN\r\n" || seen.empty());
      serve(fd.get());
    });
  }
  ~FakeBus() {
    thread_.join();
    RemoveAllAt(AT_FDCWD, directory_).IgnoreError();
  }

  // The next message of the client.
  static DBusMessage Next(int fd) {
    std::string bytes(kDBusFixedHeader, '\0');
    if (recv(fd, bytes.data(), bytes.size(), MSG_WAITALL) != static_cast<ssize_t>(bytes.size())) return {};
    const size_t size = *DBusMessageSize(bytes);
    bytes.resize(size);
    recv(fd, bytes.data() + kDBusFixedHeader, size - kDBusFixedHeader, MSG_WAITALL);
    return *UnmarshalMessage(bytes);
  }
  static void Send(int fd, DBusMessage::Type type, uint32_t reply, const char* member,
                   std::vector<DBusValue> body) {
    DBusMessage message;
    message.type = type;
    message.serial = 99;
    message.reply_serial = reply;
    message.path = type == DBusMessage::Type::kSignal ? "/" : "";
    (type == DBusMessage::Type::kError ? message.error_name : message.member) = member;
    message.body = std::move(body);
    WriteAll(fd, MarshalMessage(message)).IgnoreError();
  }

  std::string path;

 private:
  std::string directory_;
  UniqueFd listen_;
  std::thread thread_;
};

Deadline Soon() { return Deadline::After(absl::Seconds(20)); }

TEST(DBusConnectionTest, AnswersAndSignalsFindTheirWay) {
  FakeBus bus([](int fd) {
    const DBusMessage hello = FakeBus::Next(fd);
    FakeBus::Send(fd, DBusMessage::Type::kReturn, hello.serial, "", {DBusValue::Text(":1.5")});
    const DBusMessage call = FakeBus::Next(fd);
    EXPECT_EQ(call.member, "Start");
    FakeBus::Send(fd, DBusMessage::Type::kSignal, 0, "Noise", {});
    FakeBus::Send(fd, DBusMessage::Type::kSignal, 0, "JobRemoved", {DBusValue::Text("early")});
    FakeBus::Send(fd, DBusMessage::Type::kReturn, 12345, "", {});  // somebody else's
    FakeBus::Send(fd, DBusMessage::Type::kReturn, call.serial, "", {DBusValue::Uint32(7)});
    FakeBus::Send(fd, DBusMessage::Type::kSignal, 0, "JobRemoved", {DBusValue::Text("late")});
  });
  auto connection = DBusConnection::Connect(bus.path, DBusConnection::Peer::kBus, Soon());
  ASSERT_TRUE(connection.ok()) << connection.status();
  connection->Keep("JobRemoved");
  DBusMessage call;
  call.path = "/";
  call.member = "Start";
  auto answer = connection->Call(call, Soon());
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->body[0].number, 7u);
  EXPECT_EQ(connection->NextSignal("JobRemoved", Soon())->body[0].text, "early");
  EXPECT_EQ(connection->NextSignal("JobRemoved", Soon())->body[0].text, "late");
}

TEST(DBusConnectionTest, AnAnsweredErrorKeepsItsName) {
  FakeBus bus([](int fd) {
    const DBusMessage call = FakeBus::Next(fd);
    FakeBus::Send(fd, DBusMessage::Type::kError, call.serial, "org.freedesktop.systemd1.NoSuchUnit",
                  {DBusValue::Text("Unit x not loaded.")});
  });
  auto connection = DBusConnection::Connect(bus.path, DBusConnection::Peer::kDirect, Soon());
  ASSERT_TRUE(connection.ok()) << connection.status();
  DBusMessage call;
  call.path = "/";
  call.member = "StopUnit";
  const absl::Status status = connection->Call(call, Soon()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(DBusErrorOf(status), "org.freedesktop.systemd1.NoSuchUnit");
  EXPECT_THAT(status.message(), HasSubstr("Unit x not loaded."));
}

absl::Status CallWith(std::function<void(int)> serve, absl::Duration patience) {
  FakeBus bus([serve = std::move(serve)](int fd) {
    FakeBus::Next(fd);
    serve(fd);
  });
  auto connection = DBusConnection::Connect(bus.path, DBusConnection::Peer::kDirect, Soon());
  if (!connection.ok()) return connection.status();
  DBusMessage call;
  call.path = "/";
  call.member = "X";
  absl::Status status = connection->Call(call, Deadline::After(patience)).status();
  connection = absl::CancelledError();  // closes it: a server that writes without end ends
  return status;
}

TEST(DBusConnectionTest, AHostileServerIsBounded) {
  const absl::Duration patience = absl::Milliseconds(200);
  EXPECT_TRUE(absl::IsUnavailable(CallWith([](int) {}, absl::Seconds(20))));
  const auto silent = [](int fd) {
    char byte;
    EXPECT_LE(read(fd, &byte, 1), 0);  // until the client has gone
  };
  EXPECT_TRUE(absl::IsDeadlineExceeded(CallWith(silent, patience)));
  const auto flood = [](int fd) {
    DBusMessage noise;
    noise.type = DBusMessage::Type::kSignal;
    noise.serial = 1;
    noise.path = "/";
    noise.member = "Noise";
    const std::string bytes = MarshalMessage(noise);
    while (send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0) {
    }
  };
  EXPECT_TRUE(absl::IsDeadlineExceeded(CallWith(flood, patience)));
  const auto huge = [](int fd) {
    WriteAll(fd, absl::string_view("l\2\0\1\xff\xff\xff\x7f\1\0\0\0\0\0\0\0", 16)).IgnoreError();
  };
  EXPECT_TRUE(absl::IsResourceExhausted(CallWith(huge, absl::Seconds(20))));
  const auto garbage = [](int fd) { WriteAll(fd, std::string(64, 'x')).IgnoreError(); };
  EXPECT_TRUE(absl::IsDataLoss(CallWith(garbage, absl::Seconds(20))));
}

TEST(DBusConnectionTest, ARefusalIsTold) {
  FakeBus bus([](int) {}, "REJECTED EXTERNAL\r\n");
  auto connection = DBusConnection::Connect(bus.path, DBusConnection::Peer::kDirect, Soon());
  EXPECT_EQ(connection.status().code(), absl::StatusCode::kPermissionDenied);
}

}  // namespace
}  // namespace gantry::sys
