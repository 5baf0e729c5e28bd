"""Whatever the order in which deliveries arrive, the same counts in the end: `python -m tests.deliveries.orders --orders N`.

Three quarters, a correction of the second, the same content under another name, and bytes that come twice are taken in by the real
`ingest`; a fourth quarter takes one row back by name. The state, what builds are made from, is held against that of another order.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import hypothesis
import hypothesis.strategies as st
import pyarrow.parquet as pq

from orchestration.deliveries import ingest as taking_in
from orchestration.deliveries.contracts import Organisation, read_contracts
from orchestration.deliveries.ingest import accepted_state, ingest
from orchestration.hashing import content_hash
from orchestration.home import initialise, opened
from orchestration.settings import Settings
from orchestration.simulation import simulate
from orchestration.warehouse.build import effective, snapshot
from tests.conftest import settings_in
from tests.deliveries.making import change_manifest, change_rows, deliver, delivery_in, manifest_of

TABLES = ("clients", "covariates")  # with all eight, judging them would be all that takes time
State = tuple[list[tuple[str, str | None]], dict[str, str]]


def made(folder: Path) -> tuple[Path, list[Path]]:
    """A new home, and six deliveries of one small organisation in a folder beside it."""
    settings = settings_in(folder / "new")
    initialise(settings)
    simulate(folder / "simulated", clients=12, seed=4, periods="last")
    source = delivery_in(folder / "simulated", "rn")
    content = manifest_of(source)
    for file in content["files"]:
        if file["name"].removesuffix(".csv") not in TABLES:
            (source / file["name"]).unlink()
    kept = {"files": [f for f in content["files"] if f["name"].removesuffix(".csv") in TABLES]}
    change_manifest(source, **kept, tables=[table for table in content["tables"] if table["table"] in TABLES])
    aside = folder / "made"
    quarters = [deliver(source, aside, f"rn-{quarter}", f"2026-{quarter}") for quarter in ("Q1", "Q2", "Q3", "Q4")]
    for place, gone in ((0, -4), (1, -2)):  # the earlier ones know less
        change_rows(quarters[place], "covariates", lambda rows, gone=gone: rows[:gone])  # type: ignore[misc]
    last = _row(source)
    change_rows(quarters[3], "covariates", lambda rows: rows[:-1])
    change_manifest(quarters[3], deletions=[{"table": "covariates", "keys": [last]}])
    corrected = deliver(quarters[1], aside, "rn-Q2-corrected", "2026-Q2", sequence=2)
    change_rows(corrected, "covariates", lambda rows: rows[0].update(Waarde="" if rows[0]["Waarde"] == "0" else "0"))
    again = deliver(quarters[1], aside, "rn-Q2-again", "2026-Q2")
    return folder / "new", [*quarters, corrected, again]


def _row(delivery: Path) -> dict[str, str]:
    """The key of the last covariate, as a declared deletion names it."""
    found: list[dict[str, str]] = []
    copy = delivery.parent / "copy"
    shutil.copytree(delivery, copy)
    change_rows(copy, "covariates", lambda rows: found.append(dict(rows[-1])))
    shutil.rmtree(copy)
    return {name: found[0][name] for name in ("Clientnummer", "Kenmerk", "Bron", "Meetdatum")}


def state_after(order: list[Path], home: Path, folder: Path, organisation: Organisation) -> State:
    """What counts, and the content of every snapshot, after these arrive in this order, each of them twice."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(home, folder)
    settings = settings_in(folder)
    ledger = opened(settings)
    for delivery in order:
        content = manifest_of(delivery)
        place = settings.inbox_path / "rn" / content["period"] / content["delivery_id"]
        shutil.copytree(delivery, place)
        first = ingest(place, settings, ledger)
        assert first.status in ("accepted", "duplicate"), (delivery.name, first.reasons)
        state = accepted_state(ledger)
        ingest(place, settings, ledger)
        assert accepted_state(ledger) == state
    counted = effective([record for record in ledger.deliveries() if record.status in ("accepted", "duplicate")])
    contents: dict[str, str] = {}
    with duckdb.connect() as connection:
        for table in organisation.tables:
            target = folder / f"{table.name}.parquet"
            snapshot(connection, settings.raw, counted, table, target)
            contents[table.name] = content_hash(pq.read_table(target).drop_columns(["_received_on", "_delivery"]))
    ledger.close()
    return [(record.period, record.content_hash) for record in counted], contents


def hold(folder: Path, orders: int) -> int:
    """Hold `orders` orders of arrival against the first; gives how many were tried. Raises AssertionError."""
    home, deliveries = made(folder)
    whole = read_contracts(Settings().expectations)["rn"]
    organisation = replace(whole, tables=tuple(whole.table(name) for name in TABLES))
    with mock.patch.object(taking_in, "read_contracts", return_value={"rn": organisation}):
        return _held(home, deliveries, folder, organisation, orders)


def _held(home: Path, deliveries: list[Path], folder: Path, organisation: Organisation, orders: int) -> int:
    wanted = state_after(deliveries, home, folder / "first", organisation)
    tried: set[tuple[str, ...]] = set()

    @hypothesis.settings(max_examples=orders, deadline=None, database=None, derandomize=True)
    @hypothesis.given(st.permutations(deliveries))
    def any_order(order: list[Any]) -> None:
        names = tuple(delivery.name for delivery in order)
        if names not in tried:
            assert state_after(order, home, folder / "other", organisation) == wanted, names
            tried.add(names)

    any_order()
    return len(tried)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=110)
    with tempfile.TemporaryDirectory() as folder:
        tried = hold(Path(folder), parser.parse_args().orders)
    print(f"orders of arrival that end in the same state  {tried} of {tried}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
