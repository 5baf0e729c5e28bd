"""Written deliveries: the bytes, the contract, the periods, and that each mutation makes one thing wrong."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyreadstat
import pytest
from python_calamine import CalamineWorkbook

from orchestration.deliveries.contracts import read_contracts
from orchestration.simulation import simulate
from orchestration.simulation.delivery import EXPECTATIONS
from orchestration.simulation.mutations import CannotMutate, mutate

CONTRACTS = read_contracts(EXPECTATIONS)
ROOT = Path(__file__).parents[2]
FORMS = ("rn/2023-Q4", "svg/2023-Q4", "ljr/2023-Q4", "registry/2023", "north_carolina/1978")


def _digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _delivery(out: Path, place: str) -> Path:
    return next((out / place).iterdir())


def _manifest(delivery: Path) -> dict:
    return json.loads((delivery / "manifest.json").read_text())


def _read(delivery: Path, table: str) -> list[list[str]]:
    """Header and rows as text, whatever the form; whole numbers without a decimal point."""
    manifest = _manifest(delivery)
    entry = next(entry for entry in manifest["tables"] if entry["table"] == table)
    file = next(file for file in manifest["files"] if file["name"] == entry["file"])
    path = delivery / entry["file"]

    def text(cell: object) -> str:
        if cell is None or cell != cell:
            return ""
        return f"{cell:g}" if isinstance(cell, float) else str(cell)

    if path.suffix == ".csv":
        with path.open(encoding=file["encoding"], newline="") as stream:
            return list(csv.reader(stream, delimiter=file["delimiter"]))
    if path.suffix == ".xlsx":
        rows = CalamineWorkbook.from_path(str(path)).get_sheet_by_name(entry["sheet"]).to_python()
        return [[text(cell) for cell in row] for row in rows]
    frame, _ = pyreadstat.read_sav(str(path), user_missing=True)
    return [list(frame.columns), *([text(cell) for cell in row] for row in frame.astype(object).to_numpy().tolist())]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deliveries")
    simulate(folder, clients=40)
    return folder


def test_four_years_are_53_deliveries_with_the_real_cohort(out: Path) -> None:
    assert len(list(out.glob("*/*/*/manifest.json"))) == 3 * 16 + 4 + 1
    assert json.loads((out / "truth.json").read_text())["simulated"] is True


def test_the_same_seed_gives_the_same_bytes_in_every_time_zone_and_another_seed_others(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from orchestration.simulation import simulate; "
        "simulate(Path(sys.argv[1]), 20, 1, periods='last')"
    )
    runs = []
    for name, zone in (("a", "UTC"), ("b", "Pacific/Auckland")):
        environment = {**os.environ, "TZ": zone, "PYTHONPATH": str(ROOT)}
        runs.append(subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)], env=environment))
    simulate(tmp_path / "c", 20, 2, periods="last")
    assert [run.wait() for run in runs] == [0, 0]
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b")
    same = _digest(tmp_path / "a").items() & _digest(tmp_path / "c").items()
    assert {name.split("/")[0] for name, _ in same} == {"north_carolina"}


@pytest.mark.parametrize("place", FORMS)
def test_a_delivery_is_spelled_by_its_contract(out: Path, place: str) -> None:
    delivery = _delivery(out, place)
    organisation = CONTRACTS[place.split("/")[0]]
    for table in organisation.tables:
        header, *rows = _read(delivery, table.name)
        assert header == [column.source for column in table.columns]
        for column, cells in zip(table.columns, zip(*rows, strict=True), strict=False):
            recorded = {cell for cell in cells if cell not in ("", *column.missing)}
            assert recorded or not column.is_required
            if column.is_required:
                assert all(cells)
            if column.type == "code":
                assert recorded <= {code.source for code in column.codes}
            if column.pattern:
                assert all(re.fullmatch(column.pattern, cell) for cell in recorded)
            if column.type == "integer":
                assert all(column.minimum <= int(cell) <= column.maximum for cell in recorded)
        keys = [tuple(row[header.index(table.column(name).source)] for name in table.key) for row in rows]
        assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("place", FORMS)
def test_the_manifest_is_true_to_the_files(out: Path, place: str) -> None:
    delivery = _delivery(out, place)
    manifest = _manifest(delivery)
    for file in manifest["files"]:
        content = (delivery / file["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
    for entry in manifest["tables"]:
        assert len(_read(delivery, entry["table"])) - 1 == entry["rows"]


def test_each_period_holds_the_rows_of_the_one_before(out: Path) -> None:
    for table in ("waves", "item_responses", "covariates"):
        before: set[tuple[str, ...]] = set()
        for period in ("2022-Q1", "2022-Q4", "2023-Q4", "2025-Q4"):
            rows = {tuple(row) for row in _read(_delivery(out, f"rn/{period}"), table)}
            assert before < rows or (period == "2025-Q4" and before <= rows)
            before = rows


def test_nothing_is_known_before_it_happened(out: Path) -> None:
    header, *rows = _read(_delivery(out, "rn/2022-Q4"), "supervisions")
    frame = pd.DataFrame(rows, columns=header)
    for name in ("Begindatum", "Einddatum"):
        assert (pd.to_datetime(frame[name].replace("", None), format="%d-%m-%Y").dropna() <= "2022-12-31").all()
    still_open = frame["Einddatum"] == ""
    assert still_open.any() and (frame.loc[still_open, "Reden einde"] == "").all()
    header, *rows = _read(_delivery(out, "registry/2022"), "disposals")
    frame = pd.DataFrame(rows, columns=header)
    pending = frame["afdoening"] == "OPEN"
    assert pending.any() and (frame.loc[pending, ["afdoeningsdatum", "onvoorwaardelijk_dagen"]] == "").all(axis=None)
    assert (frame.loc[~pending, "afdoeningsdatum"] <= "2022-12-31").all()


def test_rn_writes_windows_bytes_decimal_commas_and_its_own_dates(out: Path) -> None:
    delivery = _delivery(out, "rn/2023-Q4")
    assert b"werker" in (content := (delivery / "waves.csv").read_bytes()) and "cliënt".encode("cp1252") in content
    assert content.count(b"\r\n") == content.count(b"\n")
    assert re.search(rb";\d+,\d;\d,\d\r\n", (delivery / "officers.csv").read_bytes())


def test_a_form_can_be_asked_for_and_the_last_period_alone(tmp_path: Path) -> None:
    simulate(tmp_path, clients=30, form="csv", periods="last")
    assert sorted(path.parts[-3] for path in tmp_path.glob("*/*/*/manifest.json")) == ["1978", "2025", *["2025-Q4"] * 3]
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".xlsx", ".sav")]


def test_a_delivery_is_never_written_over_another(out: Path) -> None:
    with pytest.raises(FileExistsError):
        simulate(out, clients=60, periods="last")


def test_the_real_cohort_is_the_published_one(out: Path) -> None:
    header, *rows = _read(_delivery(out, "north_carolina/1978"), "recid")
    frame = pd.DataFrame(rows, columns=header).astype(int)
    assert (len(frame), int((frame["cens"] == 0).sum()), int(frame["durat"].sum())) == (1445, 552, 80013)


SIX = ("empty_table", "missing_column", "renamed_column", "truncated_file", "unknown_code", "wrong_hash")


@pytest.mark.parametrize("place", FORMS)
@pytest.mark.parametrize("name", SIX)
def test_a_mutation_makes_one_thing_wrong(out: Path, tmp_path: Path, place: str, name: str) -> None:
    source = _delivery(out, place)
    bad = tmp_path / source.name
    shutil.copytree(source, bad)
    try:
        mutate(bad, name)
    except CannotMutate:
        assert (place, name) == ("north_carolina/1978", "unknown_code")
        return
    organisation, manifest = CONTRACTS[place.split("/")[0]], _manifest(bad)
    wrong_files = [
        file["name"]
        for file in manifest["files"]
        if hashlib.sha256((bad / file["name"]).read_bytes()).hexdigest() != file["sha256"]
    ]
    if name in ("truncated_file", "wrong_hash"):
        size = (bad / wrong_files[0]).stat().st_size
        assert len(wrong_files) == 1 and (size == manifest["files"][0]["bytes"]) == (name == "wrong_hash")
        return
    assert not wrong_files
    differences = {}
    for table in organisation.tables:
        before, after = _read(source, table.name), _read(bad, table.name)
        if before != after:
            differences[table.name] = before, after
            assert len(after) - 1 == next(entry["rows"] for entry in manifest["tables"] if entry["table"] == table.name)
    ((before, after),) = differences.values()
    if name == "missing_column":
        assert len(after[0]) == len(before[0]) - 1 and set(after[0]) < set(before[0])
    elif name == "renamed_column":
        assert after[1:] == before[1:] and sum(old != new for old, new in zip(before[0], after[0], strict=True)) == 1
    elif name == "unknown_code":
        assert (
            sum(old != new for one, two in zip(before, after, strict=True) for old, new in zip(one, two, strict=True))
            == 1
        )
    else:
        assert after == before[:1]
