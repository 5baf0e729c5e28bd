"""A whole release: every cell in every format, scripts that find the numbers of the fit, metadata that others' validators take."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import jsonschema
import pandas as pd
import pyarrow.parquet as pq
import pyreadstat
import pytest
import yaml

from orchestration.releases.tables import FitOfOtherRows, ReleasedTable, StoredTable
from orchestration.releases.writing import FolderDamaged, TableInventory, write_table
from orchestration.releases.zone import write_release_tables
from orchestration.warehouse.diff import compare
from tests.releases import cells
from tests.releases.making import DAY, OUTCOME, SmallRelease

SCHEMAS = Path(__file__).parent / "schemas"
needs_r = pytest.mark.skipif(
    shutil.which("Rscript") is None, reason="Rscript is not on PATH (apt: r-base-core, r-cran-haven)"
)
needs_pspp = pytest.mark.skipif(shutil.which("pspp") is None, reason="pspp is not on PATH (apt: pspp)")


def _none_differs(found: dict[str, tuple[int, int]]) -> None:
    assert all(count > 10_000 for count, _ in found.values())
    assert {reader: wrong for reader, (_, wrong) in found.items() if wrong} == {}


def test_parquet_and_csv_hold_every_cell(release: SmallRelease) -> None:
    _none_differs(cells.by_python(release, cells.tables_of(release)))


@needs_r
def test_haven_and_r_read_every_cell(release: SmallRelease, tmp_path: Path) -> None:
    _none_differs(cells.by_r(release, cells.tables_of(release), tmp_path))


@needs_pspp
def test_pspp_reads_every_cell(release: SmallRelease, tmp_path: Path) -> None:
    _none_differs(cells.by_pspp(release, cells.tables_of(release), tmp_path))


def test_a_cell_that_differs_is_counted(release: SmallRelease) -> None:
    table = cells.tables_of(release)[0]
    text = (release.folder / "csv" / f"{table.name}.csv").read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines()))[1:]
    rows[0][0] += "x"
    assert cells.differences(table, rows)[1] == 1
    assert cells.differences(table, rows[1:])[1] == cells.differences(table, rows)[0]


def _answers(release: SmallRelease, command: list[str]) -> tuple[set[tuple[str, ...]], dict[str, tuple[float, float]]]:
    done = subprocess.run(command, cwd=release.folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split(",") for line in done.stdout.splitlines()]
    counts = {tuple(line[1:]) for line in lines if line[0] == "count"}
    return counts, {line[1]: (float(line[2]), float(line[3])) for line in lines if line[0] == "cox"}


@pytest.mark.parametrize(
    "command",
    [pytest.param(["Rscript", "--vanilla", "scripts/start.R"], marks=needs_r), [sys.executable, "scripts/start.py"]],
    ids=["R", "Python"],
)
def test_a_script_finds_table_1_and_the_numbers_of_the_fit(release: SmallRelease, command: list[str]) -> None:
    counts, estimates = _answers(release, command)
    client = pd.read_parquet(release.version.folder / "client.parquet")
    names = [one.name for one in release.catalogue.table("client").variables if one.values]
    assert counts == {(name, str(value), str(n)) for name in names for value, n in client[name].value_counts().items()}
    fitted = pd.read_parquet(release.fit / "estimates.parquet")
    fitted = fitted[fitted["model_id"] == release.inventory.model_id].set_index("term")
    assert len(fitted) == len(estimates) == 2
    for term, (estimate, error) in estimates.items():
        assert estimate == pytest.approx(fitted.loc[term, "estimate"], abs=1e-6)
        assert error == pytest.approx(fitted.loc[term, "std_error"], abs=1e-6)


@needs_pspp
def test_pspp_runs_the_spss_script_without_an_error(release: SmallRelease) -> None:
    done = subprocess.run(
        ["pspp", "-O", "format=csv", "scripts/start.sps"],
        cwd=release.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    client = pd.read_parquet(release.version.folder / "client.parquet")
    men = int((client["sex"] == "male").sum())
    assert done.returncode == 0, done.stdout
    assert f",man,{men}," in done.stdout
    assert "error" not in done.stdout.lower()


@needs_r
def test_mice_takes_the_imputed_data_as_they_are(release: SmallRelease) -> None:
    code = (
        f'd <- read.csv("csv/imputed_{OUTCOME}.csv", na.strings = ""); m <- mice::as.mids(d); '
        "cat(m$m, nrow(m$data), sum(is.na(m$data$client_trust_t2)), sum(is.na(mice::complete(m, 1)$client_trust_t2)))"
    )
    done = subprocess.run(
        ["Rscript", "-e", code], cwd=release.folder, capture_output=True, text=True, timeout=120, check=True
    )
    original = pd.read_parquet(release.folder / "parquet" / f"imputed_{OUTCOME}.parquet").query("Imputation_ == 0")
    missing = int(original["client_trust_t2"].isna().sum())
    assert missing > 0
    assert done.stdout.split() == ["3", str(len(original)), str(missing), "0"]


def test_frictionless_takes_the_data_package(release: SmallRelease) -> None:
    from frictionless import Package, system

    with system.use_context(trusted=True):
        report = Package(str(release.folder / "datapackage.json")).validate()
    assert report.valid, report.flatten(["type", "fieldName"])[:10]
    assert report.stats["tasks"] == len(release.inventory.tables)


def _schema(name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    return content


def test_citation_and_datacite_follow_their_schemas(release: SmallRelease) -> None:
    citation = yaml.load((release.folder / "CITATION.cff").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506 - text only
    jsonschema.validate(citation, _schema("citation-file-format-1.2.0.json"))
    datacite = json.loads((release.folder / "datacite.json").read_text(encoding="utf-8"))
    jsonschema.validate(datacite, _schema("datacite-4.5.json"))
    for name in ("title", "authors"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(
                {k: v for k, v in citation.items() if k != name}, _schema("citation-file-format-1.2.0.json")
            )


def test_the_ddi_names_every_table_and_column(release: SmallRelease) -> None:
    root = Xml.parse(release.folder / "ddi.xml").getroot()  # noqa: S314 - our own
    spaces = {"ddi": "ddi:codebook:2_5"}
    assert next(child.tag.partition("}")[2] for child in root) == "stdyDscr"
    assert len(root.findall("ddi:fileDscr", spaces)) == len(release.inventory.tables)
    assert len(root.findall("ddi:dataDscr/ddi:var", spaces)) == sum(one.columns for one in release.inventory.tables)


def test_the_crate_lists_every_file(release: SmallRelease) -> None:
    from rocrate.rocrate import ROCrate

    crate = ROCrate(str(release.folder))
    listed = {entity.id for entity in crate.data_entities}
    assert listed == set(release.inventory.files) - {"ro-crate-metadata.json"}
    assert all((release.folder / name).is_file() for name in listed)


def test_the_codebook_has_every_column_and_needs_nothing_from_elsewhere(release: SmallRelease) -> None:
    columns = sum(one.columns for one in release.inventory.tables)
    with (release.folder / "codebook.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    page = (release.folder / "codebook.html").read_text(encoding="utf-8")
    assert len(rows) == page.count('<tr class="column">') == columns
    assert all(
        row["label_nl"] and row["label_en"] and row["personal"] and row["purpose"] and row["retention"] for row in rows
    )
    assert not any(text in page for text in ("http:", "https:", "//", "@import", "src=", "<link"))
    assert "SIMULATED" in page


def test_the_checksums_hold_and_what_is_simulated_says_so(release: SmallRelease) -> None:
    done = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=release.folder, check=False)
    assert done.returncode == 0
    for name in ("README.md", "CITATION.cff", "scripts/start.R", "datacite.json", "ddi.xml", "datapackage.json"):
        assert "SIMULATED" in (release.folder / name).read_text(encoding="utf-8"), name


def test_a_fit_of_other_rows_is_refused_and_nothing_is_written(release: SmallRelease, tmp_path: Path) -> None:
    fit = shutil.copytree(release.fit, tmp_path / "fit")
    imputed = pd.read_parquet(fit / "imputed.parquet")
    imputed.assign(duration_days=imputed["duration_days"] + 1).to_parquet(fit / "imputed.parquet")
    with pytest.raises(FitOfOtherRows, match=OUTCOME):
        write_release_tables(
            release.version,
            fit,
            tmp_path / "out",
            release.catalogue,
            release.spec,
            tag="2",
            released_on=DAY,
            makes_inert=True,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit"]


def test_a_release_that_was_cleared_while_it_was_written_is_none(
    release: SmallRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cleared_before(table: ReleasedTable | StoredTable, folder: Path, *given: Any, **more: Any) -> TableInventory:
        if table.name == "wave":
            for there in folder.iterdir():
                shutil.rmtree(there) if there.is_dir() else there.unlink()
        return write_table(table, folder, *given, **more)

    monkeypatch.setattr("orchestration.releases.writing.write_table", cleared_before)
    with pytest.raises(FolderDamaged, match=r"\d+ of \d+ table\(s\) went while the folder was written"):
        write_release_tables(
            release.version, release.fit, tmp_path / "out", release.catalogue, release.spec, tag="2", released_on=DAY,
            makes_inert=True,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_the_same_version_gives_the_same_bytes_but_for_spss_and_says_what_changed(
    release: SmallRelease, tmp_path: Path
) -> None:
    again = write_release_tables(
        release.version, release.fit, tmp_path / "out", release.catalogue, release.spec, tag="2026.1.0", released_on=DAY,
        makes_inert=True, difference=compare(release.version, release.version),
    )  # fmt: skip
    assert again.tables == release.inventory.tables
    differing = {name for name, mark in again.files.items() if release.inventory.files[name] != mark}
    assert {name for name in differing if not name.startswith("sav/")} <= {"CHANGELOG.md", "ro-crate-metadata.json"}
    assert "0 outcome(s) of the past changed" in (tmp_path / "out" / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_value_of_a_code_list_that_occurs_has_a_label(release: SmallRelease) -> None:
    without = []
    for path in sorted((release.folder / "parquet").glob("*.parquet")):
        table = pq.read_table(path)
        for field in table.schema:
            values = json.loads(field.metadata[b"delictvrij"]).get("values")
            if values:
                there = {
                    int(value) if isinstance(value, bool) else value for value in table[field.name].unique().to_pylist()
                }
                without += [f"{path.stem}.{field.name}"] if there - {None} - {one["value"] for one in values} else []
    assert without == []


def test_a_missing_score_says_in_spss_what_became_of_the_wave(release: SmallRelease) -> None:
    codes = {one.term: float(one.code) for one in release.catalogue.table("alliance_score").variable("score").missing}
    frame, _ = pyreadstat.read_sav(release.folder / "sav" / "wide.sav", user_missing=True)
    status, score = frame["client_t2_status"], frame["client_trust_t2"]
    not_done = status[(status != "done") & (status != "")]
    assert len(not_done) > 0
    assert score[not_done.index].tolist() == [codes[value] for value in not_done]
    assert score.notna().all()
    assert (
        score[status == "done"].isin([codes["too_few_answers"]]).sum() + score.between(1, 5).sum()
        == (status == "done").sum()
    )


def test_the_wide_table_and_the_original_hold_what_was_published(release: SmallRelease) -> None:
    read = {
        name: pd.read_parquet(release.version.folder / f"{name}.parquet")
        for name in ("alliance_score", "analysis_cohort", "client", "followup")
    }
    flat = pd.read_parquet(release.folder / "parquet" / "wide.parquet").set_index("client_id")
    assert len(flat) == len(read["client"])
    scores = read["alliance_score"]
    for (rater, scale, wave), rows in scores.groupby(["rater", "scale", "wave"]):
        column = flat[f"{rater}_{scale}_{wave.lower()}"].dropna()
        published = rows.set_index("client_id")["score"].dropna()
        assert column.to_dict() == published.to_dict()
    followed = read["followup"].query("outcome_id == @OUTCOME").set_index("client_id")
    assert flat[f"{OUTCOME}_event"].dropna().to_dict() == followed["event"].dropna().to_dict()
    stacked = pd.read_parquet(release.folder / "parquet" / f"imputed_{OUTCOME}.parquet").query("Imputation_ == 0")
    cohort = read["analysis_cohort"].query("outcome_id == @OUTCOME and is_eligible").set_index("client_id")
    original = stacked.set_index("client_id")
    for name in ("client_bond_t1", "client_trust_t2", "client_trust_state", "risc_total", "duration_days"):
        assert original[name].dropna().to_dict() == cohort.loc[original.index, name].dropna().to_dict(), name
