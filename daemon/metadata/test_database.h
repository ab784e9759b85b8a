// A metadata database and a blob store in a temporary directory, for tests.
#ifndef GANTRY_DAEMON_METADATA_TEST_DATABASE_H_
#define GANTRY_DAEMON_METADATA_TEST_DATABASE_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <memory>
#include <string>

#include "content/local_store.h"
#include "daemon/metadata/content.h"
#include "daemon/metadata/database.h"
#include "daemon/metadata/leases.h"
#include "runtime/sys/file.h"

namespace gantry::metadata {

inline filters::Filter Everything() { return *filters::Filter::Parse(""); }

class DatabaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-metadata-test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    Reopen();
  }
  void TearDown() override {
    Close();
    EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, dir_).ok());
  }
  virtual void Close() {
    content_.reset();
    files_.reset();
    database_.reset();
  }
  virtual void Reopen() {
    Close();
    auto database = Database::Open(dir_ + "/metadata");
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
    auto files = content::LocalStore::Create(dir_ + "/content");
    ASSERT_TRUE(files.ok()) << files.status();
    files_ = *std::move(files);
    content_ = std::make_unique<ContentStore>(database_.get(), files_.get(), policy_);
  }
  void UsePolicy(SharingPolicy policy) {
    policy_ = policy;
    Reopen();
  }

  content::Digest Put(const Scope& scope, const std::string& data, const Labels& labels = {}) {
    auto writer = content_->OpenWriter(scope, {.ref = "put-" + data.substr(0, 20)});
    EXPECT_TRUE(writer.ok()) << writer.status();
    EXPECT_TRUE((*writer)->Write(data).ok());
    const absl::Status status = (*writer)->Commit(0, std::nullopt, labels).status();
    EXPECT_TRUE(status.ok()) << status;
    return content::Digest::Of(data);
  }
  std::vector<std::string> Resources(const Scope& scope, const std::string& lease) {
    std::vector<std::string> result;
    auto resources = Leases(database_.get()).ListResources(scope, lease);
    EXPECT_TRUE(resources.ok()) << resources.status();
    for (const Resource& resource : *resources) result.push_back(resource.type() + " " + resource.id());
    return result;
  }
  void MakeLease(const Scope& scope, const std::string& id, const Labels& labels = {}) {
    Lease lease;
    lease.set_id(id);
    *lease.mutable_labels() = labels;
    const absl::Status status = Leases(database_.get()).Create(scope, lease).status();
    EXPECT_TRUE(status.ok()) << status;
  }

  SharingPolicy policy_ = SharingPolicy::kShared;
  std::string dir_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<content::Store> files_;
  std::unique_ptr<ContentStore> content_;
  const Scope ns_ = {"default", ""};
};

}  // namespace gantry::metadata

#endif  // GANTRY_DAEMON_METADATA_TEST_DATABASE_H_
