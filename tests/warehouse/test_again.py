"""A version made again is the same, one of an earlier day leaves `current` alone, and outcomes of one's own leave both alone."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestration.analysis.fit import read_fit
from orchestration.deliveries.contracts import read_contracts
from orchestration.deliveries.ingest import ingest, known_key
from orchestration.hashing import sha256_file
from orchestration.warehouse import aside, build, dbt
from orchestration.warehouse.evidence import changed_people
from orchestration.warehouse.versions import Version, current_id, current_version
from tests.analysis.test_own import small_models
from tests.conftest import Platform
from tests.deliveries.making import Row, change_rows, deliver, delivery_in, digests
from tests.test_cli import run_in
from tests.warehouse.again import PLACES, is_installed, reproduced_elsewhere
from tests.warehouse.histories import Compiled


@pytest.mark.skipif(
    not is_installed("nl_NL.UTF-8"),
    reason="the Dutch locale is not installed (localedef -i nl_NL -f UTF-8 nl_NL.UTF-8)",
)
def test_versions_are_made_again_in_dutch_first() -> None:
    assert next(place for place in PLACES if is_installed(place[1])) == ("Pacific/Auckland", "nl_NL.UTF-8")


def test_what_is_built_aside_moves_nothing(published: Platform, tmp_path: Path) -> None:
    settings, ledger = published.settings, published.ledger
    version = current_version(settings)
    assert version is not None
    before = digests(settings.versions)

    # made again by another process, in another time zone and language
    assert reproduced_elsewhere(settings, version, [next(place for place in PLACES if is_installed(place[1]))]) == 1

    with pytest.raises(aside.CannotBuildAside, match="had been received"):
        aside.known_on(settings, ledger, date(2020, 1, 1))

    file = tmp_path / "mine.csv"
    file.write_text(
        "outcome_id,level,origin,horizon_months,lag_months,pending_counts,policy_dismissal_counts,date_basis,detention\n"
        "one_year,general,landmark,12,6,true,false,offence,ignored\n"
    )
    # models of one's own on that outcome alone: computed beside the version, then fitted apart
    models = small_models(tmp_path / "mine.yml", outcome_roles=[])
    done = run_in(settings)("fit", "--models", models, "--outcomes", file, "--name", "one_year")
    assert done.exit_code == 0, done.output
    tables, manifest = read_fit(settings.own / "one_year")
    assert set(tables["estimates"]["outcome_id"]) == {"one_year"} and manifest["own"]["outcomes"] == ["one_year"]
    assert manifest["own"]["files"]["outcomes.csv"] == sha256_file(file)
    assert (settings.own / "one_year" / "outcomes.csv").read_bytes() == file.read_bytes()
    (folder,) = (settings.home_path / "outcomes").iterdir()
    assert manifest["outcomes_folder"] == folder.name
    assert pq.read_table(folder / "followup.parquet").num_rows == version.manifest["tables"]["client"]["rows"]
    assert pq.read_table(folder / "outcome_definition.parquet")["outcome_id"].to_pylist() == ["one_year"]
    assert not list(settings.fits.iterdir()) and ledger.fits() == []

    assert digests(settings.versions) == before
    assert current_id(settings) == version.version_id
    assert not list(settings.builds.glob(".aside*"))

    (content,) = {
        entry["content_hash"] for entry in version.manifest["build"]["deliveries"] if entry["organisation"] == "rn"
    }
    (settings.raw / "rn" / content).rename(tmp_path / "gone")
    with pytest.raises(aside.CannotBuildAside, match="1 of the 5 deliveries"):
        aside.reproduce(settings, ledger, version)


def test_what_was_known_on_a_day_is_made_of_what_had_been_received_and_not_yet_taken_back(
    settled: Platform, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what is asked here is which deliveries count, not whether so many people may change their sex, nor how dbt builds
    monkeypatch.setattr("orchestration.deliveries.ingest._gate", lambda *_: iter(()))
    monkeypatch.setattr(dbt, "build", compiled.build)
    settings, ledger = settled.settings, settled.ledger
    source = delivery_in(settings.inbox_path, "rn")
    for name, sequence, sex, day in (("men", 1, "M", datetime(2027, 1, 10)), ("women", 2, "V", datetime(2027, 2, 10))):
        monkeypatch.setattr("orchestration.ledger.now", lambda day=day: day)
        delivery = deliver(source, settings.inbox_path, name, "2026-Q1", sequence)
        change_rows(delivery, "clients", lambda rows, sex=sex: [{**row, "Geslacht": sex} for row in rows])  # type: ignore[misc]
        assert ingest(delivery, settings, ledger).status == "accepted"
    monkeypatch.setattr("orchestration.ledger.now", lambda: datetime(2027, 3, 1))
    (mistaken,) = [record for record in ledger.deliveries(organisation="rn") if record.delivery_id == "women"]
    ledger.retract(mistaken.manifest_sha256, "anna", "sent by mistake")

    def sexes_known_on(day: date) -> set[str]:
        version, _ = aside.known_on(settings, ledger, day)
        people = pq.read_table(version.folder / "client.parquet").to_pylist()
        return {person["sex"] for person in people if person["organisation"] == "rn"}

    assert sexes_known_on(date.today() + timedelta(days=1)) == {"male", "female"}  # noqa: DTZ011
    assert sexes_known_on(date(2027, 2, 15)) == {"female"}
    assert sexes_known_on(date(2027, 3, 2)) == {"male"}
    assert current_id(settings) is None


def test_people_of_whom_something_was_delivered_differently_are_found(
    settled: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.deliveries.ingest._gate", lambda *_: iter(()))
    settings, ledger = settled.settings, settled.ledger

    def as_accepted_now() -> Version:
        """A version of what counts now; only what it was built from is asked of it here."""
        inputs = build.prepare(settings, ledger, read_contracts(settings.expectations), known_key(settings, ledger))
        return Version("made up", settings.versions, {"build": inputs.record})

    before = as_accepted_now()
    assert changed_people(settings, ledger, before, before) == frozenset()
    extract = deliver(delivery_in(settings.inbox_path, "registry"), settings.inbox_path, "mended", "2025", sequence=2)
    mended: list[str] = []

    def mend(rows: list[Row]) -> None:
        rows[0]["afdoening"] = "VRI" if rows[0]["afdoening"] != "VRI" else "VER"
        mended.append(rows[0]["zaaknummer"])

    change_rows(extract, "disposals", mend)
    assert ingest(extract, settings, ledger).status == "accepted"
    owner: list[str] = []
    change_rows(extract, "cases", lambda rows: owner.extend(row["bsn"] for row in rows if row["zaaknummer"] in mended))
    found = changed_people(settings, ledger, before, as_accepted_now())
    number = read_contracts(settings.expectations)["registry"].table("cases").column("national_number")
    key = known_key(settings, ledger)
    assert found == set(key.pseudonyms(str(number.pseudonym), owner))
