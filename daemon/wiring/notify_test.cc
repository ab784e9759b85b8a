#include "daemon/wiring/notify.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

#include "runtime/sys/file.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::wiring {
namespace {

TEST(NotifyTest, SendsTheStateToTheSocketAndNothingWithoutOne) {
  unsetenv("NOTIFY_SOCKET");
  EXPECT_TRUE(NotifySystemd("READY=1").ok());
  char directory[] = "/tmp/gantry-notify-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  const std::string path = std::string(directory) + "/n";
  sys::UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.c_str(), path.size());
  ASSERT_EQ(bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  setenv("NOTIFY_SOCKET", path.c_str(), 1);
  EXPECT_TRUE(NotifySystemd("READY=1").ok());
  char buffer[64] = {};
  EXPECT_EQ(recv(socket.get(), buffer, sizeof(buffer), MSG_DONTWAIT), 7);
  EXPECT_STREQ(buffer, "READY=1");
  setenv("NOTIFY_SOCKET", "relative", 1);
  EXPECT_FALSE(NotifySystemd("READY=1").ok());
  unsetenv("NOTIFY_SOCKET");
  EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, directory).ok());
}

}  // namespace
}  // namespace gantry::wiring
