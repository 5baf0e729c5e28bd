"""Names and numbers of persons stay in landing: planted in every field, they are found nowhere else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from orchestration.cli import main
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.ingest import ingest, known_key
from orchestration.warehouse.build import prepare
from tests.conftest import Platform
from tests.deliveries.making import (
    Row,
    change_manifest,
    change_rows,
    deliver,
    delivery_in,
    manifest_of,
    sign,
    write_manifest,
)

NAME = "Zwaluwstaart-van Kannarie"
TEXTS = (NAME, "z.kannarie@post.example", "06-98765123", "Kanariestraat 417")
NUMBERS = ("987651237", "98765124", "765198", "T98765125", "A98765126")
CANARIES = (*TEXTS, *NUMBERS)


def _texts(path: Path) -> Iterator[str]:
    """What a file holds: its bytes in three encodings, and decoded where it is Parquet or SQLite."""
    content = path.read_bytes()
    yield content.decode("latin-1")
    yield content.decode("utf-16-le", "ignore")
    if path.suffix == ".parquet":
        frame = pq.read_table(path).to_pandas()
        yield frame.astype(str).to_csv()
    if path.suffix == ".sqlite":
        with sqlite3.connect(path) as connection:
            tables = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
            for name in tables:
                yield repr(connection.execute(f"select * from {name}").fetchall())


def found_outside_landing(home: Path) -> list[tuple[str, str]]:
    paths = [path for path in home.rglob("*") if path.relative_to(home).parts[0] != "landing"]
    files = [path for path in paths if path.is_file()]
    assert len(files) > 5
    names = [(path.name, canary) for path in paths for canary in CANARIES if canary in path.name]
    return names + [
        (str(path), canary) for path in files for text in _texts(path) for canary in CANARIES if canary in text
    ]


def _plant_everywhere(delivery: Path) -> None:
    """A canary in one more row of every table, in every column that takes text."""
    for entry in manifest_of(delivery)["tables"]:

        def plant(rows: list[Row]) -> list[Row]:
            planted = dict(rows[0])
            for number, name in enumerate(planted):
                planted[name] = TEXTS[number % len(TEXTS)]
            return [*rows, planted]

        change_rows(delivery, entry["table"], plant)


def _plant_well(delivery: Path) -> None:
    """A whole person with canary name and numbers who is in order."""

    def person(rows: list[Row]) -> list[Row]:
        return [*rows, {**rows[0], "Clientnummer": NUMBERS[1], "BSN": NUMBERS[0], "Achternaam": NAME}]

    def officer(rows: list[Row]) -> list[Row]:
        return [*rows, {**rows[0], "Werkernummer": NUMBERS[2], "Achternaam": NAME}]

    def supervision(rows: list[Row]) -> list[Row]:
        return [*rows, {**rows[0], "Toezichtnummer": NUMBERS[3], "Clientnummer": NUMBERS[1]}]

    def assignment(rows: list[Row]) -> list[Row]:
        new = {"Toewijzingsnummer": NUMBERS[4], "Toezichtnummer": NUMBERS[3], "Werkernummer": NUMBERS[2]}
        return [*rows, {**rows[0], **new}]

    for table, change in (
        ("clients", person), ("officers", officer), ("supervisions", supervision), ("assignments", assignment)
    ):  # fmt: skip
        change_rows(delivery, table, change)


def _bad(delivery: Path, kind: str) -> None:
    _plant_well(delivery)
    if kind == "values":
        _plant_everywhere(delivery)
    elif kind == "rules":
        change_rows(delivery, "clients", lambda rows: [*rows, rows[-1]])
        change_rows(delivery, "supervisions", lambda rows: rows[-1].update({"Artikel indexdelict": NAME}))
        change_rows(delivery, "assignments", lambda rows: rows[-1].update(Einddatum="01-01-2016"))
        change_rows(delivery, "officers", lambda rows: [row for row in rows if row["Werkernummer"] != NUMBERS[2]])
    elif kind == "header":
        path = delivery / "clients.csv"
        path.write_bytes(path.read_bytes().replace(b"Achternaam", NAME.encode()))
        sign(delivery)
    elif kind == "ragged":
        path = delivery / "clients.csv"
        path.write_bytes(path.read_bytes() + f"{NUMBERS[1]};{NUMBERS[0]};{NAME}\n".encode())
        sign(delivery)
    elif kind == "encoding":
        path = delivery / "clients.csv"
        path.write_bytes(path.read_bytes() + f"{NAME}".encode() + b"\x81\x8d;;\n")
        sign(delivery)
    elif kind == "manifest":
        content = manifest_of(delivery)
        content[NAME] = NUMBERS[0]
        content["contact"] = TEXTS[1]
        write_manifest(delivery, content)
    elif kind == "file":
        content = manifest_of(delivery)
        content["files"][0]["name"] = f"{NAME}.csv"
        content["tables"][0]["file"] = f"{NAME}.csv"
        (delivery / "clients.csv").rename(delivery / f"{NAME}.csv")
        write_manifest(delivery, content)
    elif kind == "deletions":
        change_manifest(delivery, deletions=[{"table": NAME, "keys": [{NAME: NUMBERS[0]}]}])
    elif kind == "undeclared":
        (delivery / f"{NAME}.txt").write_text(NAME)


KINDS = ("values", "rules", "header", "ragged", "encoding", "manifest", "file", "deletions", "undeclared")


def test_an_accepted_person_is_a_pseudonym_everywhere_but_in_landing(
    settled: Platform, contracts: dict[str, Organisation], caplog: pytest.LogCaptureFixture
) -> None:
    settings, ledger = settled.settings, settled.ledger
    good = deliver(delivery_in(settings.inbox_path, "rn"), settings.inbox_path, "next", "2026-Q1")
    _plant_well(good)
    receipt = ingest(good, settings, ledger)
    assert receipt.status == "accepted", receipt.reasons
    later = deliver(good, settings.inbox_path, "later", "2026-Q2")
    for table in ("officers", "assignments"):
        change_rows(later, table, lambda rows: [row for row in rows if row["Werkernummer"] != NUMBERS[2]])
    gone = {"officers": {"Werkernummer": NUMBERS[2]}, "assignments": {"Toewijzingsnummer": NUMBERS[4]}}
    change_manifest(later, deletions=[{"table": name, "keys": [key]} for name, key in gone.items()])
    assert ingest(later, settings, ledger).status == "accepted"
    prepare(settings, ledger, contracts, known_key(settings, ledger))
    assert found_outside_landing(settings.home_path) == []
    assert not any(canary in caplog.text for canary in CANARIES)
    landed = settings.landing / "rn" / "2026-Q1" / f"next-{receipt.sha256[:8]}" / "clients.csv"
    assert NAME in landed.read_text("cp1252")


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_delivery_says_nothing_about_anyone_wherever_it_fails(
    settled: Platform, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    settings, ledger = settled.settings, settled.ledger
    bad = deliver(delivery_in(settings.inbox_path, "rn"), settings.inbox_path, "next", "2026-Q1")
    _bad(bad, kind)
    for name, value in (
        ("HOME", settings.home), ("KEY_FILE", settings.key_file), ("INBOX", settings.inbox), ("ADMIT_TEST_NUMBERS", "1")
    ):  # fmt: skip
        monkeypatch.setenv(f"DELICTVRIJ_{name}", str(value))
    said = [CliRunner().invoke(main, ["check", str(bad), *options]) for options in (["--lang", "nl"], ["--json"])]
    assert [result.exit_code for result in said] == [1, 1]
    receipt = ingest(bad, settings, ledger)
    assert receipt.status == "rejected"
    shown = "".join(result.output for result in said) + repr(receipt) + caplog.text
    assert not [canary for canary in CANARIES if canary in shown]
    assert found_outside_landing(settings.home_path) == []


def test_the_search_finds_what_it_looks_for(settled: Platform) -> None:
    home = settled.settings.home_path
    pq.write_table(pq.read_table(next((home / "raw").rglob("officers.parquet"))), home / "plain.parquet")
    assert found_outside_landing(home) == []
    pd.DataFrame({"who": [NAME] * 500}).to_parquet(home / "leak.parquet", compression="zstd")
    with sqlite3.connect(home / "leak.sqlite") as connection:
        connection.execute("create table leak (who text)")
        connection.execute("insert into leak values (?)", [NUMBERS[0]])
    found = found_outside_landing(home)
    assert {Path(path).name for path, _ in found} == {"leak.parquet", "leak.sqlite"}
