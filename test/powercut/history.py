"""What a client was told of the things that a daemon keeps, and what may therefore be there after a power cut.

A thing has a key (kind, name) and a value: None when it is absent. Every call that changes it is a step: begun at one
position, acknowledged at a later one or never. Positions are whatever the rig counts (entries of the write log); the
cut is at one of them.
"""
import time


class Step:
    def __init__(self, value, start):
        self.value, self.start, self.acked, self.when = value, start, None, None

    def acknowledge(self, position):
        self.acked, self.when = position, time.monotonic()


class History:
    """Of the things of one client, which makes one call at a time."""

    def __init__(self):
        self.base, self.steps = {}, {}  # {key: value}, {key: [Step]}
        self.trees = {}  # {name of a committed snapshot: (its directory, {path: content's hash})}
        self.parents = {}  # {key or name of a snapshot: name}

    def begin(self, key, value, position):
        step = Step(value, position)
        self.steps.setdefault(key, []).append(step)
        return step

    def forget(self, key):
        """Of what may come and go by itself from now on."""
        self.steps.pop(key, None)
        self.base.pop(key, None)

    def value(self, key):
        """As of the last acknowledged call."""
        acked = [step for step in self.steps.get(key, []) if step.acked is not None]
        return acked[-1].value if acked else self.base.get(key)

    def present(self, kind):
        """The names of a kind that are certainly there."""
        keys = set(self.base) | set(self.steps)
        return sorted(name for known, name in keys if known == kind and self.value((known, name)) is not None)

    def allowed(self, key, cut):
        """The values that the thing may have when the power failed after position `cut`."""
        values = [self.base.get(key)]
        for step in self.steps.get(key, []):
            if step.acked is not None and step.acked <= cut:
                values = [step.value]
            elif step.start <= cut:
                values.append(step.value)
        return values

    def told(self, key):
        """For a finding: the values with where and when (seconds of the monotonic clock) they were acknowledged."""
        return [(step.value, step.start, step.acked, step.when) for step in self.steps.get(key, [])]

    def keys(self):
        return set(self.base) | set(self.steps)

    def settle(self, reality):
        """What was found after a cut is what there is from now on."""
        self.base = {key: reality[key] for key in self.keys() if key in reality}
        self.steps = {}


def compare(histories, reality, cut):
    """What is missing, wrong, or there though nobody made it."""
    problems, known = [], set()
    for history in histories:
        for key in history.keys():
            known.add(key)
            allowed, found = history.allowed(key, cut), reality.get(key)
            if found not in allowed:
                kind, name = key
                problems.append(f"{kind} {name} is {found or 'missing'}; possible: {allowed}; "
                                f"calls since the last cut: {history.told(key)}")
    for kind, name in set(reality) - known:
        if kind != "blob":  # a blob's name is known to its writer only with the answer
            problems.append(f"{kind} {name} is there, and nobody made it")
    return problems
