"""The register of permissions: who may use what of a release, for what, on which legal basis, and until when. Two people sign one,
by typing the same. What clients consented to is in `consents.py`; handing over, which asks both, in `handover.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING

from orchestration.deliveries.waivers import PEOPLE
from orchestration.hashing import sha256_bytes
from orchestration.readings import Readings
from orchestration.releases.approval import is_same_person
from orchestration.releases.catalogue import Policy, Variable
from orchestration.releases.tables import IMPUTED, WIDE
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from orchestration.ledger import Ledger

ALL = "all"
STATES = ("waiting", "not_begun", "in_force", "ended", "revoked")
_PERSON = re.compile(r"[a-z_][a-z0-9_.@-]{1,62}")
_ID = re.compile(r"[0-9a-f]{1,12}")
_LONGEST = {"purpose": 500, "reference": 127}


class CannotPermit(Mendable):
    """The permission is not one that can be given or revoked; says which field, and what it should be."""


@dataclass(frozen=True)
class Terms:
    """What a permission says. `tables` are names, `imputed` for every imputed set, or `all`; `classes` those of personal data that
    its columns may be of; `reference` is the number of the decision on paper; `ends_on` is the last day."""

    person: str
    bases: tuple[str, ...]
    purpose: str
    reference: str
    tables: tuple[str, ...]
    classes: tuple[str, ...]
    starts_on: date
    ends_on: date

    @property
    def permission_id(self) -> str:
        """Twelve hexadecimal characters: the same terms have the same."""
        return sha256_bytes(json.dumps(asdict(self), default=str, sort_keys=True).encode())[:12]

    def covers_table(self, name: str) -> bool:
        return ALL in self.tables or name in self.tables or (IMPUTED in self.tables and name.startswith(f"{IMPUTED}_"))

    def covers_column(self, variable: Variable, policy: Policy) -> bool:
        return variable.personal in policy.free or variable.personal in self.classes


@dataclass(frozen=True)
class Permission:
    """A permission on record: its terms, who signed, and who revoked it and why."""

    terms: Terms
    by: tuple[str, ...]
    revoked_by: str | None
    reason: str | None

    @property
    def permission_id(self) -> str:
        return self.terms.permission_id

    def state(self, today: date) -> str:
        """One of `STATES`."""
        if self.revoked_by is not None:
            return "revoked"
        if today > self.terms.ends_on:
            return "ended"
        if len(set(self.by)) < PEOPLE:
            return "waiting"
        return "not_begun" if today < self.terms.starts_on else "in_force"


def permissions(ledger: Readings, person: str | None = None) -> tuple[Permission, ...]:
    """Every permission, of one person where asked, by person and first day."""
    names = tuple(Terms.__dataclass_fields__)
    return tuple(
        Permission(Terms(**{name: row[name] for name in names}), row["by"], row["revoked_by"], row["reason"])
        for row in ledger.permissions()
        if person in (None, row["person"])
    )


def grant(
    ledger: Ledger, terms: Terms, policy: Policy, known_tables: Collection[str], *, by: str, today: date, years: int
) -> Permission:
    """Sign a permission in the name of `by`; a second person signs by asking for the same.

    Raises CannotPermit, naming every field that is not right: `years` is how long it may last at most, and nobody signs for
    themself.
    """
    troubles = [*_troubles(terms, policy, known_tables, today, years)]
    if is_same_person(by, terms.person):
        troubles.append("person: nobody signs a permission for themself")
    if troubles:
        raise CannotPermit("; ".join(troubles))
    before = _named(ledger, terms.permission_id)
    if before and before[0].revoked_by is not None:
        raise CannotPermit(f"permission {terms.permission_id} was revoked: these terms cannot be signed again")
    ledger.record_permission(_row(terms), by)
    return _named(ledger, terms.permission_id)[0]


def _row(terms: Terms) -> dict[str, object]:
    row = {**asdict(terms), "permission_id": terms.permission_id}
    return row | {name: json.dumps(list(row[name])) for name in ("bases", "tables", "classes")}


def _troubles(terms: Terms, policy: Policy, known_tables: Collection[str], today: date, years: int) -> Sequence[str]:
    """What is wrong with each field."""
    tables = {*known_tables, WIDE, IMPUTED, ALL}
    classes = set(policy.classes) - policy.free
    troubles = [] if _PERSON.fullmatch(terms.person) else ["person: an account name in small letters is needed"]
    troubles += _unknown("basis", terms.bases, set(policy.legal_bases))
    troubles += _unknown("tables", terms.tables, tables)
    troubles += _unknown("classes", terms.classes, classes)
    for name, longest in _LONGEST.items():
        text = getattr(terms, name)
        if not text.strip() or text != text.strip() or len(text) > longest or not text.isprintable():
            troubles.append(f"{name}: one line of at most {longest} characters is needed")
    for one in terms.classes:
        bases = policy.basis_for.get(one, ())
        if bases and not set(bases) & set(terms.bases):
            troubles.append(f"classes: {one} needs the basis {' or '.join(bases)}")
    if terms.ends_on < terms.starts_on:
        troubles.append("until: it ends before it begins")
    elif terms.ends_on < today:
        troubles.append("until: the day is over")
    elif terms.ends_on > _years_after(terms.starts_on, years):
        troubles.append(f"until: a permission lasts {years} year(s) at most; a longer one is given again")
    return troubles


def _unknown(field: str, given: Sequence[str], known: Collection[str]) -> list[str]:
    # What was typed is not repeated: it may be anything.
    wrong = len([name for name in given if name not in known])
    if not given or wrong or len(set(given)) < len(given):
        return [f"{field}: {wrong} of {len(given)} are not known; choose, each once, from {', '.join(sorted(known))}"]
    return []


def _years_after(day: date, years: int) -> date:
    try:
        return day.replace(year=day.year + years)
    except ValueError:  # 29 February
        return day.replace(year=day.year + years, day=28)


def revoke(ledger: Ledger, permission: str, reason: str, *, by: str) -> Permission:
    """End a permission at once, named by its id or the beginning of it; one person is enough. Raises CannotPermit."""
    if not reason.strip():
        raise CannotPermit("a reason is needed: it stays on record")
    found = _named(ledger, permission) if _ID.fullmatch(permission) else []
    if len(found) != 1:
        raise CannotPermit(
            f"{len(found)} permissions have an id that begins so; `delictvrij permission list` lists them"
        )
    (one,) = found
    if one.revoked_by is not None:
        raise CannotPermit(f"permission {one.permission_id} is revoked already, by {one.revoked_by}")
    ledger.record_revocation(one.permission_id, by, reason.strip())
    return _named(ledger, one.permission_id)[0]


def _named(ledger: Readings, permission: str) -> list[Permission]:
    return [one for one in permissions(ledger) if one.permission_id.startswith(permission)]
