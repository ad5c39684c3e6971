"""The far store: sending, many small snapshots, and coming back on a new machine.

The far side is a server of seaweedfs or rclone on loopback, so nothing is waited for: what is measured is
our own work, with the server beside it on the same cores. Ours and the plain one take turns, and of each the
fastest round counts, because whatever else runs on a machine makes rounds slower and never faster.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from bench import far_work
from bench.alone import alone
from bench.samples import number, prose, table
from bench.section import ROOT, Found, Run, Section, folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

AT_ONCE = (2, 8)
"""Requests at a time, of which the plain way gets the best."""
Rounds = list[dict[str, float]]


@contextlib.contextmanager
def server_of(make: str, place: Path) -> Iterator[Any]:
    """A server of the tests, with a bucket."""
    sys.path.insert(0, str(ROOT / "tests"))
    from s3_servers import SERVERS  # type: ignore[import-not-found]  # of the tests, and untyped

    with SERVERS[make](place) as server:
        server.create_bucket(far_work.BUCKET)
        yield server


def measure(run: Run) -> Found:
    """All of it."""
    rows, count = run.pick(
        (262_144, 10_000), (8192, 200)
    )  # rows of 8 KiB, random: they shrink to seven eighths
    found: Found = {"rows": rows, "count": count, "rounds": run.pick(2, 1)}
    for make in ("weed", "rclone"):
        run.say(f"an array, and {make}")
        with folder() as place, server_of(make, place / "server") as server:
            found[make] = _there_and_back(run, server, place, rows, ranges=make == "weed")
    with folder() as place, server_of("weed", place / "server") as server:
        for name, arriving in (("many at once", False), ("many arriving", True)):
            run.say(name)
            given = {
                "address": server.address(far_work.BUCKET, name.replace(" ", "-")),
                "near": str(place / name),
            }
            found[name] = _call(run, server, place, far_work.many, count=count, arriving=arriving, **given)
    return found


def _call(run: Run, server: Any, state: Path, role: Callable[..., Any], **given: object) -> dict[str, float]:
    env = {**server.credentials, "XDG_STATE_HOME": str(state)}
    found: dict[str, float] = alone(role, given, cold=not run.quick, env=env)
    return found


def _there_and_back(run: Run, server: Any, place: Path, rows: int, *, ranges: bool) -> Found:
    """Send and fetch in turns with the plain way; give the fastest of each, and what ours took beside time.

    rclone does not answer ranges as such, so there is no plain way of reading by them.
    """
    call = partial(_call, run, server)
    sent: Rounds = []
    back: Rounds = []
    plain: dict[str, Rounds] = {name: [] for name in ("one", "put", "array", "memory", "disk")}
    rounds = run.pick(2, 1)
    best_put = best_get = 0
    if ranges:
        call(place, far_work.plain_array, address=server.address(far_work.BUCKET, ""), rows=rows, most=0)
    for turn in range(rounds):
        address, state = server.address(far_work.BUCKET, f"round{turn}"), place / f"state{turn}"
        idle = run.pick(30.0, 2.0) if ranges and turn == rounds - 1 else 0.0
        sent.append(call(state, far_work.keep, address=address, rows=rows, idle_seconds=idle))
        put = partial(call, place, far_work.plain_put, address=address, near=str(state))
        plain["one"].append(put(most=1))
        best_put, plain["put"] = _best(put, best_put, plain["put"])
        _remove(state)
        if not ranges:
            continue
        new, copies = place / f"new{turn}", place / "copies"
        back.append(call(new, far_work.come_back, address=address, rows=rows))
        _remove(new)
        array = partial(call, place, far_work.plain_array, address=address, rows=rows)
        best_get, plain["array"] = _best(array, best_get, plain["array"])
        get = partial(call, place, far_work.plain_get, address=address, most=best_get)
        plain["memory"].append(get(to=""))
        copies.mkdir()
        plain["disk"].append(get(to=str(copies)))
        _remove(copies)
    ours, one, best = _fastest(sent), _fastest(plain["one"]), _fastest(plain["put"])
    found: Found = {
        "MB": ours["bytes"] / 1e6,
        "sent MB/s": ours["bytes"] / 1e6 / ours["seconds"],
        "one stream MB/s": one["bytes"] / 1e6 / one["seconds"],
        "best streams": best_put,
        "best streams MB/s": best["bytes"] / 1e6 / best["seconds"],
        "requests": ours["requests"],
        "peak MB of sending": max(each["peak MB"] for each in sent),
        "cpu s of sending": ours["cpu"],
        "rounds": {"sent": sent, "back": back, **plain},
    }
    if ranges:
        found |= {
            "idle cpu s a minute": sent[-1]["idle cpu s a minute"],
            **{f"{part} s": min(each[part] for each in back) for part in ("start", "look", "bring")},
            "peak MB of fetching": max(each["bring peak MB"] for each in back),
            "best ranges": best_get,
            **{
                f"plain to {name} s": _fastest(plain[name])["seconds"] for name in ("array", "memory", "disk")
            },
        }
    return found


def _best(plainly: Callable[..., dict[str, float]], most: int, rounds: Rounds) -> tuple[int, Rounds]:
    """One more round by so many requests at once; by those that suit best, if that is not known yet."""
    if most:
        return most, [*rounds, plainly(most=most)]
    tried = {each: plainly(most=each) for each in AT_ONCE}
    best = min(tried, key=lambda each: tried[each]["seconds"])
    return best, [tried[best]]


def _fastest(rounds: Rounds) -> dict[str, float]:
    return min(rounds, key=lambda one: one["seconds"])


def _remove(place: Path) -> None:
    """Remove a folder in which a process may be at its last writes."""
    shutil.rmtree(place, ignore_errors=True)


# The page

TEXT = """
S3 on loopback, the server on the same cores. Fastest of {rounds} rounds, in turns with the plain way:
obstore and nothing else, from and to memory, and as nice. A pause comes before each.
"""
SENDING_TEXT = """
Idle, the process that sends takes {idle} s of processor a minute. rclone reads and hashes every object for
each list that is asked for.
"""
COMING_TEXT = """
Fetching takes {peak} MB. Server and client of a plain download share the cores already; `start()` writes
packs, decompresses and hashes besides, and has the memory of the array cleared, as the plain way into an
array has.
"""


def report(found: Found) -> str:
    """Three tables: sending, coming back, and many small snapshots."""
    weed, rclone = found["weed"], found["rclone"]
    sending = [
        [
            name,
            *(number(row[what]) for what in ("sent MB/s", "one stream MB/s")),
            number(row["sent MB/s"] / row["one stream MB/s"]),
            f"{number(row['best streams MB/s'])} ({row['best streams']})",
            number(row["sent MB/s"] / row["best streams MB/s"]),
            *(number(row[what]) for what in ("requests", "cpu s of sending", "peak MB of sending")),
        ]
        for name, row in (("seaweedfs", weed), ("rclone", rclone))
    ]
    plainly = (
        ("array", "the array as it is, into a new array"),
        ("disk", "the same packs, into synced files"),
        ("memory", "the same packs, into memory in small pieces"),
    )
    fetching = (
        "of which: another one fetches, checks and writes synced files, and the kernel decompresses and "
        "checks what is there already"
    )
    coming = [
        ["`start()`, all of it", number(weed["start s"]), ""],
        ["of which: a process starts and looks what is there", number(weed["look s"]), ""],
        [fetching, number(weed["bring s"]), ""],
    ]
    for name, what in plainly:
        took = weed[f"plain to {name} s"]
        way = f"plainly, {weed['best ranges']} ranges at a time: {what}"
        coming.append([way, number(took), number(weed["start s"] / took)])
    small = [
        [said, *(number(found[name][what]) for what in ("requests", "bytes", "seconds", "cpu", "kept there"))]
        for name, said in (
            ("many at once", "all there before the transfer starts"),
            ("many arriving", f"{far_work.SMALL_PER_SECOND} a second, beside the transfer"),
        )
    ]
    sending_head = (
        f"sending an array of {found['rows'] * 8192 / 1e9:.2f} GB | ours MB/s | one plain stream MB/s | "
        "ratio | the best number of plain streams MB/s | ratio | requests | cpu s | peak memory MB"
    )
    coming_head = f"coming back, {number(weed['MB'])} MB with an empty disk | seconds | `start()` to that"
    one_number = f"{found['count']:,} snapshots of one number"
    small_head = f"{one_number} | requests | bytes sent | seconds | cpu s | there afterwards"
    return "\n".join(
        [
            prose(TEXT, rounds=found["rounds"]),
            table(sending_head, sending),
            prose(SENDING_TEXT, idle=number(weed["idle cpu s a minute"])),
            table(coming_head, coming),
            prose(COMING_TEXT, peak=number(weed["peak MB of fetching"])),
            table(small_head, small),
            "*seconds* are counted from the start of the transfer, or from the last snapshot on.\n",
        ]
    )


SECTION = Section("A store far away", measure, report)
