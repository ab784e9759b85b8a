// A resident client that measures daemons over RPC, for test/bench/quick, test/bench/tasks and test/bench/storage.
//
//   rpc-life WHAT NAME=SOCKET,RUNTIME ... [--parent CHAIN_ID] [--namespace NS] [--rounds N] [--warmup N] [--workers N]
//
// WHAT, each on all sides in turn (A B, B A, ...) so that a slow moment of the machine hits both:
//   life     a container's whole life, and its steps
//   exec     Exec, Start, exit event, DeleteProcess in one container
//   kill     from kill(2) of a container's init to its exit event
//   start    N containers that sleep, by some workers: one figure, all of them; they stay
//   stop     what start left: SIGKILL, exit event, delete
//   list     from now until Tasks.List answers with N tasks
//   records  N containers' records by some workers: created, listed and filtered a few times, removed
//   churn    N records created and removed at once, by some workers
// One line of JSON on standard output: {"NAME": {"total": [ms, ...], "prepare": [...], ...}, ...}.
#include "test/client/client.h"

#include <signal.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/clock.h"

namespace gantry::bench {
namespace {

using client::Client;
using client::Process;

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "rpc-life: %s\n", message.c_str());
  std::_Exit(1);
}

bool WaitsForExits(const std::string& what) {
  return what == "life" || what == "exec" || what == "kill" || what == "start" || what == "stop";
}

constexpr int kListings = 5;

struct Flags {
  std::string what, parent, ns = "bench";
  int rounds = 50, warmup = 5, workers = 8;
};

class Side {
 public:
  Side(std::string name, const std::string& socket, const std::string& runtime, const Flags& flags)
      : name_(std::move(name)),
        flags_(flags),
        client_({.socket = socket, .ns = flags.ns, .runtime = runtime}) {
    if (WaitsForExits(flags.what)) Subscribe();
  }

  // One round; `keep` adds its times to the result.
  void Round(int round, bool keep);
  void Begin();
  void End();

  std::string Json() const {
    std::string out;
    for (const auto& [step, times] : times_) {
      std::string list;
      for (const double ms : times)
        absl::StrAppend(&list, list.empty() ? "" : ",", absl::StrFormat("%.4f", ms));
      absl::StrAppend(&out, out.empty() ? "" : ",", "\"", step, "\":[", list, "]");
    }
    return absl::StrCat("\"", name_, "\":{", out, "}");
  }

 private:
  void Subscribe();
  // Until the event of that process came. Each is awaited once.
  Process AwaitExit(const std::string& container, const std::string& id);

  void Check(const char* step, const grpc::Status& status) const {
    if (!status.ok()) Die(absl::StrCat(name_, ": ", step, ": ", status.error_message()));
  }
  // Runs `call`, which must succeed, and notes its time.
  template <typename Call>
  void Step(const char* step, Call call) {
    const int64_t start = sys::MonotonicNanos();
    const grpc::Status status = call();
    Note(step, start);
    Check(step, status);
  }
  void Note(const char* step, int64_t start) {
    const double ms = static_cast<double>(sys::MonotonicNanos() - start) / 1e6;
    if (!keep_) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    times_[step].push_back(ms);
  }

  void Make(const std::string& id, const std::vector<std::string>& args);
  void Life(const std::string& id);
  void Exec(const std::string& id);
  void Kill(const std::string& id);
  void Stop(const std::string& id, bool exited);
  // `work` of each container, by the workers; noted as one time.
  template <typename Work>
  void Each(const char* name, Work work);
  void Records();
  void AwaitTasks();

  const std::string name_;
  const Flags flags_;
  const std::string busy_ = "busy-" + name_;  // both sides have it at once, in one cgroup each
  Client client_;
  bool keep_ = false;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::map<std::pair<std::string, std::string>, Process> exits_;
  std::map<std::string, std::vector<double>> times_;
};

void Side::Subscribe() {
  bool ready = false;
  std::thread([this, &ready] {
    const grpc::Status status = client_.WatchExits(
        [this, &ready] {
          const std::lock_guard<std::mutex> lock(mutex_);
          ready = true;
          arrived_.notify_all();
        },
        [this](const Process& exit) {
          const std::lock_guard<std::mutex> lock(mutex_);
          exits_[{exit.container_id, exit.id}] = exit;
          arrived_.notify_all();
          return true;
        });
    Die(absl::StrCat(name_, ": the stream of events ended: ", status.error_message()));
  }).detach();
  std::unique_lock<std::mutex> lock(mutex_);
  arrived_.wait(lock, [&ready] { return ready; });
}

Process Side::AwaitExit(const std::string& container, const std::string& id) {
  std::unique_lock<std::mutex> lock(mutex_);
  arrived_.wait(lock, [&] { return exits_.count({container, id}) != 0; });
  return exits_.extract({container, id}).mapped();
}

void Side::Make(const std::string& id, const std::vector<std::string>& args) {
  Process process;
  Step("prepare", [&] { return client_.Prepare(id, flags_.parent); });
  Step("record", [&] { return client_.Record(id, args); });
  Step("create", [&] { return client_.Create(id, "", &process); });
  Step("start", [&] { return client_.Start(id, "", &process); });
}

void Side::Stop(const std::string& id, bool exited) {
  Process process;
  if (!exited) {
    Check("kill", client_.Kill(id, "", SIGKILL));
    AwaitExit(id, id);
  }
  Step("delete", [&] { return client_.Delete(id, "", &process); });
  Step("unprepare", [&] { return client_.Unprepare(id); });
  Step("unrecord", [&] { return client_.Unrecord(id); });
}

void Side::Life(const std::string& id) {
  const int64_t start = sys::MonotonicNanos();
  Make(id, {"/bin/true"});
  const int64_t waiting = sys::MonotonicNanos();
  const Process exit = AwaitExit(id, id);
  Note("exit", waiting);
  if (exit.exit_status != 0) Die(absl::StrCat(name_, ": exit status ", exit.exit_status));
  Stop(id, true);
  Note("total", start);
}

void Side::Exec(const std::string& id) {
  Process process;
  const int64_t start = sys::MonotonicNanos();
  Step("exec", [&] { return client_.Exec(busy_, id, {"/bin/true"}); });
  Step("start", [&] { return client_.Start(busy_, id, &process); });
  const int64_t waiting = sys::MonotonicNanos();
  AwaitExit(busy_, id);
  Note("exit", waiting);
  Step("delete", [&] { return client_.Delete(busy_, id, &process); });
  Note("total", start);
}

void Side::Kill(const std::string& id) {
  const bool keep = std::exchange(keep_, false);
  Make(id, {"/bin/sleep", "1000"});
  Process process;
  Check("state", client_.State(id, "", &process));
  keep_ = keep;
  const int64_t start = sys::MonotonicNanos();
  if (kill(static_cast<pid_t>(process.pid), SIGKILL) != 0) Die("kill(2) failed");
  AwaitExit(id, id);
  Note("total", start);
  keep_ = false;
  Stop(id, true);
}

template <typename Work>
void Side::Each(const char* name, Work work) {
  std::atomic<int> next = 0;
  std::vector<std::thread> workers;
  const int64_t start = sys::MonotonicNanos();
  for (int i = 0; i < flags_.workers; ++i) {
    workers.emplace_back([this, &next, &work] {
      for (int n = next++; n < flags_.rounds; n = next++) work(absl::StrCat("many-", n));
    });
  }
  for (std::thread& worker : workers) worker.join();
  keep_ = true;
  Note(name, start);
  keep_ = false;
}

void Side::Records() {
  Each("create", [this](const std::string& id) { Check("record", client_.Record(id, {"/bin/true"})); });
  keep_ = true;
  for (int i = 0; i < kListings; ++i) {
    size_t found = 0;
    Step("list", [&] { return client_.CountRecords("", &found); });
    if (found != static_cast<size_t>(flags_.rounds))
      Die(absl::StrCat(name_, ": ", found, " records are listed"));
    Step("filter", [&] { return client_.CountRecords("id==many-1", &found); });
    if (found != 1) Die(absl::StrCat(name_, ": ", found, " records pass the filter"));
  }
  Each("remove", [this](const std::string& id) { Check("unrecord", client_.Unrecord(id)); });
}

void Side::AwaitTasks() {
  const int64_t start = sys::MonotonicNanos();
  std::vector<Process> tasks;
  while (tasks.size() < static_cast<size_t>(flags_.rounds)) {
    tasks.clear();
    client_.List(&tasks);
  }
  keep_ = true;
  Note("total", start);
}

void Side::Begin() {
  if (flags_.what == "exec") Make(busy_, {"/bin/sleep", "1000"});
  if (flags_.what == "start") {
    Life("warm");
    Each("total", [this](const std::string& id) { Make(id, {"/bin/sleep", "1000"}); });
  }
  if (flags_.what == "stop") {
    Each("total", [this](const std::string& id) { Stop(id, false); });
  }
  if (flags_.what == "list") AwaitTasks();
  if (flags_.what == "records") Records();
  if (flags_.what == "churn") {
    Each("total", [this](const std::string& id) {
      Check("record", client_.Record(id, {"/bin/true"}));
      Check("unrecord", client_.Unrecord(id));
    });
  }
}

void Side::End() {
  if (flags_.what == "exec") Stop(busy_, false);
}

void Side::Round(int round, bool keep) {
  keep_ = keep;
  const std::string id = absl::StrCat(flags_.what, "-", round);
  if (flags_.what == "life") Life(id);
  if (flags_.what == "exec") Exec(id);
  if (flags_.what == "kill") Kill(id);
  keep_ = false;
}

using Sides = std::vector<std::unique_ptr<Side>>;

Flags Parse(int argc, char** argv, std::vector<std::vector<std::string>>* sides) {
  Flags flags;
  const std::set<std::string> known = {"life", "exec", "kill", "start", "stop", "list", "records", "churn"};
  std::map<std::string, std::string*> texts = {{"--parent", &flags.parent}, {"--namespace", &flags.ns}};
  std::map<std::string, int*> numbers = {
      {"--rounds", &flags.rounds}, {"--warmup", &flags.warmup}, {"--workers", &flags.workers}};
  if (argc > 1) flags.what = argv[1];
  for (int i = 2; i < argc; ++i) {
    const std::string word = argv[i];
    if (texts.count(word) != 0 && i + 1 < argc) {
      *texts[word] = argv[++i];
    } else if (numbers.count(word) != 0 && i + 1 < argc) {
      if (!absl::SimpleAtoi(argv[++i], numbers[word])) Die(absl::StrCat(word, " wants a number"));
    } else {
      sides->push_back(absl::StrSplit(word, absl::ByAnyChar("=,")));
      if (sides->back().size() != 3) sides->clear();
    }
  }
  if (known.count(flags.what) == 0 || sides->empty()) {
    Die("usage: rpc-life life|exec|kill|start|stop|list|records|churn NAME=SOCKET,RUNTIME ... [--parent "
        "CHAIN_ID] ...");
  }
  return flags;
}

void Measure(const Flags& flags, const Sides& sides) {
  for (const auto& side : sides) side->Begin();
  const bool in_rounds = flags.what == "life" || flags.what == "exec" || flags.what == "kill";
  for (int round = 0; in_rounds && round < flags.warmup + flags.rounds; ++round) {
    for (size_t i = 0; i < sides.size(); ++i) {
      const size_t turn = round % 2 == 0 ? i : sides.size() - 1 - i;
      sides[turn]->Round(round, round >= flags.warmup);
    }
  }
  for (const auto& side : sides) side->End();
  std::string out;
  for (const auto& side : sides) absl::StrAppend(&out, out.empty() ? "" : ",", side->Json());
  std::printf("{%s}\n", out.c_str());
}

}  // namespace
}  // namespace gantry::bench

int main(int argc, char** argv) {
  std::vector<std::vector<std::string>> typed;
  const gantry::bench::Flags flags = gantry::bench::Parse(argc, argv, &typed);
  gantry::bench::Sides sides;
  for (const std::vector<std::string>& side : typed) {
    sides.push_back(std::make_unique<gantry::bench::Side>(side[0], side[1], side[2], flags));
  }
  gantry::bench::Measure(flags, sides);
  std::fflush(stdout);
  std::_Exit(0);  // subscribers still read
}
