// client.h by lines: what a Python program says to a daemon, without its own gRPC.
//
//   rpc-agent SOCKET NAMESPACE RUNTIME           calls, one a line, fields separated by tabs
//   rpc-agent SOCKET NAMESPACE RUNTIME events    exits until the stream ends
//
// Calls:   prepare ID PARENT · unprepare ID · snapshots · record ID ARG... · unrecord ID · records
//          create ID OUT · start ID EXEC · kill ID EXEC SIGNAL · wait ID EXEC · delete ID EXEC
//          exec ID EXEC ARG... · state ID EXEC · list                          (EXEC empty: init)
//          sandbox create|start|stop|shutdown|delete|state|wait ID · sandboxes · join SANDBOX ID ARG... (a record)
// Answers: "ok" and fields (a process: CONTAINER ID PID STATUS EXIT_STATUS EXITED_AT_NS; lists: one item a field, of a
//          process with commas), or "error" CODE MESSAGE.
// Events:  "ready", then "exit" and a process's fields, at last "end" and the message.
#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "test/client/client.h"

namespace gantry::client {
namespace {

using Words = std::vector<std::string>;

std::string Fields(const Process& process, const char* separator) {
  return absl::StrCat(process.container_id, separator, process.id, separator, process.pid, separator,
                      process.status, separator, process.exit_status, separator, process.exited_at_ns);
}

class Agent {
 public:
  explicit Agent(Client* client) : client_(*client) {}

  std::string Answer(const std::string& line) {
    Words words = absl::StrSplit(line, '\t');
    words.resize(std::max<size_t>(words.size(), 4));
    out_.clear();
    const grpc::Status status = Dispatch(words, Words(words.begin() + 2, words.end()));
    if (status.ok())
      return absl::StrJoin(out_, "\t", [](std::string* to, const std::string& word) { *to += word; });
    return absl::StrCat("error\t", static_cast<int>(status.error_code()), "\t",
                        absl::StrReplaceAll(status.error_message(), {{"\n", " "}, {"\t", " "}}));
  }

 private:
  grpc::Status Dispatch(const Words& words, Words rest);
  grpc::Status OfProcess(const Words& words);
  grpc::Status Lists(const std::string& verb);
  grpc::Status OfSandbox(const std::string& verb, const std::string& id);

  Client& client_;
  Words out_;
};

grpc::Status Agent::Lists(const std::string& verb) {
  if (verb == "snapshots") return client_.Snapshots(&out_);
  if (verb == "records") return client_.Records(&out_);
  if (verb == "sandboxes") return client_.Sandboxes(&out_);
  std::vector<Process> processes;
  const grpc::Status status = client_.List(&processes);
  for (const Process& process : processes) out_.push_back(Fields(process, ","));
  return status;
}

grpc::Status Agent::OfSandbox(const std::string& verb, const std::string& id) {
  if (verb == "create") return client_.CreateSandbox(id);
  if (verb == "stop") return client_.StopSandbox(id);
  if (verb == "shutdown") return client_.ShutdownSandbox(id);
  if (verb == "delete") return client_.DeleteSandbox(id);
  uint32_t number = 0;
  std::string state;
  grpc::Status status(grpc::StatusCode::UNIMPLEMENTED, "rpc-agent: no such call: sandbox " + verb);
  if (verb == "start") status = client_.StartSandbox(id, &number);
  if (verb == "wait") status = client_.WaitSandbox(id, &number);
  if (verb == "state") status = client_.SandboxState(id, &state, &number);
  out_ = {absl::StrCat(number), state};
  return status;
}

grpc::Status Agent::OfProcess(const Words& words) {
  const std::string& verb = words[0];
  const std::string& id = words[1];
  const std::string& second = words[2];
  Process process;
  process.container_id = id;
  process.id = second.empty() ? id : second;
  grpc::Status status(grpc::StatusCode::UNIMPLEMENTED, "rpc-agent: no such call: " + verb);
  if (verb == "create") status = client_.Create(id, second, &process);
  if (verb == "start") status = client_.Start(id, second, &process);
  if (verb == "wait") status = client_.Wait(id, second, &process);
  if (verb == "delete") status = client_.Delete(id, second, &process);
  if (verb == "state") status = client_.State(id, second, &process);
  out_ = absl::StrSplit(Fields(process, "\t"), '\t');
  return status;
}

// Words that a line lacks are empty; arguments end before the first empty one.
grpc::Status Agent::Dispatch(const Words& words, Words rest) {
  const std::string& verb = words[0];
  while (!rest.empty() && rest.back().empty()) rest.pop_back();
  if (verb == "snapshots" || verb == "records" || verb == "sandboxes" || verb == "list") return Lists(verb);
  if (verb == "sandbox") return OfSandbox(words[1], words[2]);
  if (verb == "join") return client_.Record(words[2], Words(rest.begin() + 1, rest.end()), words[1]);
  if (verb == "prepare") return client_.Prepare(words[1], words[2]);
  if (verb == "unprepare") return client_.Unprepare(words[1]);
  if (verb == "record") return client_.Record(words[1], rest);
  if (verb == "unrecord") return client_.Unrecord(words[1]);
  if (verb == "exec") return client_.Exec(words[1], words[2], Words(rest.begin() + 1, rest.end()));
  if (verb == "kill") {
    uint32_t signal = 0;
    if (!absl::SimpleAtoi(words[3], &signal)) {
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "rpc-agent: a signal is a number");
    }
    return client_.Kill(words[1], words[2], signal);
  }
  return OfProcess(words);
}

void Say(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

void Watch(Client* client) {
  const grpc::Status status = client->WatchExits([] { Say("ready"); },
                                                 [](const Process& exit) {
                                                   Say(absl::StrCat("exit\t", Fields(exit, "\t")));
                                                   return true;
                                                 });
  Say(absl::StrCat("end\t", status.error_message()));
}

}  // namespace
}  // namespace gantry::client

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fputs("usage: rpc-agent SOCKET NAMESPACE RUNTIME [events]\n", stderr);
    return 2;
  }
  gantry::client::Client client({.socket = argv[1], .ns = argv[2], .runtime = argv[3]});
  if (argc > 4) {
    gantry::client::Watch(&client);
    return 0;
  }
  gantry::client::Agent agent(&client);
  std::string line;
  while (std::getline(std::cin, line)) {
    const std::string answer = agent.Answer(line);
    gantry::client::Say(answer.rfind("error\t", 0) == 0 ? answer : absl::StrCat("ok\t", answer));
  }
  return 0;
}
