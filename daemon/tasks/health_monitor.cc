#include "daemon/tasks/health_monitor.h"

#include <fcntl.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/any/any.h"
#include "api/proto/containerd/events/task.pb.h"
#include "api/proto/gantry/events/v1/health.pb.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::tasks {
namespace {

constexpr int kNoExitCode = -1;
constexpr absl::Duration kCallPatience = absl::Seconds(10);

google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  const int64_t nanos = absl::ToUnixNanos(time);
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(nanos / 1'000'000'000);
  timestamp.set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  return timestamp;
}

absl::Duration Since(int64_t nanos) { return absl::Nanoseconds(sys::MonotonicNanos() - nanos); }

// Events and JSON hold text: what is none becomes question marks.
std::string AsText(std::string output) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer, rapidjson::UTF8<>, rapidjson::UTF8<>, rapidjson::CrtAllocator,
                    rapidjson::kWriteValidateEncodingFlag>
      writer(buffer);
  if (writer.String(output.data(), static_cast<rapidjson::SizeType>(output.size()))) return output;
  std::replace_if(
      output.begin(), output.end(), [](char c) { return (c & 0x80) != 0; }, '?');
  return output;
}

}  // namespace

// Holds what one run of the command has open. Answers that come after Finish find it over.
struct HealthMonitor::Check {
  Check(sys::EventLoop* l, TaskKey k, uint64_t n) : loop(l), key(std::move(k)), number(n) {}
  ~Check() { Close(); }

  absl::Status Open(const std::string& path) {
    fifo = path;
    unlink(fifo.c_str());
    if (mkfifo(fifo.c_str(), 0600) != 0) return sys::ErrnoStatus("mkfifo", fifo);
    // For writing too: it has no end while the check has not.
    reader.reset(open(fifo.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!reader) return sys::ErrnoStatus("open", fifo);
    return loop->Add(reader.get(), EPOLLIN, [this](uint32_t) { Read(); });
  }
  void Read() {
    char buffer[4096];
    ssize_t size;
    while ((size = read(reader.get(), buffer, sizeof(buffer))) > 0) {
      const size_t room = kMaxHealthOutput - output.size();
      output.append(buffer, std::min(room, static_cast<size_t>(size)));
    }
  }
  void Close() {
    if (timer != 0) loop->Cancel(std::exchange(timer, 0));
    if (!reader.valid()) return;
    Read();
    loop->Remove(reader.get());
    reader.reset();
    unlink(fifo.c_str());
  }

  sys::EventLoop* const loop;
  const TaskKey key;
  const uint64_t number;
  std::string exec_id;
  std::string fifo;
  sys::UniqueFd reader;
  std::string output;
  absl::Time start;
  int64_t start_nanos = 0;
  uint64_t waiter = 0;
  sys::EventLoop::TimerId timer = 0;
  bool over = false;
};

HealthMonitor::HealthMonitor(Parts parts) : parts_(std::move(parts)) {
  subscription_ = parts_.exchange->Subscribe(
      [](const events::Envelope& envelope) {
        return envelope.topic() == "/tasks/start" || envelope.topic() == "/tasks/exit" ||
               envelope.topic() == "/tasks/delete";
      },
      [this](const std::shared_ptr<const events::Envelope>& envelope) {
        parts_.loop->Post([this, envelope] { OnEvent(*envelope); });
        return true;
      });
  parts_.pool->Submit([this] {
    absl::StatusOr<std::vector<TaskKey>> keys = parts_.list();
    parts_.loop->Post([this, keys = std::move(keys)] {
      if (!keys.ok())
        return log::Error("cannot look for health checks", {{"error", keys.status().ToString()}});
      for (const TaskKey& key : *keys) Look(key, /*starts=*/false);
    });
  });
}

HealthMonitor::~HealthMonitor() {
  parts_.exchange->Unsubscribe(subscription_);
  while (!patients_.empty()) End(TaskKey(patients_.begin()->first));
}

void HealthMonitor::OnEvent(const events::Envelope& envelope) {
  if (envelope.topic() == "/tasks/start") {
    const auto event = any::Unpack<containerd::events::TaskStart>(envelope.event());
    if (event.ok()) Look({envelope.namespace_(), event->container_id()}, /*starts=*/true);
  } else if (envelope.topic() == "/tasks/exit") {
    const auto event = any::Unpack<containerd::events::TaskExit>(envelope.event());
    if (event.ok() && event->id() == event->container_id())
      End({envelope.namespace_(), event->container_id()});
  } else {
    const auto event = any::Unpack<containerd::events::TaskDelete>(envelope.event());
    if (event.ok() && event->id().empty()) End({envelope.namespace_(), event->container_id()});
  }
}

// Begins the checks of a container that asks for some. One that starts runs; of others the shim is asked.
void HealthMonitor::Look(const TaskKey& key, bool starts) {
  End(key);
  parts_.pool->Submit([this, key, starts] {
    absl::StatusOr<std::optional<Asking>> asking = parts_.read(key);
    if (!asking.ok() || !asking->has_value()) return;
    parts_.loop->Post([this, key, starts, asking = **std::move(asking)] {
      if (starts) return Begin(key, asking);
      shim::StateRequest request;
      request.set_id(key.id);
      parts_.manager->Call(key, "State", request.SerializeAsString(), kCallPatience,
                           [this, key, asking](const absl::StatusOr<std::string>& answer) {
                             shim::StateResponse state;
                             if (!answer.ok() || !state.ParseFromString(*answer)) return;
                             if (state.status() == containerd::v1::types::RUNNING) Begin(key, asking);
                           });
    });
  });
}

void HealthMonitor::Begin(const TaskKey& key, const Asking& asking) {
  absl::StatusOr<HealthConfig> config = ParseHealthConfig(asking.check);
  absl::StatusOr<std::string> process = config.ok() ? HealthProcess(asking.spec, config->command)
                                                    : absl::StatusOr<std::string>(config.status());
  if (!process.ok()) {
    return log::Error("a container's health check is left out",
                      {{"ns", key.ns}, {"id", key.id}, {"error", process.status().ToString()}});
  }
  if (config->command.empty()) return;
  auto patient = std::make_unique<Patient>(*std::move(config));
  patient->process = *std::move(process);
  patient->born_nanos = sys::MonotonicNanos();
  Tell(key, patient->state);
  Arm(key, patient.get());
  patients_[key] = std::move(patient);
}

void HealthMonitor::End(const TaskKey& key) {
  const auto it = patients_.find(key);
  if (it == patients_.end()) return;
  if (it->second->timer != 0) parts_.loop->Cancel(it->second->timer);
  if (it->second->check != nullptr) {
    it->second->check->over = true;
    it->second->check->Close();
  }
  patients_.erase(it);
}

HealthMonitor::Patient* HealthMonitor::Find(const TaskKey& key, uint64_t number) {
  const auto it = patients_.find(key);
  return it == patients_.end() || it->second->number != number ? nullptr : it->second.get();
}

void HealthMonitor::Arm(const TaskKey& key, Patient* patient) {
  patient->timer =
      parts_.loop->RunAfter(patient->state.Pause(Since(patient->born_nanos)), [this, key, patient] {
        patient->timer = 0;
        Run(key);
      });
}

void HealthMonitor::Run(const TaskKey& key) {
  Patient* const patient = patients_.at(key).get();
  patient->number = next_++;
  auto check = std::make_shared<Check>(parts_.loop, key, patient->number);
  patient->check = check;
  check->exec_id = absl::StrCat("gantry-health-", check->number);
  check->start = sys::WallNow();
  check->start_nanos = sys::MonotonicNanos();
  const absl::Status opened =
      check->Open(absl::StrCat(parts_.manager->BundlePath(key), "/", check->exec_id, ".fifo"));
  if (!opened.ok()) {
    check->output = std::string(opened.message());
    return Finish(check, kNoExitCode);
  }
  shim::ExecProcessRequest request;
  request.set_id(key.id);
  request.set_exec_id(check->exec_id);
  request.set_stdout(check->fifo);
  request.set_stderr(check->fifo);
  any::PackJson(any::kRuntimeProcess, patient->process, request.mutable_spec());
  parts_.manager->Call(
      key, "Exec", request.SerializeAsString(), kCallPatience,
      [this, check](const absl::StatusOr<std::string>& answer) {
        if (check->over) return;
        if (answer.ok()) return Launch(check);
        if (absl::IsFailedPrecondition(answer.status()) || absl::IsNotFound(answer.status())) {
          return LeaveOut(check);
        }
        check->output = std::string(answer.status().message());
        Finish(check, kNoExitCode);
      });
}

// The container is paused, or has ended meanwhile.
void HealthMonitor::LeaveOut(const std::shared_ptr<Check>& check) {
  check->over = true;
  check->Close();
  shim::StateRequest request;
  request.set_id(check->key.id);
  parts_.manager->Call(check->key, "State", request.SerializeAsString(), kCallPatience,
                       [this, check](const absl::StatusOr<std::string>& answer) {
                         Patient* const patient = Find(check->key, check->number);
                         if (patient == nullptr) return;
                         shim::StateResponse state;
                         const bool ended = absl::IsNotFound(answer.status()) ||
                                            (answer.ok() && state.ParseFromString(*answer) &&
                                             state.status() == containerd::v1::types::STOPPED);
                         return ended ? End(check->key) : Arm(check->key, patient);
                       });
}

void HealthMonitor::Launch(const std::shared_ptr<Check>& check) {
  const Patient* const patient = Find(check->key, check->number);
  if (patient == nullptr) return;
  check->timer = parts_.loop->RunAfter(patient->config.timeout, [this, check] {
    check->timer = 0;
    OnTimeout(check);
  });
  shim::StartRequest request;
  request.set_id(check->key.id);
  request.set_exec_id(check->exec_id);
  parts_.manager->Call(
      check->key, "Start", request.SerializeAsString(), absl::InfiniteDuration(),
      [this, check](const absl::StatusOr<std::string>& answer) { OnLaunched(check, answer); });
}

void HealthMonitor::OnLaunched(const std::shared_ptr<Check>& check,
                               const absl::StatusOr<std::string>& answer) {
  if (check->over) return;
  if (!answer.ok()) {
    check->output = std::string(answer.status().message());
    return Finish(check, kNoExitCode);
  }
  check->waiter = parts_.manager->Wait(
      check->key, check->exec_id, [this, check](const absl::StatusOr<shim::WaitResponse>& ended) {
        if (check->over) return;
        if (!ended.ok()) check->output = std::string(ended.status().message());
        Finish(check, ended.ok() ? static_cast<int>(ended->exit_status()) : kNoExitCode);
      });
}

void HealthMonitor::OnTimeout(const std::shared_ptr<Check>& check) {
  const Patient* const patient = Find(check->key, check->number);
  if (check->over || patient == nullptr) return;
  shim::KillRequest request;
  request.set_id(check->key.id);
  request.set_exec_id(check->exec_id);
  request.set_signal(SIGKILL);
  parts_.manager->Call(check->key, "Kill", request.SerializeAsString(), kCallPatience,
                       [](const absl::StatusOr<std::string>&) {});
  check->Read();
  check->output = absl::StrCat("the health check took longer than ",
                               absl::FormatDuration(patient->config.timeout), ": ", check->output)
                      .substr(0, kMaxHealthOutput);
  Finish(check, kNoExitCode);
}

void HealthMonitor::Finish(const std::shared_ptr<Check>& check, int exit_code) {
  check->over = true;
  check->Close();
  if (check->waiter != 0) parts_.manager->CancelWait(check->key, check->exec_id, check->waiter);
  // One that was killed has to end first; then its exec goes.
  parts_.manager->Wait(check->key, check->exec_id,
                       [this, check](const absl::StatusOr<shim::WaitResponse>& ended) {
                         if (!ended.ok()) return;
                         shim::DeleteRequest request;
                         request.set_id(check->key.id);
                         request.set_exec_id(check->exec_id);
                         parts_.manager->Call(check->key, "Delete", request.SerializeAsString(),
                                              kCallPatience, [](const absl::StatusOr<std::string>&) {});
                       });
  Patient* const patient = Find(check->key, check->number);
  if (patient == nullptr) return;
  patient->check = nullptr;
  HealthResult result{check->start, sys::WallNow(), exit_code, AsText(check->output)};
  Report(check->key, patient, std::move(result));
  Arm(check->key, patient);
}

void HealthMonitor::Report(const TaskKey& key, Patient* patient, HealthResult result) {
  gantry::events::v1::HealthResult event;
  const HealthState::Status before = patient->state.status();
  event.set_container_id(key.id);
  event.set_exit_code(result.exit_code);
  *event.mutable_started_at() = ToTimestamp(result.start);
  *event.mutable_ended_at() = ToTimestamp(result.end);
  event.set_output(result.output);
  const bool news = patient->state.Record(std::move(result), Since(patient->born_nanos));
  event.set_status(std::string(patient->state.name()));
  event.set_changed(patient->state.status() != before);
  event.set_failing_streak(patient->state.failing_streak());
  if (news) Tell(key, patient->state);
  const absl::Status published = parts_.exchange->Publish(key.ns, kHealthTopic, event);
  if (!published.ok()) log::Error("cannot publish a health check", {{"error", published.ToString()}});
}

void HealthMonitor::Tell(const TaskKey& key, const HealthState& state) {
  parts_.pool->Submit([this, key, status = std::string(state.name()), json = state.ToJson()] {
    const absl::Status written = parts_.write(key, status, json);
    // A container may be gone by now.
    if (!written.ok() && !absl::IsNotFound(written)) {
      log::Error("cannot write a container's health", {{"id", key.id}, {"error", written.ToString()}});
    }
  });
}

}  // namespace gantry::tasks
