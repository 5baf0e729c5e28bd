"""Names and numbers of persons stay in landing: planted in every field, they are found nowhere else."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from orchestration.cli import main
from orchestration.definitions import launch
from orchestration.deliveries.contracts import Organisation, Table
from orchestration.deliveries.ingest import ingest, known_key
from orchestration.simulation.mutations import _rewrite
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
from tests.searching import as_number, texts

NAME = "Zwaluwstaart-van Kannarie"
TEXTS = (NAME, "z.kannarie@post.example", "06-98765123", "Kanariestraat 417")
NUMBERS = ("987651237", "98765124", "765198", "T98765125", "A98765126")
# Thirty-one more: names, addresses, places, telephone numbers, mail, and national numbers that pass the eleven test.
FAMILY = tuple(
    f"{name}-Kannarie" for name in ("Abbes", "Bloemhof", "Crul", "Dijkgraaf", "Eekhout", "Fokkens", "Grutter")
)
PLACES = tuple(
    f"{name}laan {number}, Kannariedorp"
    for number, name in enumerate(("Acacia", "Beuken", "Ceder", "Dennen", "Elzen"), 91)
)
CALLS = ("020-7654981", "+31 6 98765981", "0031698765982", "06 98 76 59 83", "(070) 7659 841")
MAILS = ("abbes@kannarie.example", "crul.k@post.example", "eekhout_91@kannarie.example", "grutter@kannarie.example")
PERSONS = (
    "987650014",
    "987650026",
    "987650038",
    "987650051",
    "987650063",
    "987650075",
    "987650087",
    "987650099",
    "987650105",
    "987650117",
)
CANARIES = (*TEXTS, *NUMBERS, *FAMILY, *PLACES, *CALLS, *MAILS, *PERSONS)
# Short digits come by chance among the decimals of an estimate and in a hash: they count where they stand as a number.
PATTERNS = {
    name: as_number(name) if name.isdigit() and len(name) < 8 else re.compile(re.escape(name)) for name in CANARIES
}


def found_outside_landing(home: Path) -> list[tuple[str, str]]:
    paths = [path for path in home.rglob("*") if path.relative_to(home).parts[0] != "landing"]
    files = [path for path in paths if path.is_file()]
    assert len(files) > 5
    names = [(path.name, canary) for path in paths for canary in CANARIES if canary in path.name]
    return names + [
        (str(path), canary)
        for path in files
        for text in texts(path)
        for canary, pattern in PATTERNS.items()
        if canary in text and pattern.search(text)
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
    pd.DataFrame({"supervision": [NUMBERS[2]] * 500, "estimate": 0.25}).to_parquet(home / "number.parquet")
    pd.DataFrame({"estimate": [float(f"0.1{NUMBERS[2]}3")] * 500}).to_parquet(home / "decimals.parquet")
    found = found_outside_landing(home)
    assert {Path(path).name for path, _ in found} == {"leak.parquet", "leak.sqlite", "number.parquet"}


def _eleven_proof(number: str) -> bool:
    weights = (9, 8, 7, 6, 5, 4, 3, 2, -1)
    return sum(weight * int(digit) for weight, digit in zip(weights, number, strict=True)) % 11 == 0


def test_there_are_forty_canaries_and_the_national_numbers_among_them_pass() -> None:
    assert len(set(CANARIES)) >= 40
    assert all(_eleven_proof(number) for number in PERSONS)


def _people(table: Table, frame: pd.DataFrame, numbers: Sequence[str] = PERSONS) -> tuple[Table, pd.DataFrame]:
    """The first clients under canary names and these numbers, which no registry knows."""
    names, persons = (
        frame[table.column("surname").source].to_numpy().copy(),
        frame[table.column("national_number").source].to_numpy().copy(),
    )
    texts = [*FAMILY, *PLACES, *CALLS, *MAILS, *TEXTS]
    for place in range(len(frame)):
        names[place] = texts[place % len(texts)]
        if place < len(numbers):
            persons[place] = numbers[place]
    return table, frame.assign(
        **{table.column("surname").source: names, table.column("national_number").source: persons}
    )


def _everywhere(table: Table, frame: pd.DataFrame) -> tuple[Table, pd.DataFrame]:
    """A canary in each column that is text in the file, in the first rows."""
    changed = frame.copy()
    for number, header in enumerate(frame.columns):
        values = frame[header].to_numpy(dtype=object).copy()
        if len(values) and all(isinstance(cell, str) or pd.isna(cell) for cell in values):
            values[: len(CANARIES)] = [
                CANARIES[(number + place) % len(CANARIES)] for place in range(min(len(values), len(CANARIES)))
            ]
            changed[header] = values
    return table, changed


def _rewritten(delivery: Path, organisation: Organisation, table_name: str, rewrite: Rewritten) -> None:
    manifest = manifest_of(delivery)
    table = organisation.table(table_name)
    _rewrite(delivery, manifest, organisation, table, lambda _, same, frame: rewrite(same, frame))


Rewritten = Callable[[Table, pd.DataFrame], tuple[Table, pd.DataFrame]]


@pytest.mark.usefixtures("_brief_models")
def test_nothing_of_anybody_is_anywhere_after_good_and_bad_deliveries_of_every_form_were_taken_in_built_and_fitted(
    settled: Platform, contracts: dict[str, Organisation], capfd: pytest.CaptureFixture[str]
) -> None:
    settings, ledger = settled.settings, settled.ledger
    partners = [name for name, organisation in contracts.items() if organisation.kind == "partner"]
    for place, name in enumerate(partners):  # a part of the numbers for each: most people stay linked
        good = deliver(delivery_in(settings.inbox_path, name), settings.inbox_path, "people", "2026-Q1")
        _rewritten(good, contracts[name], "clients", partial(_people, numbers=PERSONS[place :: len(partners)]))
    for name in (*partners, "registry"):
        source = next(settings.inbox_path.glob(f"{name}/*/*/manifest.json")).parent
        for number, table in enumerate(contracts[name].tables):
            period = "2026-Q2" if name in partners else "2026"
            bad = deliver(source, settings.inbox_path, f"bad-{number}", period, sequence=number)
            _rewritten(bad, contracts[name], table.name, _everywhere)
    ledger.close()
    done = launch(settings.model_copy(update={"imputations": 2}))
    said = capfd.readouterr()
    verdicts = {(record.organisation, record.delivery_id): record.status for record in ledger.deliveries()}
    assert {verdicts[name, "people"] for name in partners} == {"accepted"}
    bad = [status for (_, delivery), status in verdicts.items() if delivery.startswith("bad")]
    assert bad.count("rejected") >= len(bad) - 1 >= 28  # one table of the registry may be empty, and is
    assert done.requested and (settings.fits / "current").exists()
    kinds = {path.suffix for path in settings.home_path.rglob("*") if path.is_file()}
    assert kinds >= {".parquet", ".sqlite", ".db", ".duckdb", ".json", ".txt", ".html"}
    assert found_outside_landing(settings.home_path) == []
    assert not [canary for canary in CANARIES if canary in said.out + said.err]
