"""Handing over: all that a permission covers, nothing else, only of an approved and intact release, and on record."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pyreadstat
import pytest

from orchestration.hashing import sha256_file
from orchestration.ledger import Ledger
from orchestration.releases import consents
from orchestration.releases.approval import TOMBSTONE
from orchestration.releases.formats import read_written
from orchestration.releases.handover import CannotHandOver, Receipt, downloads, receipt_of
from orchestration.releases.registers import Terms, revoke
from orchestration.releases.tables import ReleasedTable
from orchestration.releases.writing import FolderDamaged, table_files, verify_written
from orchestration.releases.zone import write_release_tables
from tests.conftest import settings_in
from tests.releases import scripts
from tests.releases.handing import EVERYTHING, NO_CRIMINAL, TODAY, Desk, Stand
from tests.releases.making import DAY, SmallRelease

needs_r = pytest.mark.skipif(
    shutil.which("Rscript") is None, reason="Rscript is not on PATH (apt: r-base-core, r-cran-haven, r-cran-mice)"
)
needs_pspp = pytest.mark.skipif(shutil.which("pspp") is None, reason="pspp is not on PATH (apt: pspp)")


@pytest.fixture
def desk(release: SmallRelease, empty: Ledger, tmp_path: Path) -> Iterator[Desk]:
    yield Desk(settings_in(tmp_path), empty, release, tmp_path / "out")
    empty.close()


def test_a_permission_for_everything_gets_the_release_byte_for_byte(desk: Desk) -> None:
    desk.permit()
    desk.consent()
    desk.out.mkdir()
    receipt = desk.hand()
    release = desk.release
    assert verify_written(desk.out) == verify_written(release.folder)
    assert receipt.columns_left_out == 0
    assert receipt.checksum == sha256_file(desk.out / "SHA256SUMS")
    said = json.loads(receipt_of(desk.out).read_text(encoding="utf-8"))
    assert (said["person"], said["handed_by"], said["permission_id"]) == (
        "researcher",
        "steward",
        EVERYTHING.permission_id,
    )
    assert said["rows"] == {one.name: one.rows for one in release.inventory.tables}


def test_a_table_that_a_sheet_of_excel_cannot_hold_is_in_every_other_format_and_is_named(
    release: SmallRelease, empty: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = sorted((one.rows, one.name) for one in release.inventory.tables)
    largest, fits = sizes[-1][1], sizes[-2][1]
    monkeypatch.setattr("orchestration.releases.writing.EXCEL_LINES", sizes[-1][0])
    made = write_release_tables(
        release.version, release.fit, tmp_path / "release", release.catalogue, release.spec, tag="2026.1.0",
        released_on=DAY, makes_inert=True,
    )  # fmt: skip
    desk = Desk(
        settings_in(tmp_path), empty, replace(release, folder=tmp_path / "release", inventory=made), tmp_path / "out"
    )
    desk.permit()
    desk.consent()
    desk.hand()
    for folder in (desk.release.folder, desk.out):
        assert {name for name in release.inventory.files if name not in verify_written(folder)} == {
            f"csv-nl/{largest}.csv"
        }
        excel = next(
            line for line in (folder / "README.md").read_text(encoding="utf-8").splitlines() if "csv-nl/" in line
        )
        assert f"`{largest}`" in excel and f"`{fits}`" not in excel
    empty.close()


def test_what_a_release_holds_is_handed_over_whatever_would_be_written_of_it_today(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.permit()
    desk.consent()
    monkeypatch.setattr("orchestration.releases.writing.EXCEL_LINES", 100)
    desk.hand()
    assert verify_written(desk.out) == verify_written(desk.release.folder)


def test_nothing_is_said_of_excel_where_there_is_nothing_for_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.permit(replace(EVERYTHING, classes=NO_CRIMINAL))
    desk.consent()
    monkeypatch.setattr("orchestration.releases.writing.EXCEL_LINES", 1)
    desk.hand(tables=("wide",))
    assert "csv-nl" not in (desk.out / "README.md").read_text(encoding="utf-8")
    assert {name.partition("/")[0] for name in verify_written(desk.out)} >= {"parquet", "csv", "sav"}
    assert not (desk.out / "csv-nl").exists()


@pytest.fixture(scope="module")
def limited(
    release: SmallRelease, _empty_ledger: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Receipt, Path]:
    """What a permission without criminal data, health and origin gets of four tables."""
    folder = tmp_path_factory.mktemp("limited")
    shutil.copy(_empty_ledger, folder / "ledger.sqlite")
    desk = Desk(settings_in(folder), Ledger(f"sqlite:///{folder / 'ledger.sqlite'}"), release, folder / "out")
    desk.permit(replace(EVERYTHING, classes=NO_CRIMINAL, tables=("client", "imputed", "wave", "wide")))
    desk.consent()
    return desk.hand(), desk.out


def test_columns_of_other_classes_are_in_no_format_and_in_nothing_that_is_said(
    limited: tuple[Receipt, Path], release: SmallRelease
) -> None:
    receipt, out = limited
    assert set(receipt.columns) == {"client", "imputed_general_landmark", "wave", "wide"}
    with (out / "codebook.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["personal"] for row in rows} <= {*NO_CRIMINAL, "none"}
    package = json.loads((out / "datapackage.json").read_text(encoding="utf-8"))
    described = {one["name"]: [field["name"] for field in one["schema"]["fields"]] for one in package["resources"]}
    for table in receipt.columns:
        names = pq.read_schema(out / "parquet" / f"{table}.parquet").names
        whole = pq.read_table(release.folder / "parquet" / f"{table}.parquet")
        headers = [row["csv_column"] for row in rows if row["table"] == table]
        assert names == [row["column"] for row in rows if row["table"] == table]
        assert pyreadstat.read_sav(out / "sav" / f"{table}.sav", metadataonly=True)[1].column_names == names
        assert described[table] == headers
        for form, mark in (("csv", ","), ("csv-nl", ";")):
            text = (out / form / f"{table}.csv").read_text(encoding="utf-8-sig").splitlines()
            assert text[0].split(mark) == headers
            assert len(text) == whole.num_rows + 1
        assert pq.read_table(out / "parquet" / f"{table}.parquet").equals(whole.select(names))
    assert receipt.columns_left_out > 20
    assert "index_article" not in (out / "codebook.html").read_text(encoding="utf-8")
    assert not (out / "CHANGELOG.md").exists()


def test_a_table_of_which_every_column_may_be_had_is_copied_and_the_folder_is_whole(
    limited: tuple[Receipt, Path], release: SmallRelease
) -> None:
    from frictionless import Package, system

    _, out = limited
    sums, of_release = verify_written(out), verify_written(release.folder)
    assert {sums[path] == of_release[path] for path in table_files("wave", 1).values()} == {True}
    assert {name.partition("/")[0] for name in sums} >= {
        "parquet",
        "csv",
        "csv-nl",
        "sav",
        "README.md",
        "codebook.html",
    }
    with system.use_context(trusted=True):
        assert Package(str(out / "datapackage.json")).validate().valid


def test_what_is_written_anew_still_says_in_spss_why_a_score_is_missing(
    limited: tuple[Receipt, Path], release: SmallRelease
) -> None:
    _, out = limited
    before, _ = pyreadstat.read_sav(release.folder / "sav" / "wide.sav", user_missing=True)
    after, labels = pyreadstat.read_sav(out / "sav" / "wide.sav", user_missing=True)
    assert after["client_trust_t2"].tolist() == before["client_trust_t2"].tolist()
    assert after["client_trust_t2"].ge(991).any()
    assert labels.variable_value_labels["client_trust_t2"][991.0] == "geweigerd"


@needs_r
@needs_pspp
def test_the_scripts_run_on_what_was_handed_over(
    limited: tuple[Receipt, Path], desk: Desk, release: SmallRelease
) -> None:
    _, without_a_model = limited
    desk.permit()
    desk.consent()
    desk.hand(tables=("imputed_general_landmark",))
    client = pq.read_table(without_a_model / "parquet" / "client.parquet").to_pandas()
    values = client["sex"].nunique() + client["organisation"].nunique()
    for folder, counted, terms in ((without_a_model, values, 0), (desk.out, 0, 2)):
        ran = {one.name: one for one in scripts.run(folder)}
        assert {name: one.exit_code for name, one in ran.items() if one.exit_code} == {}
        assert set(ran) == {"R", "Python", "PSPP", "haven", "mice"}
        assert (ran["R"].counts, ran["R"].terms) == (counted, terms)
        assert (ran["Python"].counts, ran["Python"].terms) == (counted, terms)
        assert (folder / "scripts" / "cox-spss.sps").exists() == (terms > 0)


def test_a_script_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "start.py").write_text("raise SystemExit(3)\n")
    assert [one.exit_code for one in scripts.run(tmp_path, only=("Python",))] == [3]


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (None, "has no permission; two people"),
        (replace(EVERYTHING, starts_on=date(2026, 6, 2)), "begins on 2026-06-02"),
        (replace(EVERYTHING, ends_on=date(2026, 5, 31)), "ended on 2026-05-31"),
        (replace(EVERYTHING, person="somebody"), "has no permission; two people"),
        (replace(EVERYTHING, tables=("wave",)), "covers all that was asked for: .* is for wave"),
        (replace(EVERYTHING, classes=("health",), bases=("uavg_24",)), "covers no column of detention"),
    ],
    ids=["none", "not begun", "ended", "of somebody else", "for other tables", "for other classes"],
)
def test_without_a_permission_that_covers_it_nothing_is_handed_over(desk: Desk, terms: Terms | None, said: str) -> None:
    if terms:
        desk.permit(terms)
    desk.consent()
    with pytest.raises(CannotHandOver, match=said):
        desk.hand(tables=("detention",))
    _nothing_happened(desk)


def _nothing_happened(desk: Desk) -> None:
    assert not desk.out.exists() or not any(desk.out.iterdir())
    assert not receipt_of(desk.out).exists()
    assert desk.ledger.hand_overs() == []


def test_one_signature_or_a_revoked_permission_is_none(desk: Desk) -> None:
    desk.consent()
    desk.permit(EVERYTHING, "steward")
    with pytest.raises(CannotHandOver, match="lacks a second signature"):
        desk.hand()
    revoke(desk.ledger, desk.permit(EVERYTHING, "lawyer"), "left", by="steward")
    with pytest.raises(CannotHandOver, match="was revoked"):
        desk.hand()
    _nothing_happened(desk)


@pytest.mark.parametrize("state", ["draft", "rejected", "superseded", "withdrawn"])
def test_only_an_approved_release_is_handed_over(desk: Desk, state: str) -> None:
    desk.permit()
    desk.consent()
    with pytest.raises(CannotHandOver, match=f"2026.1.0 is {state}"):
        desk.hand(Stand(desk.release.folder, state))
    _nothing_happened(desk)


def test_the_folder_must_be_empty_and_outside_the_home(desk: Desk) -> None:
    desk.permit()
    desk.consent()
    inside = replace(desk, out=desk.settings.home_path / "out")
    with pytest.raises(CannotHandOver, match="in the home"):
        inside.hand()
    desk.out.mkdir()
    (desk.out / "mine.txt").write_text("mine")
    with pytest.raises(CannotHandOver, match="holds something"):
        desk.hand()
    assert [path.name for path in desk.out.iterdir()] == ["mine.txt"]
    (desk.out / "mine.txt").unlink()
    receipt_of(desk.out).write_text("{}")
    with pytest.raises(CannotHandOver, match="is there already"):
        desk.hand()


@pytest.mark.parametrize(
    ("without", "said", "why"),
    [
        (3, {}, r"3 of \d+ clients lack the consent participation \(3 never gave it, 0 not yet .*, 0 took"),
        (2, {"given_on": DAY + timedelta(days=1)}, r"2 of \d+ clients .* 2 not yet"),
        (1, {"withdrawn_on": TODAY, "earlier_data": "ended"}, r"1 of \d+ clients .* 1 took it back"),
    ],
)
def test_anybody_without_a_valid_consent_blocks_and_is_only_counted(
    desk: Desk, without: int, said: dict[str, Any], why: str
) -> None:
    desk.permit()
    desk.consent(without, **said)
    with pytest.raises(CannotHandOver, match=why) as refused:
        desk.hand(tables=("client",))
    register = consents.read_register(desk.settings.consents_file, desk.ledger)
    assert not any(one.client_id in str(refused.value) for one in register)
    _nothing_happened(desk)


def test_consent_to_linkage_is_asked_for_what_came_of_it_and_nobody_is_asked_for_tables_without_people(
    desk: Desk,
) -> None:
    desk.permit(replace(EVERYTHING, classes=NO_CRIMINAL))
    desk.consent(2, consent="participation")
    assert set(desk.hand(tables=("wave",)).columns) == {"wave"}
    criminal = replace(desk, out=desk.out.with_name("criminal"))
    criminal.permit(replace(EVERYTHING, reference="2026/18"))
    with pytest.raises(CannotHandOver, match=r"2 of \d+ clients lack the consent registry"):
        criminal.hand(tables=("followup",))
    desk.settings.consents_file.unlink()
    nobody = replace(desk, out=desk.out.with_name("nobody"))
    assert set(nobody.hand(tables=("outcome_definition", "cohort_flow")).columns) == {
        "cohort_flow",
        "outcome_definition",
    }


def test_a_withdrawal_that_partners_delivered_and_the_register_lacks_blocks(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.permit()
    desk.consent()
    one = pq.read_table(desk.release.folder / "parquet" / "client.parquet")["client_id"][0].as_py()
    monkeypatch.setattr("orchestration.releases.handover._withdrew", lambda folder: {one})
    with pytest.raises(CannotHandOver, match=r"1 client\(s\) withdrew their consent as partners delivered it"):
        desk.hand(tables=("client",))
    _nothing_happened(desk)


@pytest.mark.parametrize("harm", ["changed", "gone", "added"])
def test_a_release_that_is_not_intact_is_not_handed_over(desk: Desk, tmp_path: Path, harm: str) -> None:
    desk.permit()
    desk.consent()
    folder = shutil.copytree(desk.release.folder, tmp_path / "spoilt")
    path = folder / "csv" / "officer.csv"
    if harm == "changed":
        path.write_bytes(path.read_bytes()[:-2] + b"?\n")
    elif harm == "gone":
        path.unlink()
    else:
        (folder / "csv" / "more.csv").write_text("x\n")
    with pytest.raises(FolderDamaged, match=r"csv/(officer|more)\.csv"):
        desk.hand(Stand(folder), ("wave",))
    _nothing_happened(desk)


def test_a_release_that_is_changed_while_it_is_handed_over_is_not(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.permit()
    desk.consent()
    folder = shutil.copytree(desk.release.folder, tmp_path / "moving")

    def meanwhile(*_: object) -> None:
        (folder / "README.md").write_text("other words")

    monkeypatch.setattr("orchestration.releases.handover._require_the_same", meanwhile)
    with pytest.raises(FolderDamaged, match=r"README\.md"):
        desk.hand(Stand(folder), ("wave",))
    _nothing_happened(desk)


def test_what_does_not_arrive_as_it_is_in_the_release_is_not_handed_over(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.permit(replace(EVERYTHING, classes=NO_CRIMINAL))
    desk.consent()
    read = read_written

    def shortened(folder: Path, name: str) -> ReleasedTable:
        table = read(folder, name)
        return table if folder == desk.release.folder else replace(table, rows=table.rows.slice(1))

    monkeypatch.setattr("orchestration.releases.handover.read_written", shortened)
    with pytest.raises(FolderDamaged, match="client did not arrive"):
        desk.hand(tables=("client",))
    _nothing_happened(desk)


def test_what_cannot_be_put_on_record_is_not_handed_over(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.permit()
    desk.consent()

    def broken(handed: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(desk.ledger, "record_hand_over", broken)
    with pytest.raises(OSError, match="disk is full"):
        desk.hand(tables=("wave",))
    _nothing_happened(desk)


def test_who_has_an_older_release_is_known_so_that_they_can_be_told(desk: Desk) -> None:
    desk.permit()
    desk.consent()
    desk.hand(tables=("wave", "officer"))
    made = {"version_id": "v", "fit_id": "f", "after": None, "manifest_sha256": "0"}
    desk.ledger.record_draft({**made, "tag": "2026.1.0"}, "one")
    desk.ledger.decide_release("2026.1.0", "approved", "two", "")
    (had,) = downloads(desk.settings, desk.ledger, TODAY)
    assert (had.person, had.tables, had.handed_by, had.is_stale) == (
        "researcher",
        ("officer", "wave"),
        "steward",
        False,
    )
    desk.ledger.record_draft({**made, "tag": "2026.2.0", "after": "2026.1.0"}, "one")
    desk.ledger.decide_release("2026.2.0", "approved", "two", "", ["2026.1.0"])
    (had,) = downloads(desk.settings, desk.ledger, date(2027, 1, 2))
    assert (had.is_stale, had.release_state, had.permission_state) == (True, "superseded", "ended")
    assert "release.handed_over" in {row["what"] for row in desk.ledger.audit()}
    tombstone = desk.settings.releases / "2026.1.0" / TOMBSTONE
    tombstone.parent.mkdir(parents=True)
    tombstone.write_text("{}")
    (had,) = downloads(desk.settings, desk.ledger, TODAY)
    assert (had.is_stale, had.release_state) == (True, "withdrawn")
