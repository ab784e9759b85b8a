"""Calls on a daemon through rpc-agent (agent.cc) or storage-agent: one process, one connection, one call at a time."""
import collections
import subprocess

NOT_FOUND, UNAVAILABLE = 5, 14

Process = collections.namedtuple("Process", "container id pid status exit_status exited_at")


def process(fields):
    """Of an answer's fields; the time of the exit in seconds."""
    container, name, pid, status, exit_status, exited_at = fields
    return Process(container, name, int(pid), status, int(exit_status), int(exited_at) / 1e9)


class RpcError(Exception):
    def __init__(self, call, code, message):
        super().__init__(f"{' '.join(map(str, call))}: code {code}: {message}")
        self.code = code


class Agent:
    """`command` is build/test/rpc-agent or storage-agent with its arguments. Belongs to one thread."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def call(self, *words):
        """The answer's fields; RpcError."""
        self.process.stdin.write("\t".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        kind, *fields = self.process.stdout.readline().rstrip("\n").split("\t")
        if kind == "ok":
            return fields
        if kind != "error":
            raise RuntimeError("the agent ended")
        raise RpcError(words, int(fields[0]), fields[1])

    def names(self, verb):
        """The answer of a call that lists names."""
        return {name for name in self.call(verb) if name}

    def tasks(self):
        """{container: Process} of the namespace."""
        found = [process(item.split(",")) for item in self.call("list") if item]
        return {task.container: task for task in found}

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
