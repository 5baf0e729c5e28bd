"""Versions made again, and the same versions whatever the order, the time zone and the locale: `python -m tests.warehouse.again`.

Prints how many publications were killed and how far they had come (0 torn), how many versions were reproduced, and under how
many orders of rows, time zones and locales the hashes of all tables stayed the same.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from orchestration.deliveries.contracts import read_contracts
from orchestration.deliveries.ingest import ingest, known_key
from orchestration.hashing import content_hash
from orchestration.home import initialise, opened
from orchestration.ledger import Ledger
from orchestration.settings import Settings
from orchestration.simulation import simulate
from orchestration.warehouse import aside, build, dbt, versions
from tests.conftest import settings_in
from tests.warehouse.histories import Compiled
from tests.warehouse.test_versions import STEPS, kill_publications

PLACES = [
    ("Pacific/Auckland", "nl_NL.UTF-8"),
    ("Pacific/Auckland", "C"),
    ("America/New_York", "C"),
    ("UTC", "nl_NL.UTF-8"),
]


def publish_now(settings: Settings, ledger: Ledger) -> versions.Version:
    """Build and publish what has been accepted, as the assets do, without an orchestrator."""
    inputs = build.prepare(settings, ledger, read_contracts(settings.expectations), known_key(settings, ledger))
    nodes = dbt.build(settings, inputs.folder)
    assert all(node.is_good for node in nodes), [node.unique_id for node in nodes if not node.is_good]
    tables = versions.published_tables(dbt.read_manifest(settings))
    version, _ = versions.publish(settings, inputs.warehouse, tables, inputs.record)
    return version


def made_by_period(folder: Path, clients: int, most: int) -> tuple[Settings, Ledger, list[versions.Version]]:
    """A home in which a version was published after each of several years of deliveries."""
    settings = settings_in(folder)
    initialise(settings)
    ledger = opened(settings)
    simulate(folder / "all", clients, 7)
    found: list[versions.Version] = []
    by_year: dict[str, list[Path]] = {}
    for manifest in sorted((folder / "all").glob("*/*/*/manifest.json")):
        by_year.setdefault(manifest.parent.parent.name[:6], []).append(manifest.parent)
    waiting = sorted(by_year)
    for number, period in enumerate(waiting):
        for delivery in by_year[period]:
            place = settings.inbox_path / delivery.relative_to(folder / "all")
            shutil.copytree(delivery, place)
            assert ingest(place, settings, ledger).status in ("accepted", "duplicate")
        is_last = number == len(waiting) - 1
        with contextlib.suppress(build.DeliveriesMissing):
            if len(found) < most - 1 or is_last:
                found.append(publish_now(settings, ledger))
    return settings, ledger, found


def hashes_in_any_order(compiled: Compiled, sources: Path, orders: int) -> set[str]:
    """The hashes over all marts when every source table has its rows in another order, `orders` times."""
    found: set[str] = set()
    generator = np.random.default_rng(7)
    tables = {path.name: pq.read_table(path) for path in sorted(sources.glob("*.parquet"))}
    for _ in range(orders):
        with tempfile.TemporaryDirectory(dir=compiled.folder) as place:
            shuffled = Path(place) / "sources"
            shuffled.mkdir()
            for name, table in tables.items():
                pq.write_table(table.take(generator.permutation(table.num_rows)), shuffled / name)
            marts = [relation for _, relation, _ in compiled.statements if relation.startswith('"marts"')]
            with compiled.built(Path(place)) as connection:
                whole = {name: content_hash(connection.sql(f"from {name}").to_arrow_table()) for name in marts}
            found.add(str(sorted(whole.items())))
    return found


def reproduced_elsewhere(
    settings: Settings, version: versions.Version, places: Sequence[tuple[str, str]] = PLACES
) -> int:
    """Reproduce a version in processes with other time zones and locales; gives how many found the same hashes.

    A locale that the machine does not have proves nothing: it is an error.
    """
    found = 0
    for zone, locale in places:
        assert is_installed(locale), f"{locale} is not installed, and says nothing"
        environment = {
            **os.environ, "TZ": zone, "LC_ALL": locale, "DELICTVRIJ_HOME": str(settings.home_path),
            "DELICTVRIJ_KEY_FILE": str(settings.key_path), "DELICTVRIJ_INBOX": str(settings.inbox_path),
        }  # fmt: skip
        done = subprocess.run(
            [Path(sys.executable).with_name("delictvrij"), "reproduce", version.version_id],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (zone, locale, done.stdout, done.stderr)
        found += 1
    return found


def is_installed(locale: str) -> bool:
    """Whether the machine has a locale (on Debian: `localedef -i nl_NL -f UTF-8 nl_NL.UTF-8`)."""
    known = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=True).stdout
    return locale.lower() in known.lower().replace("utf8", "utf-8").splitlines()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--orders", type=int, default=100)
    parser.add_argument("--versions", type=int, default=5)
    parser.add_argument("--clients", type=int, default=60)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        killed = kill_publications(folder / "deaths", given.kills)
        print(
            f"publications killed                                {killed['killed']} at any moment of it, {len(STEPS)} at a named step"
        )
        for step, count in sorted(killed["where"].items()):
            print(f"  {step:46}{count:>5}")
        print("torn versions                                      0", flush=True)
        (folder / "home").mkdir()
        settings, ledger, found = made_by_period(folder / "home", given.clients, given.versions)
        same = [aside.reproduce(settings, ledger, version).is_same for version in found]
        assert all(same)
        print(f"versions reproduced with the same hashes           {sum(same)} of {len(found)}", flush=True)
        places = reproduced_elsewhere(settings, found[-1])
        print(f"the same hashes under time zones and locales       {places} of {len(PLACES)}", flush=True)
        (folder / "compiled").mkdir()
        compiled = Compiled.once(folder / "compiled")
        inputs = build.prepare(settings, ledger, read_contracts(settings.expectations), known_key(settings, ledger))
        different = hashes_in_any_order(compiled, inputs.folder / "sources", given.orders)
        assert len(different) == 1, len(different)
        print(f"the same hashes under orders of rows               {given.orders} of {given.orders}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
