"""A person erased from a whole home by the real command: `python -m tests.releases.erasing`.

Makes the home of a demo (or copies one that is there, `--of`), adds versions, releases and everything else that people make,
and lets one client leave. Prints the time, what was removed, the hits of a search of decoded files (0) and the places searched,
the same after everything was delivered again, and after processes were killed at random moments (`--kills`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orchestration.home import initialise, opened
from orchestration.ledger import Ledger
from orchestration.releases.withdrawal import STEPS
from orchestration.settings import Settings
from orchestration.warehouse import aside, dbt, versions
from tests.releases.leaving import Person, request, somebody
from tests.searching import Search, search

MOST_SECONDS = 600
CHECKOUT = Path(__file__).resolve().parents[2]


def environment(settings: Settings, folder: Path) -> dict[str, str]:
    """The variables under which a command works on a home, with a folder of its own for temporary files."""
    (folder / "tmp").mkdir(exist_ok=True)
    return {
        **os.environ, "DELICTVRIJ_HOME": str(settings.home_path), "DELICTVRIJ_KEY_FILE": str(settings.key_path),
        "DELICTVRIJ_CORRECTIONS": str(settings.corrections_file), "DELICTVRIJ_IMPUTATIONS": str(settings.imputations),
        "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(CHECKOUT),
    }  # fmt: skip


def command(settings: Settings, folder: Path, *words: str) -> subprocess.Popen[str]:
    """A command of the platform on a home, started."""
    return subprocess.Popen(
        [sys.executable, "-m", "orchestration.cli", *words], env=environment(settings, folder), cwd=CHECKOUT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def done(process: subprocess.Popen[str]) -> str:
    """What a command said; an error when it did not succeed."""
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


def settings_of(folder: Path, imputations: int) -> Settings:
    return Settings(
        home=folder / "home", key_file=folder / "home.key", corrections=folder / "corrections.yml",
        admit_test_numbers=True, imputations=imputations,
    )  # fmt: skip


def furnish(settings: Settings, ledger: Ledger, versions_wanted: int, releases: int) -> int:
    """More versions (of other landmarks), releases of them, and a fit of one's own; gives how many versions there are."""
    current = versions.named_version(settings, versions.CURRENT)
    for number in range(versions_wanted - 1):
        record = dict(current.manifest["build"])
        record["settings"] = {**record["settings"], "landmark_months": 6 + number}
        built = aside.build_again(settings, ledger, record)
        versions.publish(settings, built.marts, built.tables, built.record, as_current=False)
    made = versions.all_versions(settings)
    for number in range(releases):
        tag, version = settings.releases / f"2026.{number + 1}.0", made[number % len(made)]
        shutil.copytree(version.folder, tag / "zone")
        (tag / "public").mkdir()
        (tag / "release.json").write_text(json.dumps({"tag": tag.name, "version_id": version.version_id}))
    fit = (settings.fits / "current").resolve()
    for root in (settings.own, settings.multiverse):
        shutil.copytree(fit, root / "mine")
    return len(made)


def searched(settings: Settings, folder: Path, person: Person) -> Search:
    """The search of the home, of what lies beside it, of temporary files, and of what dbt keeps."""
    roots = [folder, dbt.target_folder(settings)]
    return search(
        roots, person.words, person.rows_in, leave_out=lambda path: path == settings.key_path, is_of_nobody=_is_twin
    )


def _is_twin(path: Path) -> bool:
    return path.parent.parent.name == "twin"


def line(what: str, said: object) -> None:
    print(f"{what:62}{said}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--versions", type=int, default=5)
    parser.add_argument("--releases", type=int, default=10)
    parser.add_argument("--imputations", type=int, default=20)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--of", type=Path, help="a home that a demo made, its key beside it; copied, not touched")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "whole"
        folder.mkdir()
        settings = settings_of(folder, given.imputations)
        if given.of:
            shutil.copytree(given.of, settings.home_path, symlinks=True)
            shutil.copy(given.of.with_name(given.of.name + ".key"), settings.key_path)
            initialise(settings)
        else:
            done(command(settings, folder, "demo", "--clients", str(given.clients)))
        ledger = opened(settings)
        kept = Path(name) / "originals"
        shutil.copytree(settings.inbox_path, kept)
        made = furnish(settings, ledger, given.versions, given.releases)
        person = somebody(settings, ledger)
        before = searched(settings, folder, person)
        clients = versions.named_version(settings, versions.CURRENT).manifest["tables"]["client"]["rows"]
        line("SIMULATED clients, versions, releases", f"{clients}, {made}, {given.releases}")
        line("numbers and pseudonyms looked for, combinations of values",
             f"{len(person.words.pseudonyms) + len(person.words.patterns)}, {sum(map(len, person.unique_rows.values()))}")  # fmt: skip
        line("files that held the person before", f"{len(before.hits)} of {before.files}")
        ledger.close()
        copies = [shutil.copytree(folder, Path(name) / f"killed-{number}", symlinks=True) for number in range(min(given.kills, 1))]  # fmt: skip

        began = time.monotonic()
        receipt = json.loads(_withdraw(settings, folder, person))
        took = time.monotonic() - began
        line("seconds of withdraw --mode erase, the refit among them", f"{took:.0f} (at most {MOST_SECONDS})")
        assert took <= MOST_SECONDS, took
        for place in STEPS:
            line(f"  {place}", ", ".join(f"{count} {what}" for what, count in receipt["places"][place].items()).replace("_", " "))  # fmt: skip
        assert receipt["places"]["versions"]["versions"] == made
        assert receipt["places"]["releases"]["releases"] == given.releases
        _nowhere(settings, folder, person, "hits afterwards in decoded files")

        current = versions.current_id(settings)
        for delivery in kept.glob("*/*/*/manifest.json"):
            place = settings.inbox_path / delivery.parent.relative_to(kept)
            again = place.with_name(f"{place.name}-again")
            shutil.copytree(delivery.parent, again, dirs_exist_ok=True)
            content = json.loads(delivery.read_text())
            (again / "manifest.json").write_text(
                json.dumps({**content, "delivery_id": again.name, "sequence": content["sequence"] + 1})
            )
        done(command(settings, folder, "refresh"))
        assert versions.current_id(settings) == current
        _nowhere(settings, folder, person, "hits after everything was delivered again")
        for number, copied in enumerate(copies):
            _killed(copied, person, given.imputations, given.kills, given.seed + number)
    return 0


def _withdraw(settings: Settings, folder: Path, person: Person) -> str:
    file = request(folder, (person.organisation, "client_number", person.client_number))
    said = done(command(settings, folder, "withdraw", str(file), "--mode", "erase", "--reason", "asked", "--json"))
    file.unlink()
    return said[said.index("{") :]


def _nowhere(settings: Settings, folder: Path, person: Person, what: str) -> None:
    began = time.monotonic()
    found = searched(settings, folder, person)
    line(
        what,
        f"{len(found.hits)} in {found.files} files, {found.bytes / 2**20:.0f} MB, {time.monotonic() - began:.0f} s",
    )
    assert found.hits == [], found.hits[:20]


def _wait(process: subprocess.Popen[str], seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def _killed(folder: Path, person: Person, imputations: int, kills: int, seed: int) -> None:
    """Let `withdraw` begin, kill what finishes it at random moments, and let the last one end."""
    settings, chance = settings_of(folder, imputations), random.Random(seed)
    initialise(settings)
    file = request(folder, (person.organisation, "client_number", person.client_number))
    process = command(settings, folder, "withdraw", str(file), "--mode", "erase", "--reason", "asked")
    ledger = opened(settings)
    while not ledger.withdrawals() and process.poll() is None:
        _wait(process, 0.05)
    where: dict[str, int] = {}
    for number in range(kills):
        _wait(process, chance.uniform(0, 20))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        steps = ledger.steps_of(ledger.withdrawals()[0].withdrawal_id)
        reached = next((step for step in STEPS if step not in steps), "finished")
        where[reached] = where.get(reached, 0) + 1
        if number < kills - 1:
            process = command(settings, folder, "refresh")
    file.unlink()
    done(command(settings, folder, "refresh"))
    assert ledger.withdrawals()[0].finished_at is not None
    line("processes killed at random moments, and where they were", kills)
    for step, count in where.items():
        line(f"  {step}", count)
    _nowhere(settings, folder, person, "hits after the next start finished it")


if __name__ == "__main__":
    sys.exit(main())
