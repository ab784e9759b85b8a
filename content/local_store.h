// The Store on a local file system. See store.h for the layout and the promises.
//
// Cost of a small blob: one fdatasync of its data and one fsync of the directory, which commits that run at
// the same time share.
#ifndef GANTRY_CONTENT_LOCAL_STORE_H_
#define GANTRY_CONTENT_LOCAL_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "content/store.h"

namespace gantry::content {

class LocalStore : public Store {
 public:
  // `root` (made with mode 0700 if it is missing) must belong to this process alone: the daemon's root lock
  // sees to it.
  static absl::StatusOr<std::unique_ptr<Store>> Create(const std::string& root);
};

}  // namespace gantry::content

#endif  // GANTRY_CONTENT_LOCAL_STORE_H_
