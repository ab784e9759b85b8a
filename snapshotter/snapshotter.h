// Snapshots: the file systems of images and containers, as a tree of layers.
//
// # The life of a snapshot
//
// A snapshotter keeps file system trees. Each is made on top of a parent, a tree that never changes again, or
// on top of nothing. What it stores per snapshot is the difference to the parent; how (a directory that
// overlayfs stacks on others, a full copy) is the implementation's business and shows only in the mounts that
// it returns.
//
//         Prepare(key, parent)                Commit(name, key)
//   (nothing) ───────────────▶ ACTIVE, by key ────────────────▶ COMMITTED, by name
//       │                         │ Remove(key)                    │ Remove(name), when it has no children
//       │ View(key, parent)       ▼                                ▼
//       └─────────▶ VIEW, by key ─▶ gone                          gone
//
// - An *active* snapshot is writable. A container runs on one; a layer is unpacked into one. Who prepared it
//   mounts it, changes it, unmounts it, and then commits or removes it.
// - A *view* shows a committed snapshot read-only. It can never be committed.
// - A *committed* snapshot is immutable and the only kind that can be a parent. It cannot be mounted itself:
//   take a view.
//
// # Vocabulary
//
// - *key*: what the caller calls an active snapshot or a view; *name*: what it calls a committed one. Both
//   are opaque, not empty, and share one space: a name cannot equal a living key. Commit ends the key and
//   begins the name; the storage behind both is the same, nothing is copied.
// - *parent*: the name of the committed snapshot below, or "".
// - *mounts*: what has to be mounted, in order, to see the tree. Mounting is the caller's part (the shim does
//   it inside the container's own mount namespace); a snapshotter never mounts anything. Mounts may be asked
//   for any number of times; an active snapshot must not be mounted writable twice at once.
// - *usage*: the bytes (blocks, not lengths) and inodes that a snapshot takes beyond its parent; a
//   hard-linked file counts once. Frozen at commit; measured on each call for an active one.
// - *labels*: the caller's. They are kept, and only those below "containerd.io/snapshot/" mean something here
//   (see kLabel…). Commit replaces the labels of the key by its own.
//
// An image of three layers, unpacked, and a container on it:
//
//   Prepare("extract-1", "")           apply layer 1 to its mounts   Commit("<chain 1>", "extract-1")
//   Prepare("extract-2", "<chain 1>")  apply layer 2                 Commit("<chain 2>", "extract-2")
//   Prepare("extract-3", "<chain 2>")  apply layer 3                 Commit("<chain 3>", "extract-3")
//   Prepare("web", "<chain 3>")        run                           Remove("web")
//
// # Guarantees
//
// - *Durable before visible*: when Commit returns OK, the tree and its record survive a power cut. An active
//   snapshot's record does too; its content is as durable as what its writer synced.
// - *Atomic*: each mutation is one synced write of the records. A caller may hand in further writes
//   (Companion) that happen in the same write or not at all. A failed call leaves records as
//   they were; directories that it made are removed, at the latest when the snapshotter is opened again.
// - *Remove never waits for the disk*: it makes the snapshot invisible; its directories are deleted in the
//   background, or by the next Cleanup.
//
// # Errors, equal in all implementations (SnapshotterSuite tests them)
//
//   NOT_FOUND            the key, name or parent does not exist
//   ALREADY_EXISTS       the key or name is taken, by a snapshot of whatever kind
//   INVALID_ARGUMENT     an empty key; a parent that is no committed snapshot (Prepare, View); a field
//                        of Update that cannot change; Commit with a parent other than the one that the snapshot has
//   FAILED_PRECONDITION  Mounts of a committed snapshot; Commit of what is not active; Remove of a parent
//
// containerd's interface and its behaviour are the model (core/snapshots in its repository), because its
// clients see it through the services.
#ifndef GANTRY_SNAPSHOTTER_SNAPSHOTTER_H_
#define GANTRY_SNAPSHOTTER_SNAPSHOTTER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "content/kv/kv.h"

namespace gantry::snapshotter {

// The values are the wire's (containerd.services.snapshots.v1.Kind).
enum class Kind : uint8_t { kUnknown = 0, kView = 1, kActive = 2, kCommitted = 3 };

// "view", "active", "committed", or "unknown".
absl::string_view KindName(Kind kind);

using Labels = std::map<std::string, std::string>;

// "uid-in-the-namespace:uid-on-the-host:count": whose files the tree's root becomes, and, if the snapshotter
// remaps, the idmap of the mounts.
inline constexpr absl::string_view kLabelUidMapping = "containerd.io/snapshot/uidmapping";
inline constexpr absl::string_view kLabelGidMapping = "containerd.io/snapshot/gidmapping";
// Given at Prepare: the name under which the snapshot will be committed. If that name exists already, Prepare
// answers ALREADY_EXISTS, and the caller saves itself the unpacking.
inline constexpr absl::string_view kLabelSnapshotRef = "containerd.io/snapshot.ref";

struct Info {
  Kind kind = Kind::kUnknown;
  std::string name;    // the key, or of a committed snapshot the name
  std::string parent;  // "" without one
  Labels labels;
  absl::Time created;
  absl::Time updated;
};

struct Usage {
  int64_t size_bytes = 0;
  int64_t inodes = 0;
};

// One step of mounting, in containerd's form: `options` are those of mount(8), flags ("ro", "rbind") and data
// ("lowerdir=…") mixed. `target` is a path below the place where the tree goes, mostly "".
struct Mount {
  std::string type;
  std::string source;
  std::string target;
  std::vector<std::string> options;
};

// What shall happen in the same write as a mutation, or not at all: a lease's reference to the snapshot, say.
struct Companion {
  // Records that `add` looks at or changes. They are held, with the snapshot's own, from before `add` until after
  // the write; the caller must hold no kv::RecordLock of its own.
  std::vector<kv::RecordName> locks;
  // Checks, and adds its writes. An error fails the whole mutation. Called once, when the mutation itself has
  // nothing more to complain about.
  std::function<absl::Status(kv::WriteBatch*)> add;
};

struct MutationOptions {
  Labels labels;
  Companion companion = {};
};

// Thread-safe: any method from any thread; calls for different keys do not wait for each other's disk I/O,
// and reads (Stat, Mounts, Walk) wait for nobody.
class Snapshotter {
 public:
  virtual ~Snapshotter() = default;

  // Every kind.
  virtual absl::StatusOr<Info> Stat(absl::string_view key) = 0;

  // Changes labels; everything else is immutable. `fieldpaths`: empty or "labels" replaces all of them by
  // info.labels; "labels.<key>" sets that one, or removes it when info.labels lacks it or has it empty.
  // Returns the info after the change.
  virtual absl::StatusOr<Info> Update(const Info& info, const std::vector<std::string>& fieldpaths) = 0;

  // Of an active snapshot: measured now, in a time that grows with its number of files.
  virtual absl::StatusOr<Usage> GetUsage(absl::string_view key) = 0;

  virtual absl::StatusOr<std::vector<Mount>> Mounts(absl::string_view key) = 0;

  // A writable tree that starts as `parent`, or empty (then its root is root's, 0755).
  virtual absl::StatusOr<std::vector<Mount>> Prepare(absl::string_view key, absl::string_view parent,
                                                     const MutationOptions& options) = 0;

  // The same, read-only.
  virtual absl::StatusOr<std::vector<Mount>> View(absl::string_view key, absl::string_view parent,
                                                  const MutationOptions& options) = 0;

  // Freezes active `key` as `name`. Nobody may be writing to it any more. The key is then free. On any error
  // the active snapshot stands unchanged. `parent`, when not empty, is put below a snapshot that was prepared
  // without one: so layers can be unpacked all at once and stacked afterwards.
  virtual absl::Status Commit(absl::string_view name, absl::string_view key, const MutationOptions& options,
                              absl::string_view parent = {}) = 0;

  virtual absl::Status Remove(absl::string_view key, const Companion& companion = {}) = 0;

  // Calls `visit` for each snapshot whose key or name begins with `prefix`, in byte order, all as they were
  // at one instant. A status other than OK from `visit` ends the walk and is returned. `visit` may call the
  // snapshotter.
  virtual absl::Status Walk(absl::string_view prefix,
                            const std::function<absl::Status(const Info&)>& visit) = 0;

  // Deletes what removed snapshots left on disk, and returns when it is gone.
  virtual absl::Status Cleanup() = 0;

  // Ends background work and releases what is held. A second call does nothing. After it, other calls are
  // FAILED_PRECONDITION.
  virtual absl::Status Close() = 0;
};

// How the daemon gives each containerd namespace its own keys: "<namespace>/<key>". A namespace holds no '/',
// so the first one ends it. An empty key stays empty ("no parent").
std::string ScopedKey(absl::string_view ns, absl::string_view key);
// The parts of a ScopedKey; views into `scoped`. False, and nothing changed, if it is none.
bool SplitScopedKey(absl::string_view scoped, absl::string_view* ns, absl::string_view* key);

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_SNAPSHOTTER_H_
