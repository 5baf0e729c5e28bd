"""A disk that is full, or may only be read, while a delivery comes in: a real one, small and in memory, in a namespace of its own.

`python -m tests.faults.disk FOLDER --mebibytes 1.5` leaves so much room on the disk of a home, lets `refresh` run into its end, makes
room, and lets it run again. Prints what came of it as JSON. It calls itself in a namespace where it may mount.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestration.home import opened
from orchestration.ledger import Ledger
from orchestration.settings import CHECKOUT, Settings
from orchestration.warehouse import versions
from tests.deliveries.making import digests
from tests.faults.daemon import environment

UNDISTURBED, READ_ONLY = "undisturbed", "read only"


@dataclass(frozen=True)
class Came:
    """What came of a fault: how both refreshes ended and what the first said, whether what was published stayed as it was, the version
    in the end, what became of its refit (made, held or nothing), how often the delivery counts, files that are not whole, and how many
    bytes it all takes."""

    first_exit: int
    said: str
    is_unchanged: bool
    second_exit: int
    version: str | None
    refit: str
    accepted: int
    damaged: int
    needed: int


def can_mount() -> bool:
    """Whether this machine lets a process mount a disk of its own."""
    if shutil.which("unshare") is None:
        return False
    tried = [*namespace(), "mount", "--types", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def namespace() -> list[str]:
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def with_disk(base: Path, delivery: Path, folder: Path, room: float | str, *more: str) -> Came:
    """Let `delivery` come into a copy of the home `base` whose disk has `room` mebibytes left, or may only be read, or is large enough."""
    words = [
        *namespace(),
        sys.executable,
        "-m",
        "tests.faults.disk",
        folder,
        "--base",
        base,
        "--delivery",
        delivery,
        "--room",
        str(room),
        *more,
    ]
    done = subprocess.run(words, cwd=CHECKOUT, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return Came(**json.loads(done.stdout.splitlines()[-1]))


def settings_on(disk: Path, inbox: Path) -> Settings:
    return Settings(home=disk / "home", key_file=disk / "home.key", inbox=inbox, admit_test_numbers=True, imputations=2)


def refresh(settings: Settings) -> tuple[int, str]:
    words = [sys.executable, "-m", "orchestration.cli", "refresh"]
    done = subprocess.run(words, cwd=CHECKOUT, env=environment(settings), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--delivery", type=Path, required=True)
    parser.add_argument("--room", required=True)
    parser.add_argument("--once", action="store_true", help="Do not refresh again once there is room.")
    given = parser.parse_args()
    disk, inbox = given.folder / "disk", given.folder / "inbox"
    disk.mkdir(parents=True)
    mount("--types", "tmpfs", "--options", "size=4g", "tmpfs", disk)
    shutil.copytree(given.base, disk, symlinks=True, dirs_exist_ok=True)
    settings = settings_on(disk, inbox)
    period = given.delivery.parent
    shutil.copytree(given.delivery, inbox / period.parent.name / period.name / given.delivery.name)
    before = digests(settings.versions)
    used = shutil.disk_usage(disk).used
    if given.room == READ_ONLY:
        mount("--options", "remount,ro", disk)
    elif given.room != UNDISTURBED:
        mount("--options", f"remount,size={int(used + float(given.room) * 2**20)}", disk)
    first, said = refresh(settings)
    after = digests(settings.versions)
    mount("--options", "remount,rw,size=4g", disk)
    second, again = (first, said) if given.once or given.room == UNDISTURBED else refresh(settings)
    ledger = opened(settings)
    accepted = [one for one in ledger.deliveries(status="accepted") if one.delivery_id == given.delivery.name]
    kept = versions.all_versions(settings)
    came = Came(
        first, said if first else "", {name: after.get(name) for name in before} == before, second,
        versions.current_id(settings), refit_of(ledger, versions.current_id(settings)), len(accepted), sum(not _is_whole(one) for one in kept), shutil.disk_usage(disk).used - used,
    )  # fmt: skip
    if second:
        print(again, file=sys.stderr)
    print(json.dumps(asdict(came)))
    return 0


def refit_of(ledger: Ledger, version_id: str | None) -> str:
    """What became of the refit of a version."""
    if any(fit["version_id"] == version_id for fit in ledger.fits()):
        return "made"
    return "held" if any(fit["version_id"] == version_id for fit in ledger.held_fits()) else "nothing"


def _is_whole(version: versions.Version) -> bool:
    try:
        versions.verify(version)
    except versions.VersionDamaged:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
