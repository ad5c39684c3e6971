"""The other process: reads jobs from its standard input, does each in a fork of its own, answers in JSON."""

import importlib.util
import json
import os
import pickle
import sys
import traceback
import types
import warnings

from keepstate import codecs
from keepstate._model.parts import Member, StoredGroup
from keepstate.errors import KeepstateError

for library in ("numpy", "pandas", "sklearn"):
    if importlib.util.find_spec(library):
        __import__(library)


class Reader:
    def __init__(self, part):
        self._bytes, self.itemsize, self.writable = part

    @property
    def nbytes(self):
        return len(self._bytes)

    def read_into(self, memory):
        memory[:] = self._bytes


class Store:
    """Decodes groups on demand, as a restorer does."""

    def __init__(self, groups, namespace):
        self.namespace = namespace
        self.groups = {
            key: (tuple(Member(*m) for m in members), stream, [Reader(part) for part in parts])
            for key, members, _, stream, parts in groups
        }
        self.key_of = {m.name: key for key, (members, _, _) in self.groups.items() for m in members}
        self.needs = {key: needs for key, _, needs, _, _ in groups}
        self.decoded = {}

    def value(self, name):
        key = self.key_of[name]
        if key not in self.decoded:
            members, stream, parts = self.groups[key]
            needed = {m.name for k in self.needs[key] for m in self.groups[k][0]}

            def resolve(wanted):
                assert wanted in needed, f"{key} asks for {wanted}, which it does not say it needs"
                return self.value(wanted)

            stored = StoredGroup(key, members, stream, parts, resolve)
            self.decoded[key] = codecs.decode(stored, namespace=self.namespace)
        return self.decoded[key][name]


def main_module():
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    return vars(module)


def work(job):
    namespace = main_module()
    with open(job["state"], "rb") as file:
        groups = pickle.load(file)
    exec(job.get("before", ""), {})
    store = Store(groups, namespace)
    failed = {}
    for members, _, _ in store.groups.values():
        for member in members:
            if member.bind:
                try:
                    namespace[member.name] = store.value(member.name)
                except KeepstateError as error:
                    failed[member.name] = error
    namespace["_failed"], namespace["_store"] = failed, store
    if not job.get("may_fail"):
        for error in failed.values():
            raise error
    exec(compile(job["code"], "<check>", "exec"), namespace)


def main():
    for line in sys.stdin:
        job = json.loads(line)
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            child = os.fork()
        if not child:
            try:
                work(job)
                error = None
            except BaseException:
                error = traceback.format_exc()
            os.write(writing, json.dumps({"error": error and error[-6000:]}).encode())
            os._exit(0)
        os.close(writing)
        with open(reading, "rb") as answer:
            text = answer.read()
        os.waitpid(child, 0)
        sys.stdout.write((text or b'{"error": "the process died"}').decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
