"""A home is lost and comes back: `python -m tests.stewards.restoring [--of HOME]`.

Keeps the home of a demo (made, or a copy of one that is there), lets one client leave after that, loses the home and restores it by
the real commands. Prints how long each takes, that every version, fit and release is the same byte for byte, and how often the person
is found in what came back (0).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from orchestration.home import initialise, opened
from orchestration.settings import Settings
from orchestration.warehouse import versions
from tests.deliveries.making import digests
from tests.releases.erasing import command, done, line, searched, settings_of
from tests.releases.leaving import request, somebody

MOST_SECONDS = 15 * 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--imputations", type=int, default=20)
    parser.add_argument("--of", type=Path, help="a home that a demo made, its key beside it; copied, not touched")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "whole"
        folder.mkdir()
        settings = settings_of(folder, given.imputations)
        if given.of:
            for path in given.of.parent.glob(f"{given.of.name}*"):
                place = settings.home_path.with_name(settings.home_path.name + path.name.removeprefix(given.of.name))
                shutil.copytree(path, place, symlinks=True) if path.is_dir() else shutil.copy(path, place)
            initialise(settings)
        else:
            done(command(settings, folder, "demo", "--clients", str(given.clients)))
        took = timed(settings, folder, "backup", str(Path(name) / "copies"))
        (copy,) = (Path(name) / "copies").iterdir()
        files = [path for path in copy.rglob("*") if path.is_file()]
        line("seconds of backup; files, MB of SIMULATED data",
             f"{took:.1f}; {len(files)}, {sum(path.stat().st_size for path in files) / 2**20:.0f}")  # fmt: skip
        before = published(settings)

        lose(settings)
        took = timed(settings, folder, "restore", str(copy))
        line("seconds of restore", f"{took:.1f} (at most {MOST_SECONDS})")
        assert took <= MOST_SECONDS, took
        after = published(settings)
        line("files of versions, fits and releases that differ", f"{sum(after.get(k) != v for k, v in before.items())} of {len(before)}")  # fmt: skip
        assert after == before
        done(command(settings, folder, "reproduce", "current"))
        line("the version that came back is built again", "the same rows")

        ledger = opened(settings)
        originals = Path(name) / "originals"
        person = somebody_of(settings, originals)
        ledger.close()
        file = request(folder, (person.organisation, "client_number", person.client_number))
        done(command(settings, folder, "withdraw", str(file), "--mode", "erase", "--reason", "asked"))
        file.unlink()
        version = versions.current_id(settings)
        lose(settings)
        took = timed(settings, folder, "restore", str(copy))
        line("seconds of restore that erases who left since, with the refit", f"{took:.1f} (at most {MOST_SECONDS})")
        assert took <= MOST_SECONDS, took
        found = searched(settings, folder, person)
        line("hits of that person in decoded files", f"{len(found.hits)} in {found.files} files")
        assert found.hits == [], found.hits[:20]
        line("the version is that of before the loss", versions.current_id(settings) == version)
        assert versions.current_id(settings) == version
    return 0


def somebody_of(settings: Settings, originals: Path):  # type: ignore[no-untyped-def]
    """A client, by what was delivered: the inbox is in no copy, so the deliveries are simulated again for the names alone."""
    from orchestration.simulation import simulate

    if not settings.inbox_path.exists() or not any(settings.inbox_path.iterdir()):
        simulate(originals, clients=200, seed=20260101)
        chosen = settings.model_copy(update={"inbox": originals})
    else:
        chosen = settings
    ledger = opened(settings)
    return somebody(chosen, ledger)


def published(settings: Settings) -> dict[str, str]:
    """The digests of everything that is published, by path."""
    return {
        f"{root.name}/{name}": mark
        for root in (settings.versions, settings.fits, settings.releases)
        if root.is_dir()
        for name, mark in digests(root).items()
    }


def lose(settings: Settings) -> None:
    shutil.rmtree(settings.home_path)


def timed(settings: Settings, folder: Path, *words: str) -> float:
    began = time.monotonic()
    done(command(settings, folder, *words))
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
