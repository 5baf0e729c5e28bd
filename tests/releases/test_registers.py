"""Permissions: two people sign, every field is checked, and a day is over when it is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from orchestration.ledger import Ledger
from orchestration.releases.catalogue import read_policy
from orchestration.releases.registers import CannotPermit, Permission, Terms, grant, permissions, revoke

POLICY = read_policy()
TODAY = date(2026, 3, 1)
TERMS = Terms(
    "researcher", ("bjsg_30bis", "uavg_24"), "Whether trust bears on recidivism", "DGSenB 2026/17", ("client", "wide"),
    ("criminal", "origin", "pseudonym"), date(2026, 3, 1), date(2027, 12, 31),
)  # fmt: skip


def signed(ledger: Ledger, terms: Terms = TERMS, *people: str) -> Permission:
    for by in people or ("steward", "lawyer"):
        made = grant(ledger, terms, POLICY, ("client", "followup"), by=by, today=TODAY, years=2)
    return made


def test_a_permission_holds_once_a_second_person_has_signed_the_same(empty: Ledger) -> None:
    assert signed(empty, TERMS, "steward").state(TODAY) == "waiting"
    assert signed(empty, TERMS, "steward").state(TODAY) == "waiting"
    assert signed(empty, replace(TERMS, purpose="Something else"), "lawyer").state(TODAY) == "waiting"
    made = signed(empty, TERMS, "lawyer")
    assert (made.state(TODAY), made.by, made.terms) == ("in_force", ("steward", "lawyer"), TERMS)
    assert sorted(one.state(TODAY) for one in permissions(empty, "researcher")) == ["in_force", "waiting"]
    assert permissions(empty, "somebody_else") == ()


def test_nobody_signs_for_themself(empty: Ledger) -> None:
    with pytest.raises(CannotPermit, match="nobody signs a permission for themself"):
        signed(empty, TERMS, "researcher")
    assert permissions(empty) == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"person": "A Person"}, "person: an account name"),
        ({"person": ""}, "person: an account name"),
        ({"bases": ()}, "basis: 0 of 0"),
        ({"bases": ("uavg_24", "uavg_99")}, "basis: 1 of 2 are not known"),
        ({"bases": ("uavg_24",)}, "criminal needs the basis bjsg_30bis or uavg_32"),
        ({"bases": ("bjsg_30bis",)}, "origin needs the basis uavg_24"),
        ({"purpose": "  "}, "purpose: one line"),
        ({"purpose": "two\nlines"}, "purpose: one line"),
        ({"purpose": "x" * 501}, "at most 500 characters"),
        ({"reference": ""}, "reference: one line"),
        ({"tables": ()}, "tables: 0 of 0"),
        ({"tables": ("client", "clients")}, "tables: 1 of 2 are not known"),
        ({"tables": ("client", "client")}, "each once"),
        ({"classes": ("secret",)}, "classes: 1 of 1 are not known"),
        ({"classes": ("none",)}, "classes: 1 of 1 are not known"),
        ({"ends_on": date(2026, 2, 28), "starts_on": date(2026, 1, 1)}, "until: the day is over"),
        ({"ends_on": date(2026, 2, 28)}, "until: it ends before it begins"),
        ({"ends_on": date(2028, 3, 2)}, "until: a permission lasts 2 year"),
    ],
    ids=str,
)
def test_a_field_that_is_not_right_is_named_and_nothing_is_signed(
    empty: Ledger, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(CannotPermit, match=said) as refused:
        signed(empty, replace(TERMS, **changes), "steward")
    assert "secret" not in str(refused.value)
    assert permissions(empty) == ()


def test_a_permission_may_last_to_the_day_on_which_its_years_are_over(empty: Ledger) -> None:
    leap = replace(TERMS, starts_on=date(2028, 2, 29), ends_on=date(2030, 2, 28))
    assert signed(empty, leap, "steward").terms.ends_on == date(2030, 2, 28)
    with pytest.raises(CannotPermit, match="2 year"):
        signed(empty, replace(leap, ends_on=date(2030, 3, 1)), "steward")


@pytest.mark.parametrize(
    ("day", "state"),
    [
        (date(2026, 2, 28), "not_begun"), (date(2026, 3, 1), "in_force"), (date(2027, 12, 31), "in_force"),
        (date(2028, 1, 1), "ended"),
    ],
)  # fmt: skip
def test_a_permission_holds_from_its_first_day_to_its_last(empty: Ledger, day: date, state: str) -> None:
    assert signed(empty).state(day) == state


def test_what_is_revoked_ends_at_once_and_is_not_signed_again(empty: Ledger) -> None:
    made = signed(empty)
    for reason, name in (("", made.permission_id), ("left", "%"), ("left", "ffff")):
        with pytest.raises(CannotPermit):
            revoke(empty, name, reason, by="steward")
    over = revoke(empty, made.permission_id[:6], " left the study ", by="steward")
    assert (over.state(TODAY), over.revoked_by, over.reason) == ("revoked", "steward", "left the study")
    with pytest.raises(CannotPermit, match="revoked already, by steward"):
        revoke(empty, made.permission_id, "again", by="lawyer")
    with pytest.raises(CannotPermit, match="cannot be signed again"):
        signed(empty, TERMS, "lawyer")


def test_signing_and_revoking_are_on_the_audit_trail(empty: Ledger) -> None:
    revoke(empty, signed(empty, TERMS, "steward", "steward", "lawyer").permission_id, "left", by="steward")
    acts = [(row["what"], row["who"]) for row in empty.audit()]
    assert acts == [
        ("permission.signed", "steward"),
        ("permission.signed", "lawyer"),
        ("permission.revoked", "steward"),
    ]


def test_imputed_stands_for_every_imputed_set_and_all_for_every_table() -> None:
    imputed, everything = replace(TERMS, tables=("imputed",)), replace(TERMS, tables=("all",))
    assert imputed.covers_table("imputed_general_landmark")
    assert not imputed.covers_table("client")
    assert everything.covers_table("client")
    assert not TERMS.covers_table("imputed_general_landmark")
