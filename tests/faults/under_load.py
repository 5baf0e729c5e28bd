"""Faults under load: deliveries arrive while builds and refits run, processes are killed and the disk fills up, at moments drawn from a seed.

`python -m tests.faults.under_load --minutes 30` sets Dagster's real daemon over a home of SIMULATED deliveries, on a disk of its own
(a small one in memory, in a namespace of its own), and lets a reader look at what is published all the while. Then nothing is broken
any more, whatever waits is waited for, and the home is held against one that took the same deliveries in undisturbed. The table says
what happened and what of it was lost, twice or torn; 1 is returned when a promise was broken. Where this machine lets nobody mount,
the disk is not filled, and the table says so.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import dagster as dg

from orchestration.analysis.inputs import read_inputs
from orchestration.analysis.reuse import rows_read
from orchestration.analysis.specification import read_specification
from orchestration.deliveries.contracts import read_contracts
from orchestration.deliveries.inbox import waiting
from orchestration.hashing import combined_hash
from orchestration.home import opened, readings
from orchestration.settings import CHECKOUT, Settings
from orchestration.simulation import simulate
from orchestration.warehouse import versions
from orchestration.warehouse.build import DeliveriesMissing, require_all
from tests.faults import disk, load_judging
from tests.faults.daemon import Machine, environment, over, prepare
from tests.faults.load_plan import (
    BAD,
    CHANGED,
    DELIVERY,
    FILL,
    KILL_ALL,
    KILL_REFRESH,
    KILL_RUN,
    REFRESH,
    SAME,
    Event,
    Partners,
    plan,
)  # fmt: skip

CLIENTS, IMPUTATIONS = 40, 2  # few, so that there are many rounds
DISK, PLACE = "2g", "disk"
LOOK_EVERY, SAMPLE_EVERY = 1.0, 5.0  # seconds
ROLES = ("api grpc", "multiprocessing.forkserver", "dagster-daemon")
BY_ITSELF, LONGEST = 120.0, 1500.0  # seconds: until a person types `refresh`, and until all must be quiet
ROOM_AGAIN, END_RUN, END_REFRESH = "room again", "a run that works is killed", "a refresh that works is killed"
ON_DISK = "--on-disk"
RUN_OF = "run of"


@dataclass
class Seen:
    """What was done and what was seen while it lasted."""

    did: Counter[str] = field(default_factory=Counter)
    looks: int = 0
    half_done: list[str] = field(default_factory=list)
    samples: list[load_judging.Sample] = field(default_factory=list)
    life: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--json", type=Path, help="Write what came of it there.")
    parser.add_argument("--keep", type=Path, help="Copy the home and its logs there where a promise was broken.")
    parser.add_argument(ON_DISK, action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.on_disk and disk.can_mount():
        words = [*disk.namespace(), sys.executable, "-m", "tests.faults.under_load", ON_DISK, *sys.argv[1:]]
        os.execvp(words[0], words)  # noqa: S606 - it is this program again
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the daemon goes with whoever started it
    for name in [name for name in os.environ if name.startswith("DELICTVRIJ_")]:
        del os.environ[name]
    os.environ |= {"DELICTVRIJ_FIT_PROCESSES": "1", "DELICTVRIJ_DRAFT_RELEASES": "never"}
    with tempfile.TemporaryDirectory(prefix="load-") as name:
        try:
            came = endured(Path(name), given.minutes * 60, given.seed, can_fill=given.on_disk)
            print(table_of(came), flush=True)
            if given.keep and not came["is_good"]:
                shutil.copytree(name, given.keep, symlinks=True, dirs_exist_ok=True)
        finally:
            if given.on_disk:
                subprocess.run(["umount", "--lazy", Path(name, PLACE)], check=False)
    if given.json:
        given.json.write_text(json.dumps(came, indent=1) + "\n")
    return int(not came["is_good"])


def endured(folder: Path, seconds: float, seed: int, *, can_fill: bool) -> dict[str, object]:
    """Let it all happen, and judge; gives what the table and the JSON file say."""
    simulate(folder / "base", clients=CLIENTS, seed=20260101, periods="last", form="csv")
    place = folder / PLACE
    place.mkdir()
    if can_fill:
        disk.mount("--types", "tmpfs", "--options", f"size={DISK}", "tmpfs", place)
    settings = settings_of(place, folder / "inbox")
    prepare(settings)
    partners = Partners(folder / "base", folder / "made", settings.inbox_path)
    seen, ended = Seen(), threading.Event()
    began = time.monotonic()
    with over(settings, folder) as made:
        watching = [
            threading.Thread(target=_read, args=[settings, seen, ended], daemon=True),
            threading.Thread(target=_sample, args=[made, seen, ended, began], daemon=True),
        ]
        for thread in watching:
            thread.start()
        events = [one for one in plan(seed, seconds) if can_fill or one.what != FILL]
        Happening(made, partners, seen, place, seconds).all_of(events)
        quiet = settle(made, settings, seen)
        ended.set()
        for thread in watching:
            thread.join()
        runs = made.runs()
    return judged(folder, settings, partners, seen, runs, quiet, seconds, seed, can_fill=can_fill)


def settings_of(place: Path, inbox: Path) -> Settings:
    """The settings of a home in `place`; what is delivered lies on another disk."""
    return Settings(
        home=place / "home", key_file=place / "home.key", inbox=inbox, admit_test_numbers=True, imputations=IMPUTATIONS, look_seconds=5,
    )  # fmt: skip


class Happening:
    """What happens, one event after the other, over a home with its daemon. A daemon that ends by itself is started again, as systemd does."""

    def __init__(self, made: Machine, partners: Partners, seen: Seen, place: Path, seconds: float) -> None:
        self._made, self._partners, self._seen, self._place, self._seconds = made, partners, seen, place, seconds
        self._refreshing: subprocess.Popen[bytes] | None = None
        self._is_full = False
        self._left: list[Event] = []
        self._waiting: list[Event] = []
        self._began = time.monotonic()

    def all_of(self, events: list[Event]) -> None:
        """Let every event happen at its moment, or as soon after it as those before let it; at the end there is room and a daemon."""
        self._began = time.monotonic()
        self._left = list(events)
        heapq.heapify(self._left)
        self._partners.first()
        doing = {
            DELIVERY: self._deliver, KILL_RUN: self._kill_run, END_RUN: self._end_run, KILL_ALL: self._kill_all, REFRESH: self._refresh,
            KILL_REFRESH: self._refresh_to_be_killed, END_REFRESH: self._end_refresh, FILL: self._fill, ROOM_AGAIN: self._make_room,
        }  # fmt: skip
        while (now := self._now()) < self._seconds or self._is_full:
            self._keep()
            due, self._waiting = self._waiting, []
            while self._left and self._left[0].at <= now:
                due.append(heapq.heappop(self._left))
            for event in due:
                doing[event.what](event)
            time.sleep(0.2)
        if self._refreshing is not None:
            self._refreshing.wait()
        self._keep()

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _told(self, what: str) -> None:
        self._seen.did[what] += 1
        print(f"{self._now():7.1f} s  {what}", file=sys.stderr, flush=True)

    def _keep(self) -> None:
        if self._refreshing is not None and self._refreshing.poll() is not None:
            self._refreshing = None
        if self._made.process is None or self._made.process.poll() is not None:
            self._told("daemon ended by itself")
            self._made.kill()
            self._start()

    def _start(self) -> None:
        self._made.start()
        self._seen.life += 1

    def _is_put_off(self, event: Event, patience: float) -> bool:
        """Whether an event waits for a run to be at work, and is looked at again in a moment: not for longer than it has patience."""
        if runs_at_work(self._made) or self._now() > event.at + patience:
            return False
        self._waiting.append(event)
        return True

    def _deliver(self, event: Event) -> None:
        if event.draws[3] < 0.4 and self._is_put_off(event, 30):  # now and then just while a run works
            return
        sent = self._partners.next(event.draws, event.at / self._seconds)
        self._told(f"delivery {sent.kind}")
        if runs_at_work(self._made):
            self._told("of them while a run worked")

    def _kill_run(self, event: Event) -> None:
        if not self._is_put_off(event, 90):
            # in its first seconds oftener than late
            heapq.heappush(self._left, Event(self._now() + event.draws[0] * event.draws[1] * 25, END_RUN, event.draws))

    def _end_run(self, event: Event) -> None:
        if self._is_put_off(event, 30):
            return
        for number in runs_at_work(self._made):
            _kill(number)
            self._told(KILL_RUN)

    def _kill_all(self, event: Event) -> None:
        self._made.kill()
        self._told(KILL_ALL)
        time.sleep(event.draws[0] * 3)
        self._start()

    def _refresh(self, event: Event) -> None:
        if self._refreshing is None:
            self._refreshing = refreshing(self._made.settings, self._made.folder)
            self._told(REFRESH)

    def _refresh_to_be_killed(self, event: Event) -> None:
        self._refresh(event)
        heapq.heappush(self._left, Event(self._now() + 4 + event.draws[0] * 40, END_REFRESH, event.draws))

    def _end_refresh(self, event: Event) -> None:
        if self._refreshing is None:
            return
        if event.draws[1] < 0.5:
            os.killpg(self._refreshing.pid, signal.SIGKILL)
        else:
            self._refreshing.kill()  # its own processes notice by themselves
        self._refreshing.wait()
        self._refreshing = None
        self._told(KILL_REFRESH)

    def _fill(self, event: Event) -> None:
        if self._is_full:
            return
        room = int(event.draws[0] ** 3 * 3 * 2**20)  # mostly next to nothing
        for _ in range(20):  # it may have grown since it was asked
            size = shutil.disk_usage(self._place).used + room
            try:
                disk.mount("--options", f"remount,size={size}", self._place)
            except subprocess.CalledProcessError:
                continue
            self._is_full = True
            self._told(FILL)
            heapq.heappush(self._left, Event(self._now() + 3 + event.draws[1] * 12, ROOM_AGAIN))
            return

    def _make_room(self, _: Event) -> None:
        disk.mount("--options", f"remount,size={DISK}", self._place)
        self._told(ROOM_AGAIN)
        self._is_full = False


def refreshing(settings: Settings, folder: Path) -> subprocess.Popen[bytes]:
    """`delictvrij refresh`, begun; what it says is added to a file in `folder`."""
    with (folder / "refresh.log").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "orchestration.cli", "refresh"], cwd=CHECKOUT, env=environment(settings), stdout=said, stderr=said,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip


def _kill(number: int) -> None:
    try:
        os.kill(number, signal.SIGKILL)
    except ProcessLookupError:
        return


# the processes of a home ---------------------------------------------------------------------------------------------
def _parents(made: Machine) -> dict[int, tuple[int, str]]:
    """Of every process of the home its parent and its command line."""
    found = {}
    for number in made.processes():
        try:
            parent = int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
            words = Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, IndexError):
            continue
        found[number] = (parent, words)
    return found


def runs_at_work(made: Machine) -> list[int]:
    """The processes of the daemon's runs: forks of its fork server. What a refresh forks is not among them."""
    known = _parents(made)
    servers = {number for number in service(made, known) if "multiprocessing.forkserver" in known[number][1]}
    return [number for number, (parent, words) in known.items() if parent in servers and "forkserver" in words]


def service(made: Machine, known: dict[int, tuple[int, str]] | None = None) -> list[int]:
    """The processes that last as long as the daemon does: itself, code server and fork server, not the runs."""
    known = _parents(made) if known is None else known
    daemon = made.process.pid if made.process is not None else 0
    found = {daemon} & set(known)
    while more := {
        number for number, (parent, words) in known.items()
        if parent in found and number not in found and not ("forkserver" in words and "forkserver" in known[parent][1])
    }:  # fmt: skip
        found |= more
    return sorted(found)


def _resident_mb(number: int) -> float:
    """What a process holds in memory. Not its share of what it has in common with others: that falls whenever a run is forked."""
    try:
        lines = Path(f"/proc/{number}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def _sample(made: Machine, seen: Seen, ended: threading.Event, began: float) -> None:
    while not ended.wait(SAMPLE_EVERY):
        life, known = seen.life, _parents(made)
        held = [(role_of(known[number][1]), _resident_mb(number)) for number in service(made, known)]
        largest = {role: max(mb for other, mb in held if other == role) for role, _ in held}
        if set(ROLES) <= set(largest) and life == seen.life:  # before the first run there is no fork server yet
            whole = sum(mb for _, mb in held)
            seen.samples.append(load_judging.Sample(time.monotonic() - began, life, sum(largest.values()), whole))


def role_of(words: str) -> str:
    """What a process of the daemon is there for, by its command line."""
    return next((role for role in ROLES if role in words), "else")


def _read(settings: Settings, seen: Seen, ended: threading.Event) -> None:
    while not ended.wait(LOOK_EVERY):
        try:
            seen.half_done += load_judging.look(settings)
        except Exception as error:  # whatever it is, a reader met it
            seen.half_done.append(f"a look ended with {type(error).__name__}")
        seen.looks += 1


# afterwards ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Quiet:
    """How long it took until nothing was to be done any more, and how much of that after somebody typed `refresh`; what is still to be
    done, where it never came to that."""

    seconds: float
    after_refresh: float
    left: tuple[str, ...]


def settle(made: Machine, settings: Settings, seen: Seen) -> Quiet:
    """Wait until the home is quiet. What failed on a full disk waits for a person: after a while one `refresh` is typed, as
    docs/faults.md says."""
    began, typed = time.monotonic(), None
    left: tuple[str, ...] = ("",)
    mark = _Marks(settings)
    while left and time.monotonic() - began < LONGEST:
        if made.process is None or made.process.poll() is not None:
            made.kill()
            made.start()
            seen.life += 1
        left = tuple(to_be_done(made, settings, mark))
        is_stuck = bool(left) and not any(one.startswith(RUN_OF) for one in left)
        if is_stuck and typed is None and time.monotonic() - began > BY_ITSELF:
            print(f"a person types refresh: {'; '.join(left)}", file=sys.stderr, flush=True)
            typed = time.monotonic()
            refreshing(settings, made.folder).wait()
        time.sleep(2)
    now = time.monotonic()
    return Quiet(now - began, 0.0 if typed is None else now - typed, left)


class _Marks:
    """The fingerprint of the rows that models read, of each version: computed once."""

    def __init__(self, settings: Settings) -> None:
        self._spec = read_specification().with_imputations(settings.imputations)
        self._settings, self._known = settings, dict[str, str]()

    def of(self, version_id: str) -> str:
        if version_id not in self._known:
            version = versions.read_version(self._settings.versions / version_id)
            self._known[version_id] = combined_hash(rows_read(read_inputs(version), self._spec))
        return self._known[version_id]


def to_be_done(made: Machine, settings: Settings, mark: _Marks) -> list[str]:
    """What is not finished yet: deliveries that wait, runs, the build of what counts, its refit."""
    contracts, current = read_contracts(settings.expectations), versions.current_id(settings)
    left = [f"{RUN_OF} {run.job_name}" for run in made.runs() if not run.is_finished]
    with closing(opened(settings)) as ledger:
        left += [f"{one.path.name} waits" for one in waiting(settings, ledger, contracts)]
        try:
            left += load_judging.not_built(ledger, require_all(contracts, ledger), current)
        except DeliveriesMissing:
            left.append("an organisation of which nothing is taken in")
        if current is not None and not left:
            is_fitted = any(fit["fingerprint"] == mark.of(current) for fit in ledger.fits())
            is_held = any(mark.of(fit["version_id"]) == mark.of(current) for fit in ledger.held_fits())
            left += [] if is_fitted or is_held else ["the refit of the published version"]
    return left


@contextmanager
def _undisturbed(folder: Path, partners: Partners) -> Iterator[Settings]:
    """A home that took the same deliveries in at once, in a folder that is there for as long as this lasts."""
    settings = settings_of(folder, folder / "inbox")
    folder.mkdir()
    prepare(settings)
    partners.all_again(settings.inbox_path)
    refreshing(settings, folder).wait()
    yield settings


def _typed(settings: Settings, *words: str) -> list[str]:
    """What is wrong where a command does not leave with 0."""
    done = subprocess.run([sys.executable, "-m", "orchestration.cli", *words], cwd=CHECKOUT, env=environment(settings), capture_output=True, text=True, check=False)  # fmt: skip
    return [] if done.returncode == 0 else [f"delictvrij {' '.join(words)}: left with {done.returncode}: {(done.stdout + done.stderr).strip()[-300:]}"]  # fmt: skip


def judged(
    folder: Path, settings: Settings, partners: Partners, seen: Seen, runs: list[dg.DagsterRun], quiet: Quiet, seconds: float, seed: int,
    *, can_fill: bool,
) -> dict[str, object]:  # fmt: skip
    """Everything that is said in the end, and whether all of it is good."""
    ledger = readings(settings)
    records = ledger.deliveries()
    lost = [*quiet.left, *load_judging.lost(partners.sent, records)]
    twice = load_judging.twice(partners.sent, records, ledger.audit())
    with _undisturbed(folder / "undisturbed", partners) as other:
        undisturbed = readings(other)
        lost += load_judging.otherwise_than(records, undisturbed.deliveries())
        mine, theirs = versions.current_version(settings), versions.current_version(other)
        if mine is None or theirs is None:
            lost.append("no version in the end")
        else:
            lost += [f"table {name}: otherwise than undisturbed" for name in load_judging.differing(mine, theirs)]
            lost += [] if mine.version_id == theirs.version_id else ["another version than undisturbed"]
    twice += _typed(settings, "audit", "--verify") + _typed(settings, "reproduce", "current")
    torn = [*seen.half_done, *load_judging.torn(settings, records)]
    growths = load_judging.growths(seen.samples)
    grown = load_judging.grown(growths)
    good = [run for run in runs if run.status == dg.DagsterRunStatus.SUCCESS]
    return {
        "minutes": seconds / 60, "seed": seed, "did": dict(sorted(seen.did.items())), "disk": can_fill, "deliveries": len(partners.sent),
        "builds": len(ledger.builds()), "versions": len(load_judging.in_sight(settings.versions)), "refits": len(ledger.fits()),
        "held": len(ledger.held_fits()), "runs": len(runs), "runs_good": len(good), "looks": seen.looks,
        "quiet_after": quiet.seconds, "of_it_after_refresh": quiet.after_refresh, "lost": lost, "twice": twice, "torn": torn, "grown": grown,
        "memory": [{**asdict(one), "share": one.share} for one in growths], "is_good": not (lost or twice or torn or grown),
    }  # fmt: skip


def table_of(came: dict[str, object]) -> str:
    """What came of it, for people."""
    did = dict(came["did"])  # type: ignore[call-overload]
    lines = [
        ("minutes; seed", f"{came['minutes']:g}; {came['seed']}"),
        ("deliveries that appeared, with the first five", came["deliveries"]),
    ]
    lines += [(f"  {kind}", did.get(f"delivery {kind}", 0)) for kind in (CHANGED, SAME, BAD)]
    lines += [("  of them while a run worked", did.get("of them while a run worked", 0))]
    lines += [
        ("builds; versions", f"{came['builds']}; {came['versions']}"),
        ("refits made; held", f"{came['refits']}; {came['held']}"),
    ]
    lines += [("runs; of them successful", f"{came['runs']}; {came['runs_good']}")]
    lines += [
        (what, did.get(what, 0)) for what in (KILL_RUN, KILL_ALL, KILL_REFRESH, "daemon ended by itself", REFRESH)
    ]
    lines += [(FILL, did.get(FILL, 0) if came["disk"] else "not tried: this machine lets nobody mount")]
    lines += [("looks of the reader", came["looks"])]
    lines += [
        ("quiet after; of it after one `refresh`", f"{came['quiet_after']:.0f} s; {came['of_it_after_refresh']:.0f} s")
    ]
    for one in came["memory"]:  # type: ignore[attr-defined]
        said = f"{one['start_mb']:.0f} MB settled, {one['end_mb']:.0f} at the end ({one['share']:+.1%}), {max(one['highest_mb'], one['highest_late_mb']):.0f} at most"
        lines.append((f"memory in life {one['life']} of the daemon, {one['seconds']:.0f} s", said))
    names = ("lost", "twice", "torn")
    counts = " ".join(str(len(came[name])) for name in names)  # type: ignore[arg-type]
    lines += [("lost, twice, torn", counts), ("memory flat", "no" if came["grown"] else "yes")]
    wrong = [f"  {name}: {said}" for name in (*names, "grown") for said in list(came[name])[:20]]  # type: ignore[call-overload]
    return "\n".join([f"{what:48}{value}" for what, value in lines] + wrong + ["deliveries are SIMULATED"])


if __name__ == "__main__":
    sys.exit(main())
