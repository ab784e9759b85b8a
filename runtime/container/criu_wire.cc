// criu's messages, as protobuf's encoding has them: a field is its number and kind as a varint, then a varint, or a
// length and bytes.
#include "absl/strings/str_cat.h"
#include "runtime/container/criu.h"

namespace gantry::container {
namespace {

constexpr uint32_t kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

class Writer {
 public:
  void Number(uint32_t field, int64_t value) {
    Varint(field << 3 | kVarint);
    Varint(static_cast<uint64_t>(value));
  }
  void Flag(uint32_t field, bool value) {
    if (value) Number(field, 1);
  }
  void Text(uint32_t field, absl::string_view value) {
    Varint(field << 3 | kBytes);
    Varint(value.size());
    absl::StrAppend(&data_, value);
  }
  void SomeText(uint32_t field, absl::string_view value) {
    if (!value.empty()) Text(field, value);
  }
  std::string Take() { return std::move(data_); }

 private:
  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) data_.push_back(static_cast<char>(value | 0x80));
    data_.push_back(static_cast<char>(value));
  }
  std::string data_;
};

// Reads field after field; `ok` is false after something that is no message.
class Reader {
 public:
  explicit Reader(absl::string_view data) : rest_(data) {}

  bool Next() {
    if (rest_.empty() || !ok_) return false;
    const uint64_t key = Varint();
    field = static_cast<uint32_t>(key >> 3);
    number = 0;
    bytes = {};
    switch (key & 7) {
      case kVarint:
        number = static_cast<int64_t>(Varint());
        break;
      case kBytes:
        bytes = Take(Varint());
        break;
      case kFixed64:
        Take(8);
        break;
      case kFixed32:
        Take(4);
        break;
      default:
        ok_ = false;
    }
    return ok_;
  }
  bool ok() const { return ok_; }

  uint32_t field = 0;
  int64_t number = 0;
  absl::string_view bytes;

 private:
  absl::string_view Take(uint64_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      return {};
    }
    const absl::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const absl::string_view byte = Take(1);
      if (byte.empty()) return 0;
      value |= static_cast<uint64_t>(byte[0] & 0x7f) << shift;
      if ((byte[0] & 0x80) == 0) return value;
    }
    ok_ = false;
    return 0;
  }

  absl::string_view rest_;
  bool ok_ = true;
};

std::string EncodePair(absl::string_view first, absl::string_view second) {
  Writer writer;
  writer.Text(1, first);
  writer.Text(2, second);
  return writer.Take();
}

void EncodeFlags(const CriuOpts& opts, Writer* writer) {
  writer->Flag(3, opts.leave_running);
  writer->Flag(4, opts.ext_unix_sk);
  writer->Flag(5, opts.tcp_established);
  writer->Flag(6, opts.evasive_devices);
  writer->Flag(7, opts.shell_job);
  writer->Flag(8, opts.file_locks);
  writer->Flag(12, opts.notify_scripts);
  writer->Flag(15, opts.track_mem);
  writer->Flag(16, opts.auto_dedup);
  writer->Flag(18, opts.link_remap);
  writer->Flag(26, opts.rst_sibling);
  writer->Flag(46, opts.tcp_skip_in_flight);
  writer->Flag(50, opts.orphan_pts_master);
}

void EncodeLists(const CriuOpts& opts, Writer* writer) {
  for (const auto& [key, value] : opts.ext_mnt) writer->Text(23, EncodePair(key, value));
  for (const auto& [controller, path] : opts.cg_root) {
    Writer root;
    root.SomeText(1, controller);
    root.Text(2, path);
    writer->Text(25, root.Take());
  }
  for (const auto& [key, fd] : opts.inherit_fd) {
    Writer inherit;
    inherit.Text(1, key);
    inherit.Number(2, fd);
    writer->Text(27, inherit.Take());
  }
  for (const std::string& external : opts.external) writer->Text(37, external);
  for (const auto& [type, file] : opts.join_ns) writer->Text(39, EncodePair(type, file));
}

std::string EncodeOpts(const CriuOpts& opts) {
  constexpr int kLogLevel = 4;  // with debugging messages, which is what people ask for when it fails
  Writer writer;
  writer.Number(1, opts.images_dir_fd);
  if (opts.pid != 0) writer.Number(2, opts.pid);
  EncodeFlags(opts, &writer);
  writer.Number(9, kLogLevel);
  writer.SomeText(10, opts.log_file);
  if (!opts.page_server_address.empty()) {
    Writer server;
    server.Text(1, opts.page_server_address);
    server.Number(2, opts.page_server_port);
    writer.Text(11, server.Take());
  }
  writer.SomeText(13, opts.root);
  writer.SomeText(14, opts.parent_img);
  if (opts.work_dir_fd >= 0) writer.Number(17, opts.work_dir_fd);
  EncodeLists(opts, &writer);
  writer.Flag(24, true);  // manage_cgroups: what the mode is called for versions before it
  writer.Number(34, static_cast<int64_t>(opts.manage_cgroups_mode));
  if (opts.empty_ns != 0) writer.Number(38, opts.empty_ns);
  writer.SomeText(44, opts.freeze_cgroup);
  writer.SomeText(51, opts.config_file);
  writer.SomeText(53, opts.lsm_profile);
  writer.SomeText(63, opts.lsm_mount_context);
  return writer.Take();
}

void DecodeVersion(absl::string_view data, CriuResponse* response) {
  int64_t major = 0, minor = 0, sublevel = 0;
  for (Reader reader(data); reader.Next();) {
    if (reader.field == 1) major = reader.number;
    if (reader.field == 2) minor = reader.number;
    if (reader.field == 4) sublevel = reader.number;
  }
  response->version = static_cast<int>(major * 10000 + minor * 100 + sublevel);
}

void DecodeNested(const Reader& field, CriuResponse* response) {
  for (Reader reader(field.bytes); reader.Next();) {
    if (field.field == 4 && reader.field == 1) response->pid = static_cast<pid_t>(reader.number);
    if (field.field == 5 && reader.field == 1) response->notify_script = std::string(reader.bytes);
    if (field.field == 5 && reader.field == 2) response->pid = static_cast<pid_t>(reader.number);
    if (field.field == 8 && reader.field == 1) response->mem_track = reader.number != 0;
  }
}

}  // namespace

std::string EncodeCriuRequest(const CriuRequest& request) {
  Writer writer;
  writer.Number(1, static_cast<int64_t>(request.type));
  switch (request.type) {
    case CriuRequestType::kDump:
    case CriuRequestType::kPreDump:
    case CriuRequestType::kRestore:
      writer.Text(2, EncodeOpts(request.opts));
      break;
    case CriuRequestType::kNotify:
      writer.Number(3, 1);
      break;
    case CriuRequestType::kFeatureCheck: {
      Writer features;
      features.Flag(1, request.check_mem_track);
      writer.Text(5, features.Take());
      break;
    }
    case CriuRequestType::kVersion:
      break;
  }
  return writer.Take();
}

absl::StatusOr<CriuResponse> DecodeCriuResponse(absl::string_view data) {
  CriuResponse response;
  Reader reader(data);
  while (reader.Next()) {
    switch (reader.field) {
      case 1:
        response.type = static_cast<uint32_t>(reader.number);
        break;
      case 2:
        response.success = reader.number != 0;
        break;
      case 4:
      case 5:
      case 8:
        DecodeNested(reader, &response);
        break;
      case 7:
        response.cr_errno = static_cast<int32_t>(reader.number);
        break;
      case 9:
        response.message = std::string(reader.bytes);
        break;
      case 10:
        DecodeVersion(reader.bytes, &response);
        break;
      default:
        break;
    }
  }
  if (!reader.ok()) return absl::InternalError("criu sent what is no message of its protocol");
  return response;
}

}  // namespace gantry::container
