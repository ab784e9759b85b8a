// Space for the record store's log, claimed before RocksDB writes to it. RocksDB does not get over a failed write of its
// log (Debian's 7.8, which is built with assertions, aborts when it touches that log again), so a full disk has to be
// met before: a batch is handed to RocksDB only when the blocks that it will fill are allocated. Private to content/kv.
#ifndef GANTRY_CONTENT_KV_LOG_SPACE_H_
#define GANTRY_CONTENT_KV_LOG_SPACE_H_

#include <cstddef>
#include <functional>
#include <memory>

namespace rocksdb {
class Env;
}  // namespace rocksdb

namespace gantry::kv {

// Thread-safe. It must outlive the database that its env() was given to.
class LogSpace {
 public:
  // `make_room` is called when a new log finds no space: true if there may be some now. It must not come back here.
  static std::unique_ptr<LogSpace> Create(std::function<bool()> make_room);
  virtual ~LogSpace() = default;

  // What RocksDB opens its files through. It allocates logs by need rather than by megabytes, and gives back what
  // logs that were not closed hold beyond their end.
  virtual rocksdb::Env* env() = 0;

  // Allocates blocks for a batch of so many bytes, whichever log it goes to, and `spare_bytes` more that stay free behind
  // it. False, and nothing is claimed: the disk is full. On a file system that cannot allocate it is always true.
  virtual bool Claim(size_t batch_bytes, size_t spare_bytes) = 0;
  // Ends a claim, once the batch was written or given up.
  virtual void Settle(size_t batch_bytes) = 0;
};

}  // namespace gantry::kv

#endif  // GANTRY_CONTENT_KV_LOG_SPACE_H_
