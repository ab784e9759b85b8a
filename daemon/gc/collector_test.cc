#include "daemon/gc/collector.h"

#include <unistd.h>

#include <atomic>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "daemon/metadata/containers.h"
#include "daemon/metadata/images.h"
#include "daemon/metadata/namespaces.h"
#include "daemon/metadata/test_database.h"

namespace gantry::gc {
namespace {

using metadata::Container;
using metadata::Image;
using metadata::Labels;
using metadata::Scope;

// Snapshots in memory, with the one rule that matters: a parent cannot go before its children.
class FakeSnapshots : public Snapshots {
 public:
  absl::StatusOr<SnapshotMap> ReadAll() override { return map; }
  absl::StatusOr<std::vector<std::string>> HoldingsOf(absl::string_view) override {
    return std::vector<std::string>();
  }
  absl::Status DeleteFiles() override { return absl::OkStatus(); }
  absl::Status Remove(const Node& snapshot) override {
    for (const auto& [node, facts] : map) {
      if (SnapshotNode(node.ns, SplitSnapshot(node.key).snapshotter, facts.parent) == snapshot) {
        return absl::FailedPreconditionError("has children");
      }
    }
    return map.erase(snapshot) == 1 ? absl::OkStatus() : absl::NotFoundError("no such snapshot");
  }
  void Add(const std::string& key, const std::string& parent,
           std::map<std::string, std::string> labels = {}) {
    map[SnapshotNode("default", "overlayfs", key)] = {parent, std::move(labels), absl::UnixEpoch()};
  }
  std::set<std::string> Keys() const {
    std::set<std::string> keys;
    for (const auto& [node, facts] : map) keys.insert(std::string(SplitSnapshot(node.key).key));
    return keys;
  }
  SnapshotMap map;
};

class CollectorTest : public metadata::DatabaseTest {
 protected:
  void Reopen() override {
    metadata::DatabaseTest::Reopen();
    collector_ = std::make_unique<Collector>(database_.get(), content_.get(), &snapshots_, &exchange_);
  }
  void Close() override {
    collector_.reset();
    metadata::DatabaseTest::Close();
  }
  Collected Collect() {
    auto collected = collector_->Collect();
    EXPECT_TRUE(collected.ok()) << collected.status();
    return collected.value_or(Collected{});
  }
  bool Has(const content::Digest& digest) {
    const bool record = content_->Info(ns_, digest).ok();
    EXPECT_EQ(record, files_->Info(digest).ok()) << "record and file disagree";
    return record;
  }
  static Labels OneLabel(const std::string& key, const std::string& value) {
    Labels labels;
    labels[key] = value;
    return labels;
  }
  void MakeImage(const std::string& name, const content::Digest& target, const Labels& labels = {}) {
    Image image;
    image.set_name(name);
    image.mutable_target()->set_digest(target.ToString());
    image.mutable_target()->set_media_type("application/vnd.oci.image.manifest.v1+json");
    image.mutable_target()->set_size(1);
    *image.mutable_labels() = labels;
    ASSERT_TRUE(metadata::Images(database_.get()).Create(ns_, image, std::nullopt).ok());
  }
  void Lease(const std::string& lease, const std::string& type, const std::string& id) {
    ASSERT_TRUE(
        metadata::Leases(database_.get()).AddResource(ns_, lease, metadata::MakeResource(type, id)).ok());
  }

  // Any number of writers of the same bytes, each under a ref of its own.
  content::Digest PutOrFind(const Scope& scope, const std::string& data, int writer_id) {
    for (;;) {
      auto writer = content_->OpenWriter(scope, {.ref = absl::StrCat("w", writer_id)});
      EXPECT_TRUE(writer.ok()) << writer.status();
      EXPECT_TRUE((*writer)->Write(data).ok());
      const absl::Status status = (*writer)->Commit(0, std::nullopt, {}).status();
      if (absl::IsUnavailable(status)) continue;  // collected under our feet: as a client would, once more
      EXPECT_TRUE(status.ok() || absl::IsAlreadyExists(status)) << status;
      return content::Digest::Of(data);
    }
  }

  FakeSnapshots snapshots_;
  events::Exchange exchange_;
  std::unique_ptr<Collector> collector_;
};

TEST_F(CollectorTest, UnreferencedContentGoesRecordAndFile) {
  const content::Digest digest = Put(ns_, "nobody");
  ASSERT_TRUE(Has(digest));
  const Collected collected = Collect();
  EXPECT_EQ(collected.records, 1);
  EXPECT_EQ(collected.files, 1);
  EXPECT_FALSE(Has(digest));
  EXPECT_EQ(Collect().records, 0);
}

TEST_F(CollectorTest, ImageKeepsItsTargetAndWhatLabelsNameFromThere) {
  const content::Digest layer = Put(ns_, "layer");
  const content::Digest manifest =
      Put(ns_, "manifest", OneLabel("containerd.io/gc.ref.content.0", layer.ToString()));
  snapshots_.Add("chain", "");
  snapshots_.Add("chain2", "chain");
  const content::Digest config =
      Put(ns_, "config", OneLabel("containerd.io/gc.ref.snapshot.overlayfs", "chain2"));
  MakeImage("i", manifest, OneLabel("containerd.io/gc.ref.content.config", config.ToString()));
  Collect();
  EXPECT_TRUE(Has(layer) && Has(manifest) && Has(config));
  EXPECT_EQ(snapshots_.Keys(), (std::set<std::string>{"chain", "chain2"}));
  ASSERT_TRUE(metadata::Images(database_.get()).Delete(ns_, "i", "").ok());
  Collect();
  EXPECT_FALSE(Has(layer) || Has(manifest) || Has(config));
  EXPECT_TRUE(snapshots_.Keys().empty());
}

TEST_F(CollectorTest, ContainerKeepsItsSnapshots) {
  snapshots_.Add("base", "");
  snapshots_.Add("c1", "base");
  snapshots_.Add("other", "base");
  Container container;
  container.set_id("c1");
  container.mutable_runtime()->set_name("r");
  container.mutable_spec();
  container.set_snapshotter("overlayfs");
  container.set_snapshot_key("c1");
  ASSERT_TRUE(metadata::Containers(database_.get()).Create(ns_, container).ok());
  Collect();
  EXPECT_EQ(snapshots_.Keys(), (std::set<std::string>{"base", "c1"}));
  ASSERT_TRUE(metadata::Containers(database_.get()).Delete(ns_, "c1").ok());
  Collect();
  EXPECT_TRUE(snapshots_.Keys().empty());
}

TEST_F(CollectorTest, LeaseKeepsUntilItIsDeletedOrExpires) {
  MakeLease(ns_, "l");
  MakeLease(ns_, "late", OneLabel("containerd.io/gc.expire", "2001-01-01T00:00:00Z"));
  const content::Digest leaf = Put(ns_, "leaf");
  const content::Digest top = Put(ns_, "top", OneLabel("containerd.io/gc.ref.content.0", leaf.ToString()));
  const content::Digest expired = Put(ns_, "expired");
  Lease("l", "content", top.ToString());
  Lease("late", "content", expired.ToString());
  Collect();
  EXPECT_TRUE(Has(top) && Has(leaf));
  EXPECT_FALSE(Has(expired));
  EXPECT_EQ(metadata::Leases(database_.get()).List(ns_, metadata::Everything())->size(), 1u);
  ASSERT_TRUE(metadata::Leases(database_.get()).Delete(ns_, "l").ok());
  Collect();
  EXPECT_FALSE(Has(top) || Has(leaf));
}

TEST_F(CollectorTest, FlatLeaseKeepsOnlyWhatItNamesAndParents) {
  MakeLease(ns_, "flat", OneLabel("containerd.io/gc.flat", "1"));
  const content::Digest leaf = Put(ns_, "leaf");
  const content::Digest top = Put(ns_, "top", OneLabel("containerd.io/gc.ref.content.0", leaf.ToString()));
  snapshots_.Add("base", "");
  snapshots_.Add("s", "base");
  Lease("flat", "content", top.ToString());
  Lease("flat", "snapshots/overlayfs", "s");
  Collect();
  EXPECT_TRUE(Has(top));
  EXPECT_FALSE(Has(leaf));
  EXPECT_EQ(snapshots_.Keys().size(), 2u);
}

TEST_F(CollectorTest, RootLabelAndBackwardReference) {
  const content::Digest root = Put(ns_, "root", OneLabel("containerd.io/gc.root", "now"));
  const content::Digest attached =
      Put(ns_, "attached", OneLabel("containerd.io/gc.bref.content", root.ToString()));
  snapshots_.Add("s", "", {{"containerd.io/gc.root", "1"}});
  Collect();
  EXPECT_TRUE(Has(root) && Has(attached));
  EXPECT_EQ(snapshots_.Keys().size(), 1u);
}

TEST_F(CollectorTest, ExpiredImageGoesAndIsPublished) {
  std::vector<std::string> topics;
  exchange_.Subscribe(nullptr, [&](std::shared_ptr<const events::Envelope> envelope) {
    topics.push_back(envelope->topic());
    return true;
  });
  MakeImage("old", Put(ns_, "x"), OneLabel("containerd.io/gc.expire", "2001-01-01T00:00:00Z"));
  Collect();
  EXPECT_FALSE(metadata::Images(database_.get()).Get(ns_, "old").ok());
  EXPECT_EQ(topics, (std::vector<std::string>{"/images/delete"}));
}

TEST_F(CollectorTest, BlobOfTwoNamespacesStaysForTheOther) {
  const Scope other = {"other", ""};
  const content::Digest digest = Put(ns_, "x", OneLabel("containerd.io/gc.root", "1"));
  Put(other, "x");
  Collect();
  EXPECT_TRUE(Has(digest));
  EXPECT_FALSE(content_->Info(other, digest).ok());
}

TEST_F(CollectorTest, DeletedBlobsFileGoesWithTheNextCollection) {
  const content::Digest digest = Put(ns_, "x");
  ASSERT_TRUE(content_->Delete(ns_, digest).ok());
  EXPECT_TRUE(files_->Info(digest).ok());
  Collect();
  EXPECT_FALSE(files_->Info(digest).ok());
}

TEST_F(CollectorTest, FilesThatNeverGotARecordGoAtTheFirstCollection) {
  {
    auto half = files_->OpenWriter({.ref = "default/lost"});
    ASSERT_TRUE((*half)->Write("half").ok());
    auto whole = files_->OpenWriter({.ref = "default/whole"});
    ASSERT_TRUE((*whole)->Write("whole").ok());
    ASSERT_TRUE((*whole)->Commit(0, std::nullopt).ok());
  }
  Reopen();
  Collect();
  EXPECT_TRUE(files_->ListStatuses()->empty());
  EXPECT_FALSE(files_->Info(content::Digest::Of("whole")).ok());
}

TEST_F(CollectorTest, IngestsInTheirTimeStayWithWhatTheyExpect) {
  const content::Digest digest = Put({"other", ""}, "shared");
  auto open = content_->OpenWriter(ns_, {.ref = "r"});
  ASSERT_TRUE((*open)->Write("abc").ok());
  auto sharing = content_->OpenWriter(ns_, {.ref = "s", .expected = digest});
  ASSERT_TRUE(sharing.ok());
  Collect();
  EXPECT_EQ(content_->Status(ns_, "r")->offset, 3);
  EXPECT_TRUE(files_->Info(digest).ok());
  EXPECT_TRUE((*sharing)->Commit(0, digest, {}).ok());
  EXPECT_TRUE((*open)->Commit(0, std::nullopt, {}).ok());
}

TEST_F(CollectorTest, LeasedIngestGoesWithItsLease) {
  MakeLease(ns_, "l");
  const Scope leased = {"default", "l"};
  { auto writer = content_->OpenWriter(leased, {.ref = "r"}); }
  Collect();
  EXPECT_TRUE(content_->Status(ns_, "r").ok());
  ASSERT_TRUE(metadata::Leases(database_.get()).Delete(ns_, "l").ok());
  Collect();
  EXPECT_FALSE(content_->Status(ns_, "r").ok());
  EXPECT_TRUE(files_->ListStatuses()->empty());
}

// Each worker takes a lease, writes under it, and must find its blobs as long as the lease stands.
TEST_F(CollectorTest, NeverTakesWhatALeaseHoldsWhileEverybodyWrites) {
  std::atomic<bool> stop{false};
  std::thread collecting([&] {
    while (!stop) Collect();
  });
  std::vector<std::thread> workers;
  for (int w = 0; w < 3; ++w) {
    workers.emplace_back([&, w] {
      for (int i = 0; i < 15; ++i) {
        const std::string lease = absl::StrCat("l", w, "-", i);
        const Scope leased = {"default", lease};
        MakeLease(ns_, lease);
        const content::Digest leaf = PutOrFind(leased, absl::StrCat("leaf ", i % 4), w);
        const content::Digest own = PutOrFind(leased, absl::StrCat("own ", w, " ", i), w);
        EXPECT_TRUE(content_->Open(ns_, leaf).ok()) << lease;
        EXPECT_TRUE(content_->Open(ns_, own).ok()) << lease;
        EXPECT_TRUE(metadata::Leases(database_.get()).Delete(ns_, lease).ok());
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  stop = true;
  collecting.join();
  Collect();
  EXPECT_FALSE(content_->Info(ns_, content::Digest::Of("leaf 0")).ok());
}

}  // namespace
}  // namespace gantry::gc
