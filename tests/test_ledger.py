"""The ledger: one line for each delivery, its verdict with counts, and an order that does not depend on arrival."""

from __future__ import annotations

import itertools
import multiprocessing
import subprocess
from datetime import date, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestration.audit import Sealing, entry_of, findings
from orchestration.home import initialise, opened, readings
from orchestration.ledger import Ledger, LedgerUnfit
from orchestration.readings import SqliteReadings
from orchestration.settings import Settings
from tests.conftest import settings_in
from tests.server.postgres import Cluster
from tests.writers import create

FINDING = {
    "table_name": "clients", "column_name": "BSN", "rule": "value.check", "status": "failed", "severity": "error",
    "evaluated": 40, "failed": 2, "threshold": 0.0,
}  # fmt: skip


@pytest.fixture
def settings(settings_anywhere: Settings) -> Settings:
    """Everything here holds in SQLite and in PostgreSQL."""
    return settings_anywhere


def _accept(ledger: Ledger, sha256: str, organisation: str, period: str, sequence: int) -> None:
    ledger.receive(sha256, organisation, period, f"id-{sha256}", "seen")
    ledger.decide(sha256, "accepted", [], sequence=sequence, content_hash="c", row_counts={"clients": 3})


def test_a_delivery_is_received_once_and_decided(ledger: Ledger) -> None:
    ledger.receive("a", "registry", "2024", "first", "seen")
    received = ledger.delivery("a")
    assert received is not None
    assert (received.status, received.decided_at, received.row_counts) == ("received", None, {})
    ledger.decide(
        "a", "accepted", [FINDING], sequence=3, content_hash="c", cutoff_on=date(2024, 12, 31), is_simulated=True,
        row_counts={"cases": 7},
    )  # fmt: skip
    decided = ledger.delivery("a")
    assert decided is not None
    assert decided.decided_at is not None
    assert decided.received_at == received.received_at
    assert (decided.status, decided.sequence, decided.content_hash) == ("accepted", 3, "c")
    assert (decided.cutoff_on, decided.is_simulated, decided.row_counts) == (date(2024, 12, 31), True, {"cases": 7})
    assert ledger.delivery("b") is None


def test_a_verdict_replaces_the_one_before_with_all_its_findings(ledger: Ledger) -> None:
    ledger.receive("a", "rn", "2024-Q1", "first", "torn")
    ledger.decide("a", "rejected", [FINDING, {**FINDING, "rule": "value.code"}])
    assert ledger.decided() == {"a": "torn"}
    ledger.receive("a", "rn", "2024-Q1", "first", "whole")
    assert ledger.decided() == {}
    ledger.decide("a", "accepted", [{**FINDING, "status": "passed"}])
    assert [(item["rule"], item["status"]) for item in ledger.judgements("a")] == [("value.check", "passed")]
    assert ledger.decided() == {"a": None}
    assert len(ledger.deliveries()) == 1


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_deliveries_are_listed_in_an_order_that_does_not_depend_on_arrival(
    ledger: Ledger, order: tuple[int, ...]
) -> None:
    made = [("d", "rn", "2024-Q1", 1), ("a", "rn", "2024-Q1", 2), ("c", "rn", "2024-Q2", 1), ("b", "ljr", "2024-Q3", 1)]
    for number in order:
        _accept(ledger, *made[number])
    assert [record.manifest_sha256 for record in ledger.deliveries()] == ["b", "d", "a", "c"]
    assert [record.manifest_sha256 for record in ledger.deliveries(organisation="rn")] == ["d", "a", "c"]
    assert ledger.deliveries(status="rejected") == []


def test_a_finding_belongs_to_a_delivery_that_is_known(ledger: Ledger) -> None:
    with pytest.raises(sa.exc.IntegrityError, match=r"(?i)foreign key"):
        ledger.decide("nobody", "rejected", [FINDING])


def test_what_one_process_writes_another_reads(ledger: Ledger, platform: object) -> None:
    _accept(ledger, "a", "rn", "2024-Q1", 1)
    other = Ledger(platform.settings.ledger_location)  # type: ignore[attr-defined]
    other.create()
    assert other.deliveries() == ledger.deliveries()


def test_builds_and_fits_are_kept_oldest_first_and_the_same_id_once(ledger: Ledger) -> None:
    for build_id in ("one", "two", "one"):
        ledger.record_build(build_id, f"v-{build_id}", {"deliveries": []})
    assert [(build["build_id"], build["record"]) for build in ledger.builds()] == [
        ("two", {"deliveries": []}),
        ("one", {"deliveries": []}),
    ]
    for fit_id in ("one", "two", "one"):
        ledger.record_fit(fit_id, "v", "f")
    assert [fit["fit_id"] for fit in ledger.fits()] == ["two", "one"]


def test_a_key_is_known_once_it_was_admitted(ledger: Ledger) -> None:
    assert ledger.has_key()
    assert not ledger.knows_key("0123456789abcdef")
    ledger.admit_key("0123456789abcdef")
    ledger.admit_key("0123456789abcdef")
    assert ledger.knows_key("0123456789abcdef")


def test_those_who_only_read_are_told_the_same(ledger: Ledger, settings: Settings) -> None:
    ledger.receive("a", "registry", "2024", "first", "seen")
    ledger.decide(
        "a", "accepted", [FINDING], sequence=3, content_hash="c", cutoff_on=date(2024, 12, 31), is_simulated=True,
        row_counts={"cases": 7},
    )  # fmt: skip
    ledger.receive("b", "rn", "2024-Q1", "second", "torn")
    ledger.decide("b", "rejected", [FINDING, {**FINDING, "threshold": None, "column_name": None}])
    ledger.receive("c", "rn", "2024-Q2", "third", "seen")
    ledger.record_build("build", "version", {"deliveries": []})
    ledger.record_fit("fit", "version", "mark")
    light = readings(settings)
    assert isinstance(light, SqliteReadings if settings.ledger_url is None else Ledger)
    for ask in (
        lambda asked: asked.deliveries(),
        lambda asked: asked.deliveries(status="accepted", organisation="registry"),
        lambda asked: asked.delivery("b"),
        lambda asked: asked.decided(),
        lambda asked: asked.judgements("b"),
        lambda asked: asked.builds(),
        lambda asked: asked.fits(),
    ):
        assert ask(light) == ask(ledger) != []
    (build,) = light.builds()
    assert isinstance(build["built_at"], datetime)
    assert light.delivery("nobody") is None
    elsewhere = settings.model_copy(update={"ledger_url": settings.ledger_location})
    assert isinstance(readings(elsewhere), Ledger)


def test_a_database_that_sorts_text_in_its_own_way_is_refused(postgres: Cluster, tmp_path: Path) -> None:
    if "nl_NL.utf8" not in subprocess.run(["locale", "-a"], capture_output=True, text=True, check=True).stdout.split():
        pytest.skip("the locale nl_NL.UTF-8 is not installed (Debian: localedef -i nl_NL -f UTF-8 nl_NL.UTF-8)")
    elsewhere = settings_in(tmp_path).model_copy(update={"ledger_url": postgres.database(locale="nl_NL.UTF-8")})
    with pytest.raises(LedgerUnfit, match="--locale=C"):
        Ledger.of(elsewhere).create()


def test_processes_that_start_at_once_make_the_tables_once(request: pytest.FixtureRequest, settings: Settings) -> None:
    if settings.ledger_url:
        settings = settings.model_copy(update={"ledger_url": request.getfixturevalue("postgres").database()})
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=create, args=(settings.ledger_location, settings.home_path)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    initialise(settings)
    assert opened(settings).has_key()


def test_a_home_that_moves_to_a_server_takes_its_ledger_and_its_trail_along(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    embedded = settings_in(tmp_path)
    initialise(embedded)
    before = opened(embedded)
    _accept(before, "a", "rn", "2024-Q1", 1)
    before.receive("b", "rn", "2024-Q2", "second", "torn")
    before.decide("b", "rejected", [FINDING, FINDING])
    said = (before.deliveries(), before.audit(), before.judgements("b"))
    before.close()
    url = request.getfixturevalue("postgres").database()
    (tmp_path / "roles.yml").write_text("{}")
    server = Settings(
        **{
            **embedded.model_dump(),
            "profile": "server",
            "ledger_url": url,
            "dagster_url": url,
            "roles": tmp_path / "roles.yml",
        }
    )
    initialise(server)
    initialise(server)
    moved = opened(server)
    assert (moved.deliveries(), moved.audit(), moved.judgements("b")) == said
    moved.receive("c", "rn", "2024-Q3", "third", "torn")
    moved.decide("c", "rejected", [FINDING])
    assert moved.judgements("c")[0]["id"] == said[2][-1]["id"] + 1
    assert findings([entry_of(row) for row in moved.audit()], Sealing.of(server)) == []
    assert not server.ledger_file.exists()
    assert "postgres_url" in (server.dagster_home / "dagster.yaml").read_text()
