#include "runtime/sys/rtnetlink.h"

#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

constexpr int kDumpTries = 5;
constexpr size_t kBufferBytes = 64 * 1024;  // above what the kernel puts into one datagram (32 KiB)

template <typename T>
void Append(std::string* out, const T& value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string Header(uint16_t type, uint16_t flags) {
  std::string message;
  struct nlmsghdr header = {};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  header.nlmsg_seq = 1;
  Append(&message, header);
  return message;
}

void AppendAttribute(std::string* out, uint16_t type, absl::string_view value) {
  struct rtattr attribute = {static_cast<unsigned short>(RTA_LENGTH(value.size())), type};
  Append(out, attribute);
  absl::StrAppend(out, value);
  out->resize(NLMSG_ALIGN(out->size()), '\0');
}

template <typename T>
void AppendNumber(std::string* out, uint16_t type, T value) {
  AppendAttribute(out, type, absl::string_view(reinterpret_cast<const char*>(&value), sizeof value));
}

// With the terminating zero, as the kernel counts it.
void AppendName(std::string* out, uint16_t type, const std::string& name) {
  AppendAttribute(out, type, absl::string_view(name.c_str(), name.size() + 1));
}

// Calls take(type, value) for each attribute.
template <typename Take>
void ForEachAttribute(absl::string_view data, Take take) {
  while (data.size() >= sizeof(struct rtattr)) {
    struct rtattr attribute;
    memcpy(&attribute, data.data(), sizeof attribute);
    if (attribute.rta_len < sizeof attribute || attribute.rta_len > data.size()) return;
    take(static_cast<uint16_t>(attribute.rta_type & NLA_TYPE_MASK),
         data.substr(sizeof attribute, attribute.rta_len - sizeof attribute));
    data.remove_prefix(std::min<size_t>(NLMSG_ALIGN(attribute.rta_len), data.size()));
  }
}

std::string TextOf(absl::string_view value) { return std::string(value.substr(0, value.find('\0'))); }

RouteSocket::Link ParseLink(absl::string_view payload) {
  RouteSocket::Link link;
  struct ifinfomsg info;
  if (payload.size() < sizeof info) return link;
  memcpy(&info, payload.data(), sizeof info);
  link.index = info.ifi_index;
  link.up = (info.ifi_flags & IFF_UP) != 0;
  ForEachAttribute(payload.substr(NLMSG_ALIGN(sizeof info)), [&link](uint16_t type, absl::string_view value) {
    if (type == IFLA_IFNAME) link.name = TextOf(value);
  });
  return link;
}

bool ParseAddress(absl::string_view payload, int index, RouteSocket::Address* address) {
  struct ifaddrmsg info;
  if (payload.size() < sizeof info) return false;
  memcpy(&info, payload.data(), sizeof info);
  if (info.ifa_index != static_cast<uint32_t>(index)) return false;
  address->family = info.ifa_family;
  address->prefix_length = info.ifa_prefixlen;
  address->scope = info.ifa_scope;
  address->flags = info.ifa_flags;
  ForEachAttribute(payload.substr(NLMSG_ALIGN(sizeof info)),
                   [address](uint16_t type, absl::string_view value) {
                     if (type == IFA_FLAGS && value.size() == sizeof address->flags) {
                       memcpy(&address->flags, value.data(), sizeof address->flags);
                     } else if (type == IFA_LABEL) {
                       address->label = TextOf(value);
                     } else if (type != IFA_CACHEINFO && type != IFA_FLAGS) {
                       address->attributes.emplace_back(type, std::string(value));
                     }
                   });
  return true;
}

// The answer that ends a request: an errno, perhaps with the kernel's words behind the echoed request.
absl::Status ParseError(const struct nlmsghdr& header, absl::string_view payload, const char* what) {
  struct nlmsgerr error;
  if (payload.size() < sizeof error.error) return absl::InternalError("netlink: a message that is too short");
  error = {};
  memcpy(&error, payload.data(), std::min(payload.size(), sizeof error));
  if (error.error == 0) return absl::OkStatus();
  std::string words;
  if ((header.nlmsg_flags & NLM_F_ACK_TLVS) != 0) {
    const size_t echoed =
        (header.nlmsg_flags & NLM_F_CAPPED) != 0 ? sizeof(struct nlmsghdr) : error.msg.nlmsg_len;
    const size_t offset = sizeof error.error + NLMSG_ALIGN(echoed);
    if (offset < payload.size()) {
      ForEachAttribute(payload.substr(offset), [&words](uint16_t type, absl::string_view value) {
        if (type == NLMSGERR_ATTR_MSG) words = TextOf(value);
      });
    }
  }
  return ErrnoStatus(what, words, -error.error);
}

std::string LinkRequest(uint16_t type, int index, unsigned flags = 0, unsigned change = 0) {
  std::string request = Header(type, NLM_F_ACK);
  struct ifinfomsg info = {};
  info.ifi_index = index;
  info.ifi_flags = flags;
  info.ifi_change = change;
  Append(&request, info);
  return request;
}

void Ignore(uint16_t, absl::string_view) {}

}  // namespace

absl::StatusOr<RouteSocket> RouteSocket::Open() {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd) return ErrnoStatus("socket", "netlink");
  const int on = 1;
  // Only wishes: without them errors say less.
  setsockopt(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  return RouteSocket(std::move(fd));
}

absl::StatusOr<RouteSocket> RouteSocket::OpenIn(int namespace_fd) {
  GANTRY_ASSIGN_OR_RETURN(const UniqueFd home, OpenAt(AT_FDCWD, "/proc/self/ns/net", O_RDONLY));
  if (setns(namespace_fd, CLONE_NEWNET) != 0) return ErrnoStatus("setns", "network namespace");
  auto socket = Open();
  // In another network than anybody believes, nothing must go on.
  if (setns(home.get(), CLONE_NEWNET) != 0) abort();
  return socket;
}

absl::Status RouteSocket::Ask(
    std::string request, const char* what,
    const std::function<void(uint16_t type, absl::string_view payload)>& take) const {
  const uint32_t size = static_cast<uint32_t>(request.size());
  memcpy(request.data() + offsetof(struct nlmsghdr, nlmsg_len), &size, sizeof size);
  struct sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  if (sendto(fd_.get(), request.data(), request.size(), 0, reinterpret_cast<struct sockaddr*>(&kernel),
             sizeof kernel) < 0) {
    return ErrnoStatus(what, "netlink");
  }
  std::string buffer(kBufferBytes, '\0');
  bool interrupted = false;
  for (;;) {
    const ssize_t n = recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(what, "netlink");
    absl::string_view rest(buffer.data(), static_cast<size_t>(n));
    while (rest.size() >= sizeof(struct nlmsghdr)) {
      struct nlmsghdr header;
      memcpy(&header, rest.data(), sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest.size()) {
        return absl::InternalError("netlink: a message of an impossible length");
      }
      const absl::string_view payload = rest.substr(sizeof header, header.nlmsg_len - sizeof header);
      interrupted = interrupted || (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (header.nlmsg_type == NLMSG_DONE) {
        // What was listed changed meanwhile: ask again.
        return interrupted ? ErrnoStatus(what, "the list changed meanwhile", EAGAIN) : absl::OkStatus();
      }
      if (header.nlmsg_type == NLMSG_ERROR) return ParseError(header, payload, what);
      take(header.nlmsg_type, payload);
      rest.remove_prefix(std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), rest.size()));
    }
  }
}

absl::StatusOr<std::vector<RouteSocket::Link>> RouteSocket::Links() const {
  std::string request = Header(RTM_GETLINK, NLM_F_DUMP);
  Append(&request, ifinfomsg{});
  absl::Status status;
  for (int i = 0; i < kDumpTries; i++) {
    std::vector<Link> links;
    status = Ask(request, "list network devices", [&links](uint16_t type, absl::string_view payload) {
      if (type == RTM_NEWLINK) links.push_back(ParseLink(payload));
    });
    if (status.ok()) return links;
    if (ErrnoOf(status) != EAGAIN) break;
  }
  return status;
}

absl::StatusOr<RouteSocket::Link> RouteSocket::FindLink(const std::string& name) const {
  std::string request = LinkRequest(RTM_GETLINK, 0);
  AppendName(&request, IFLA_IFNAME, name);
  Link link;
  absl::Status status =
      Ask(std::move(request), "find the network device", [&link](uint16_t type, absl::string_view payload) {
        if (type == RTM_NEWLINK) link = ParseLink(payload);
      });
  if (ErrnoOf(status) == ENODEV)
    return absl::NotFoundError(absl::StrCat("there is no network device ", name));
  if (!status.ok()) return Annotate(status, name);
  return link;
}

absl::Status RouteSocket::SetUp(int index, bool up) const {
  return Ask(LinkRequest(RTM_NEWLINK, index, up ? IFF_UP : 0, IFF_UP), "set the device up or down", Ignore);
}

absl::Status RouteSocket::Rename(int index, const std::string& name) const {
  std::string request = LinkRequest(RTM_NEWLINK, index);
  AppendName(&request, IFLA_IFNAME, name);
  return Ask(std::move(request), "rename the device", Ignore);
}

absl::Status RouteSocket::Move(int index, const std::string& name, int namespace_fd) const {
  std::string request = LinkRequest(RTM_NEWLINK, index);
  AppendName(&request, IFLA_IFNAME, name);
  AppendNumber(&request, IFLA_NET_NS_FD, static_cast<uint32_t>(namespace_fd));
  return Ask(std::move(request), "move the device into another network namespace", Ignore);
}

absl::StatusOr<std::vector<RouteSocket::Address>> RouteSocket::Addresses(int index) const {
  std::string request = Header(RTM_GETADDR, NLM_F_DUMP);
  Append(&request, ifaddrmsg{});
  absl::Status status;
  for (int i = 0; i < kDumpTries; i++) {
    std::vector<Address> addresses;
    status = Ask(request, "list addresses", [&addresses, index](uint16_t type, absl::string_view payload) {
      Address address;
      if (type == RTM_NEWADDR && ParseAddress(payload, index, &address))
        addresses.push_back(std::move(address));
    });
    if (status.ok()) return addresses;
    if (ErrnoOf(status) != EAGAIN) break;
  }
  return status;
}

absl::Status RouteSocket::AddAddress(int index, const Address& address) const {
  std::string request = Header(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
  struct ifaddrmsg info = {};
  info.ifa_family = address.family;
  info.ifa_prefixlen = address.prefix_length;
  info.ifa_scope = address.scope;
  info.ifa_flags = static_cast<uint8_t>(address.flags);
  info.ifa_index = static_cast<uint32_t>(index);
  Append(&request, info);
  for (const auto& [type, value] : address.attributes) AppendAttribute(&request, type, value);
  if (!address.label.empty()) AppendName(&request, IFA_LABEL, address.label);
  AppendNumber(&request, IFA_FLAGS, address.flags);
  return Ask(std::move(request), "add the address", Ignore);
}

}  // namespace gantry::sys
