"""People leave: erased they are nowhere, stopped nothing new of them comes in, and a process that dies on the way goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestration.cli import main
from orchestration.deliveries.contracts import read_contracts
from orchestration.deliveries.ingest import check_delivery, ingest, known_key
from orchestration.deliveries.leaving import CannotRead, Known
from orchestration.deliveries.people import marks_of
from orchestration.deliveries.retention import clear_landing
from orchestration.home import opened
from orchestration.ledger import Ledger, now
from orchestration.releases import superseding, withdrawal
from orchestration.releases.consents import read_register
from orchestration.releases.withdrawal import STEPS, Asked, CannotWithdraw, begin, finish
from orchestration.settings import Settings
from orchestration.store import push_all
from orchestration.warehouse import aside, versions
from tests.conftest import Platform, settings_in
from tests.deliveries.making import change_rows, deliver, delivery_in
from tests.releases.dying import settings_of
from tests.releases.leaving import Person, furnished, looked_for, people_of, request, somebody
from tests.releases.making import SmallRelease
from tests.searching import Search, search
from tests.server.s3 import bucket_at
from tests.warehouse.histories import Compiled

ERASE = Asked("erase", "consent", "asked by letter", "anna")
STOP = Asked("stop", "consent", "asked by letter", "anna")


@dataclass(frozen=True)
class Left:
    """A home that a person has left, what the search found before and after, and how often the process was killed."""

    settings: Settings
    ledger: Ledger
    person: Person
    before: Search
    after: Search
    old: versions.Version
    deaths: tuple[str, ...]
    stored_before: Search
    stored_after: Search


@pytest.fixture(scope="module")
def left(release: SmallRelease, compiled: Compiled, s3: str, tmp_path_factory: pytest.TempPathFactory) -> Left:
    """One person erased from a home with everything in it, and from its store, by processes of which one dies at each step.

    The bucket keeps every version of every object.
    """
    folder = tmp_path_factory.mktemp("left")
    shutil.copytree(release.version.folder.parents[2], folder, dirs_exist_ok=True, symlinks=True)
    settings = settings_of(folder)
    ledger = opened(settings)
    person = somebody(settings, ledger)
    furnished(settings, ledger, release, person)
    before, old = looked_for(settings, person), versions.named_version(settings, versions.CURRENT)
    bucket = bucket_at(s3, is_versioned=True)
    push_all(settings.model_copy(update=bucket.settings))
    stored_before = search([bucket.write_out(folder / "stored-before")], person.words, person.rows_in)
    file = request(folder, ("rn", "client_number", person.client_number))
    begin(settings, ledger, file, ERASE)
    file.unlink()
    ledger.close()
    died = subprocess.run(
        [sys.executable, "-m", "tests.releases.dying", str(folder), str(compiled.folder)], capture_output=True, text=True, check=False,
        env={**os.environ, **bucket.variables()},
    )  # fmt: skip
    assert died.returncode == 0, died.stderr
    steps = died.stdout.split("\n")[:-1]
    assert steps[-1] == "finished"
    stored_after = search([bucket.write_out(folder / "stored-after")], person.words, person.rows_in)
    for name in ("stored-before", "stored-after"):
        shutil.rmtree(folder / name)
    return Left(settings, ledger, person, before, looked_for(settings, person), old, tuple(steps[:-1]), stored_before, stored_after)  # fmt: skip


def test_whoever_is_erased_is_in_no_version_of_any_object_of_the_store(left: Left) -> None:
    kinds = {".parquet", ".json"}
    assert left.stored_before.hits and left.stored_before.kinds >= kinds
    assert left.stored_after.hits == []
    assert left.stored_after.files > 20 and left.stored_after.kinds >= kinds
    (entry,) = left.ledger.withdrawals()
    assert left.ledger.steps_of(entry.withdrawal_id)["store"]["folders"] >= 3  # deliveries, version, fit


def test_whoever_is_erased_is_in_no_decoded_file_however_often_the_process_died(left: Left) -> None:
    assert left.deaths == tuple(STEPS)
    assert left.after.hits == []
    assert left.after.files > 50


def test_the_search_found_the_person_in_every_kind_of_place_before(left: Left) -> None:
    home = left.settings.home_path
    places = {Path(path).relative_to(home).parts[0] for path, _ in left.before.hits if path.startswith(f"{home}/")}
    assert str(left.settings.consents_file) in {path for path, _ in left.before.hits}
    assert places >= {"landing", "raw", "versions", "builds", "fits", "own", "multiverse", "outcomes", "releases"}
    assert {Path(path).suffix for path, _ in left.before.hits} >= {".parquet", ".csv", ".sav", ".yml"}
    assert left.person.unique_rows


def test_the_receipt_says_what_held_the_person_and_what_became_of_it_in_counts(left: Left) -> None:
    (entry,) = left.ledger.withdrawals()
    receipt = json.loads(str(entry.receipt))
    written = left.settings.withdrawals / entry.withdrawal_id / "receipt.json"
    assert json.loads(written.read_text()) == receipt
    assert (receipt["people"], receipt["requested_by"], receipt["basis"]) == (1, "anna", "consent")
    assert "was not applied" in receipt["decision"]
    places = receipt["places"]
    assert set(places) == {"begun", *STEPS}
    assert places["raw store written without them"]["deliveries"] == 2  # the partner's and the registry's
    assert places["fits"] == {"fit": 1, "own": 1, "multiverse": 1}
    assert (places["releases"], places["outcomes of one's own"]) == ({"releases": 1}, {"outcomes": 1})
    assert places["estimates before"] == {"was_fitted": 1}
    register = read_register(left.settings.consents_file, left.ledger)
    assert len({one.client_id for one in register}) == 39
    assert {entry["what"] for entry in left.ledger.audit()} >= {"withdrawal.begun", "withdrawal.step"}
    assert list(receipt["versions"]) == [left.old.version_id]
    assert receipt["releases"] == ["2026.1.0"]


def test_each_version_is_issued_again_under_a_new_id_without_the_person_and_reproduces(left: Left) -> None:
    current = versions.named_version(left.settings, versions.CURRENT)
    assert {row["old"]: row["new"] for row in left.ledger.reissues("version")} == {
        left.old.version_id: current.version_id
    }
    assert current.manifest["tables"]["client"]["rows"] == left.old.manifest["tables"]["client"]["rows"] - 1
    assert [item.version_id for item in versions.all_versions(left.settings)] == [current.version_id]
    build = current.manifest["build"]
    assert build["withdrawals"] == [{"mode": "erase", "people": 1, "on": now().date().isoformat()}]
    assert build["reissue_of"] == left.old.version_id
    assert aside.reproduce(left.settings, left.ledger, current).is_same


def test_what_was_fitted_is_fitted_again_and_both_estimates_stay_in_the_zone(left: Left) -> None:
    assert {path.name for path in left.settings.fits.iterdir()} == {"beef", "current"}
    assert not left.settings.report.exists()
    (entry,) = left.ledger.withdrawals()
    folder = left.settings.withdrawals / entry.withdrawal_id
    header = (folder / "estimates.csv").read_text().partition("\n")[0].split(",")
    assert {"estimate_before", "estimate_after"} <= set(header)
    assert (folder / "own" / "mine" / "models.yml").is_file()


def test_the_microdata_of_a_release_go_and_what_is_public_waits_for_a_batch(left: Left) -> None:
    tag = left.settings.releases / "2026.1.0"
    assert {path.name for path in tag.iterdir()} == {"public", "release.json", "tombstone.json"}
    tombstone = json.loads((tag / "tombstone.json").read_text())
    assert tombstone["reissued_as"] == versions.current_id(left.settings)
    waiting = superseding.waiting_for_batch(left.settings, left.ledger)
    assert (waiting.people, waiting.is_due, waiting.may_be_public) == (1, False, False)
    assert superseding.waiting_for_batch(left.settings, left.ledger, since=now()).may_be_public
    two = left.settings.model_copy(update={"withdrawal_batch": 1})
    assert superseding.waiting_for_batch(two, left.ledger).may_be_public


def _copy(left: Left, folder: Path) -> Platform:
    shutil.copytree(left.settings.home_path.parent, folder, dirs_exist_ok=True, symlinks=True)
    settings = settings_of(folder)
    return Platform(settings, opened(settings))


def test_the_person_stays_out_when_everything_is_delivered_again(left: Left, simulated: Path, tmp_path: Path) -> None:
    platform = _copy(left, tmp_path)
    settings, ledger = platform.settings, platform.ledger
    for organisation, period in (("rn", "2026-Q1"), ("registry", "2026")):
        again = deliver(delivery_in(simulated, organisation), settings.inbox_path, "again", period)
        held = left.ledger.deliveries(status="accepted", organisation=organisation)[-1]
        assert check_delivery(again, settings, ledger).content_hash == held.content_hash
        receipt = ingest(again, settings, ledger)
        assert receipt.status == "accepted", receipt.reasons
        assert receipt.content_hash == held.content_hash
        people, rows = ledger.withheld()[receipt.sha256]
        assert people == 1
        assert rows > 1
    assert {Path(path).parts[-4] for path, _ in looked_for(settings, left.person).hits} <= {
        "landing",
        "inbox",
        "rn",
        "registry",
    }
    clear_landing(settings, ledger, now())
    assert looked_for(settings, left.person).hits == []


def test_a_home_that_is_restored_erases_again_whom_the_list_beside_it_knows(
    left: Left, release: SmallRelease, tmp_path: Path
) -> None:
    shutil.copytree(release.version.folder.parents[2], tmp_path, dirs_exist_ok=True, symlinks=True)
    settings = settings_in(tmp_path)
    assert looked_for(settings, left.person).hits
    shutil.copy(left.settings.withdrawn_file, settings.withdrawn_file)
    ledger = opened(settings)
    assert withdrawal.replay(settings, ledger) == 1
    assert withdrawal.replay(settings, ledger) == 0
    marks = marks_of(ledger, known_key(settings, ledger))
    assert marks.erased == marks_of(left.ledger, marks.key).erased
    assert [item.finished_at for item in ledger.withdrawals()] == [None]


def test_nothing_that_is_kept_of_a_person_leads_back_without_the_key(left: Left) -> None:
    listed = json.loads(left.settings.withdrawn_file.read_text())
    key = known_key(left.settings, left.ledger)
    other = replace(key, _secret=bytes(32))
    client = left.person.client_id
    assert withdrawal.mark(key, client) in listed[0]["marks"]
    assert withdrawal.mark(other, client) not in listed[0]["marks"]
    assert client not in listed[0]["marks"]


def test_whoever_stops_is_kept_as_known_and_nothing_new_of_them_is_taken_in(settled: Platform) -> None:
    settings, ledger = settled.settings, settled.ledger
    source = delivery_in(settings.inbox_path, "rn")
    row = people_of(source)[0]
    before = ledger.deliveries(status="accepted", organisation="rn")[-1]
    asked = request(settings.home_path.parent, ("rn", "BSN", row["BSN"]))
    begin(settings, ledger, asked, STOP)
    (done,) = finish(settings, ledger, lambda: True)
    assert done.finished_at is not None
    assert ledger.steps_of(done.withdrawal_id)["register of consents"] == {"consents_ended": 0}
    same = deliver(source, settings.inbox_path, "same", before.period, sequence=2)
    assert ingest(same, settings, ledger).status == "duplicate"
    new = deliver(source, settings.inbox_path, "new", "2026-Q1")

    def another_sex(rows: list[dict[str, str]]) -> None:
        for item in rows:
            if item["BSN"] == row["BSN"]:
                item["Geslacht"] = "V" if item["Geslacht"] == "M" else "M"

    change_rows(new, "clients", another_sex)
    receipt = ingest(new, settings, ledger)
    assert receipt.status == "accepted", receipt.reasons
    assert receipt.content_hash == before.content_hash
    gone = deliver(source, settings.inbox_path, "gone", "2026-Q2")
    numbers = _numbers(source, row["Clientnummer"])
    for table, column in (("clients", "Clientnummer"), ("covariates", "Clientnummer"), ("risc", "Clientnummer"), ("supervisions", "Clientnummer")):  # fmt: skip
        change_rows(gone, table, lambda rows, column=column: [r for r in rows if r[column] != row["Clientnummer"]])
    for table in ("assignments", "waves", "item_responses"):
        change_rows(gone, table, lambda rows: [r for r in rows if r["Toezichtnummer"] not in numbers])
    assert ingest(gone, settings, ledger).content_hash == before.content_hash


def _numbers(delivery: Path, client: str) -> set[str]:
    lines = (delivery / "supervisions.csv").read_text("cp1252").splitlines()
    header = lines[0].split(";")
    rows = [dict(zip(header, line.split(";"), strict=True)) for line in lines[1:]]
    return {row["Toezichtnummer"] for row in rows if row["Clientnummer"] == client}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("ghost", "BSN", "900000004")], "row 1: organisation is none of"),
        ([("rn", "Achternaam", "Jansen")], "row 1: column is none of client_number"),
        ([("rn", "BSN", "900000005")], "row 1: number does not pass the eleven test"),
        ([("rn", "BSN", "12")], "row 1: number is not of the form of national_number"),
        ([("north_carolina", "record", "70707")], "row 1: organisation is none of"),
        ([("rn", "BSN", "900000004,900000012")], "rows 1 have more cells than columns"),
        ([], "names nobody"),
    ],
)
def test_a_file_that_names_people_wrongly_is_refused_row_by_row_without_a_number(
    settled: Platform, rows: list[tuple[str, str, str]], said: str
) -> None:
    file = request(settled.settings.home_path.parent, *rows)
    with pytest.raises(CannotRead, match=said) as refused:
        begin(settled.settings, settled.ledger, file, ERASE)
    assert not any(row[2] in str(refused.value) for row in rows)
    assert settled.ledger.withdrawals() == []


@pytest.mark.parametrize("reason", ["", "BSN 111222333 asked", "1112.22.333 asked"])
def test_a_reason_is_there_and_holds_no_number_of_a_person(settled: Platform, reason: str) -> None:
    file = request(settled.settings.home_path.parent, ("rn", "BSN", "900000004"))
    with pytest.raises(CannotWithdraw, match="reason") as refused:
        begin(settled.settings, settled.ledger, file, replace(ERASE, reason=reason))
    assert "333" not in str(refused.value) and settled.ledger.withdrawals() == []


def test_the_command_says_what_is_wrong_with_the_file_in_one_line_and_does_nothing(
    settled: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settled.settings
    for name, value in (("HOME", settings.home), ("KEY_FILE", settings.key_file), ("INBOX", settings.inbox)):
        monkeypatch.setenv(f"DELICTVRIJ_{name}", str(value))
    file = request(settings.home_path.parent, ("rn", "BSN", "900000004"))
    said = CliRunner().invoke(main, ["withdraw", str(file), "--mode", "erase", "--reason", "asked"])
    assert said.exit_code == 1
    assert "row 1: number" in said.output and "900000004" not in said.output
    assert settled.ledger.withdrawals() == []


def test_a_client_number_that_nobody_delivered_a_missing_reason_and_the_exception_with_erasure_are_refused(
    settled: Platform,
) -> None:
    settings, ledger = settled.settings, settled.ledger
    file = request(settings.home_path.parent, ("rn", "client_number", "00000000"))
    with pytest.raises(CannotWithdraw, match="rows 1 name client numbers that nobody delivered"):
        begin(settings, ledger, file, ERASE)
    with pytest.raises(CannotWithdraw, match="reason is needed"):
        begin(settings, ledger, file, replace(ERASE, reason=" "))
    with pytest.raises(CannotWithdraw, match="exception for research keeps the data"):
        begin(settings, ledger, file, replace(ERASE, basis="exception"))


def test_a_person_whom_nobody_delivered_yet_stays_out_from_the_beginning_and_is_not_counted_twice(
    settled: Platform,
) -> None:
    settings, ledger = settled.settings, settled.ledger
    file = request(settings.home_path.parent, ("rn", "BSN", "999999990"), ("svg", "national_number", "999999990"))
    assert begin(settings, ledger, file, ERASE).people == 1
    with pytest.raises(CannotWithdraw, match="have withdrawn already"):
        begin(settings, ledger, file, ERASE)
    with pytest.raises(CannotWithdraw, match="have withdrawn already"):
        begin(settings, ledger, file, STOP)


def test_a_client_number_is_the_persons_whom_its_newest_row_names() -> None:
    known = Known({"x": "anna", "y": "carl"}, frozenset({("x", "typo"), ("x", "anna"), ("y", "anna"), ("y", "carl")}))
    assert known.same_person(["anna"]) == {"anna", "x", "typo"}
    assert known.same_person(["y"]) == {"y", "carl"}


def test_every_table_with_rows_about_clients_leads_to_them(settled: Platform) -> None:
    from orchestration.deliveries.people import in_order

    contracts = read_contracts(settled.settings.expectations)
    nobody = {"officers", "recid"}
    for organisation in contracts.values():
        assert {table.name for table in organisation.tables} - {
            table.name for table in in_order(organisation)
        } <= nobody
