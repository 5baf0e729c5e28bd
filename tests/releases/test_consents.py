"""The register of consents: taken in whole, by pseudonym, and held against the clients of a release by counts."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from orchestration.deliveries.keys import PseudonymKey
from orchestration.deliveries.people import mark
from orchestration.ledger import Ledger
from orchestration.readings import Withdrawal
from orchestration.releases import consents
from orchestration.releases.catalogue import read_policy
from orchestration.releases.consents import COLUMNS, Consent, ConsentsRefused, Counts, Lacking, NoConsents, Taken
from orchestration.simulation import simulate_cohort
from orchestration.simulation.consents import ASKED, consents_of

TODAY = date(2026, 3, 1)
KEY = PseudonymKey(b"k" * 32, "delictvrij")
ANNE, BOB = "900000004", "900000016"
GOOD = (f"{ANNE};participation;2022-01-05;;", f"{BOB};participation;2022-02-01;2023-05-04;kept")


def taken(empty: Ledger, folder: Path, *rows: str, left_out: int = 0, admits: bool = True) -> Counts:
    return take(empty, folder, *rows, left_out=left_out, admits=admits).counts


def take(empty: Ledger, folder: Path, *rows: str, left_out: int = 0, admits: bool = True) -> Taken:
    file = folder / "file.csv"
    file.write_text("\n".join([";".join(COLUMNS), *rows, ""]), encoding="utf-8")
    return consents.take(
        folder / "register.csv", file, empty, KEY, ("participation", "registry"), by="steward", today=TODAY,
        admits_test_numbers=admits, left_out=left_out,
    )  # fmt: skip


def test_the_register_holds_the_pseudonyms_of_the_deliveries_and_no_number(empty: Ledger, tmp_path: Path) -> None:
    assert taken(empty, tmp_path, *GOOD) == Counts(clients=2, entries=2, withdrawn=1, left_out=0)
    register = tmp_path / "register.csv"
    assert ANNE not in register.read_text(encoding="utf-8")
    assert register.stat().st_mode & 0o077 == 0
    read = {one.client_id: one for one in consents.read_register(register, empty)}
    assert read[KEY.pseudonym("client", ANNE)].withdrawn_on is None
    assert read[KEY.pseudonym("client", BOB)] == Consent(
        KEY.pseudonym("client", BOB), "participation", date(2022, 2, 1), date(2023, 5, 4), "kept"
    )
    (record,) = empty.consent_registers()
    assert (record["clients"], record["taken_by"]) == (2, "steward")


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (f"{int(ANNE) + 1};participation;2022-01-05;;", "number.eleven_proof"),
        (";participation;2022-01-05;;", "number.eleven_proof"),
        (f"{BOB};everything;2022-01-05;;", "consent.unknown"),
        (f"{BOB};participation;5-1-2022;;", "given_on.day"),
        (f"{BOB};participation;2026-03-02;;", "given_on.day"),
        (f"{BOB};participation;;;", "given_on.day"),
        (f"{BOB};participation;2022-01-05;2022-01-04;kept", "withdrawn_on.day"),
        (f"{BOB};participation;2022-01-05;2026-03-02;kept", "withdrawn_on.day"),
        (f"{BOB};participation;2022-01-05;soon;kept", "withdrawn_on.day"),
        (f"{BOB};participation;2022-01-05;2023-01-01;", "earlier_data.value"),
        (f"{BOB};participation;2022-01-05;;kept", "earlier_data.value"),
        (GOOD[0], "entry.twice"),
        (f"{BOB};participation", "row.columns"),
    ],
)
def test_a_row_that_is_not_right_is_named_by_rule_and_number_and_nothing_is_taken_in(
    empty: Ledger, tmp_path: Path, row: str, rule: str
) -> None:
    with pytest.raises(ConsentsRefused, match=rf"{rule} in 1 row\(s\) \(2\)") as refused:
        taken(empty, tmp_path, GOOD[0], row)
    assert not any(value and value in str(refused.value) for value in row.split(";")[:1])
    assert not (tmp_path / "register.csv").exists()
    assert empty.consent_registers() == []


def test_numbers_that_are_set_aside_for_tests_stay_out_of_a_real_register(empty: Ledger, tmp_path: Path) -> None:
    with pytest.raises(ConsentsRefused, match=r"number.test in 2 row\(s\)"):
        taken(empty, tmp_path, *GOOD, admits=False)


@pytest.mark.parametrize("content", [b"", b"a;b\n", ";".join(COLUMNS).encode(), b"\xff\xfe", b'national_number;"'])
def test_a_file_that_is_no_register_is_refused(empty: Ledger, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file.csv"
    file.write_bytes(content)
    with pytest.raises(ConsentsRefused, match=r"file\.csv"):
        consents.take(
            tmp_path / "register.csv", file, empty, KEY, (), by="steward", today=TODAY, admits_test_numbers=True
        )


def test_nobody_drops_out_in_silence_and_no_withdrawal_is_undone(empty: Ledger, tmp_path: Path) -> None:
    taken(empty, tmp_path, *GOOD)
    with pytest.raises(ConsentsRefused, match=r"1 client\(s\) of the register before are not in it, and 0 was said"):
        taken(empty, tmp_path, GOOD[0])
    with pytest.raises(ConsentsRefused, match=r"1 consent\(s\) that were withdrawn stand again"):
        taken(empty, tmp_path, GOOD[0], f"{BOB};participation;2022-02-01;;")
    assert taken(empty, tmp_path, GOOD[0], f"{BOB};participation;2023-06-01;;").withdrawn == 0
    assert taken(empty, tmp_path, GOOD[0], left_out=1).clients == 1


def withdraw(empty: Ledger, number: str, mode: str, day: date) -> None:
    asked_at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    entry = Withdrawal(f"{mode}-{number}", mode, "consent", "asked", "anna", asked_at, 1, None)
    empty.begin_withdrawal(entry, [mark(KEY, KEY.pseudonym("client", number))])


def test_whoever_stopped_stands_in_the_register_as_withdrawn_on_that_day_though_a_file_does_not_say_so(
    empty: Ledger, tmp_path: Path
) -> None:
    taken(empty, tmp_path, *GOOD)
    withdraw(empty, ANNE, "stop", date(2025, 6, 1))
    assert consents.stop(tmp_path / "register.csv", empty, KEY, by="anna") == 1
    read = {one.client_id: one for one in consents.read_register(tmp_path / "register.csv", empty)}
    anne = read[KEY.pseudonym("client", ANNE)]
    assert (anne.withdrawn_on, anne.earlier_data) == (date(2025, 6, 1), "kept")
    assert read[KEY.pseudonym("client", BOB)].withdrawn_on == date(2023, 5, 4)
    assert consents.stop(tmp_path / "register.csv", empty, KEY, by="anna") == 0
    again = take(empty, tmp_path, *GOOD)
    assert (again.ended_here, again.stay_out, again.counts.withdrawn) == (1, 0, 2)
    anew = take(empty, tmp_path, f"{ANNE};participation;2025-09-01;;", GOOD[1])
    assert (anew.ended_here, anew.counts.withdrawn) == (0, 1)


def test_how_many_were_erased_and_stay_out_is_said(empty: Ledger, tmp_path: Path) -> None:
    withdraw(empty, BOB, "erase", date(2025, 6, 1))
    made = take(empty, tmp_path, *GOOD)
    assert (made.stay_out, made.counts.clients) == (1, 1)


def test_a_register_that_was_changed_or_is_gone_is_not_believed(empty: Ledger, tmp_path: Path) -> None:
    register = tmp_path / "register.csv"
    with pytest.raises(NoConsents, match="no register of consents has been taken in"):
        consents.read_register(register, empty)
    taken(empty, tmp_path, *GOOD)
    register.write_text(register.read_text().replace("2023-05-04;kept", ";"))
    with pytest.raises(NoConsents, match="not the one that was taken in"):
        consents.read_register(register, empty)
    register.unlink()
    with pytest.raises(NoConsents, match="gone"):
        consents.read_register(register, empty)
    with pytest.raises(ConsentsRefused, match=r"1 client\(s\)"):
        taken(empty, tmp_path, GOOD[0])
    assert taken(empty, tmp_path, *GOOD).clients == 2


def test_who_is_erased_is_taken_out(empty: Ledger, tmp_path: Path) -> None:
    taken(empty, tmp_path, *GOOD)
    anne = KEY.pseudonym("client", ANNE)
    assert consents.forget(tmp_path / "register.csv", {anne, "x"}, empty, by="steward") == 1
    left = consents.read_register(tmp_path / "register.csv", empty)
    assert [one.client_id for one in left] == [KEY.pseudonym("client", BOB)]
    assert [row["left_out"] for row in empty.consent_registers()] == [0, 1]


def consent(client: str, given: date, withdrawn: date | None = None, earlier: str = "") -> Consent:
    return Consent(client, "registry", given, withdrawn, earlier)


RELEASED, HANDED = date(2025, 6, 1), date(2026, 3, 1)


@pytest.mark.parametrize(
    ("entry", "missing"),
    [
        (consent("a", date(2022, 1, 1)), None),
        (consent("a", RELEASED), None),
        (consent("a", date(2025, 6, 2)), "not_yet"),
        (consent("a", date(2026, 3, 2)), "not_yet"),
        (consent("a", date(2022, 1, 1), date(2025, 12, 1), "kept"), None),
        (consent("a", date(2022, 1, 1), date(2025, 12, 1), "ended"), "withdrawn"),
        (consent("a", date(2022, 1, 1), HANDED, "ended"), "withdrawn"),
        (consent("a", date(2022, 1, 1), date(2026, 3, 2), "ended"), None),
        (consent("b", date(2022, 1, 1)), "absent"),
        (Consent("a", "participation", date(2022, 1, 1), None, ""), "absent"),
    ],
)
def test_a_consent_must_hold_on_the_day_of_release_and_today(entry: Consent, missing: str | None) -> None:
    found = consents.lacking([entry], {"a"}, {"registry"}, (RELEASED, HANDED))
    counts = {"absent": 0, "not_yet": 0, "withdrawn": 0}
    assert found == (() if missing is None else (Lacking("registry", **{**counts, missing: 1}),))


def test_a_withdrawal_that_a_partner_delivered_and_the_register_does_not_know_is_counted() -> None:
    register = [consent("a", date(2022, 1, 1)), consent("b", date(2022, 1, 1), date(2023, 1, 1), "kept")]
    assert consents.withdrawals_missed(register, {"a", "b"}) == 1
    assert consents.stand(register, TODAY) == {"registry": {"valid": 2, "withdrawn": 1, "kept": 1}}


def test_simulated_clients_consent_and_those_who_withdrew_at_a_wave_withdrew_here() -> None:
    cohort = simulate_cohort(200, 20260101)
    waves = cohort.partners["waves"]
    withdrew = waves[waves["status"] == "withdrawn"][["organisation", "supervision_number"]].drop_duplicates()
    found = consents_of(cohort)
    assert set(ASKED) == set(read_policy().consents) and len(found) == 400
    assert not found.duplicated(["national_number", "consent"]).any()
    assert len(withdrew) == (found["withdrawn_on"] != "").sum() / 2 > 0
    assert (found["earlier_data"] == "kept").equals(found["withdrawn_on"] != "")
