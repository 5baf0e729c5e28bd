"""Handing a small release over: who has which permission, who consented, and the desk at which it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from orchestration.ledger import Ledger
from orchestration.releases import consents
from orchestration.releases.consents import Consent
from orchestration.releases.handover import Receipt, hand_over
from orchestration.releases.registers import Terms, grant
from orchestration.settings import Settings
from tests.releases.making import SmallRelease

TODAY = date(2026, 6, 1)
EVERYTHING = Terms(
    "researcher", ("bjsg_30bis", "uavg_24"), "Whether trust bears on recidivism", "2026/17", ("all",),
    ("criminal", "health", "ordinary", "origin", "pseudonym", "quasi_identifier"), date(2026, 1, 1), date(2027, 1, 1),
)  # fmt: skip
NO_CRIMINAL = ("ordinary", "pseudonym", "quasi_identifier")


@dataclass(frozen=True)
class Stand:
    """A release as handing over sees it."""

    folder: Path
    state: str = "approved"
    tag: str = "2026.1.0"

    def verify(self) -> None:
        """It is as it was approved."""


@dataclass(frozen=True)
class Desk:
    """Everything that a hand-over needs, with who asks for it."""

    settings: Settings
    ledger: Ledger
    release: SmallRelease
    out: Path
    person: str = "researcher"

    def permit(self, terms: Terms = EVERYTHING, *people: str) -> str:
        catalogue = self.release.catalogue
        known = [table.name for table in catalogue.tables]
        for by in people or ("steward", "lawyer"):
            made = grant(self.ledger, terms, catalogue.policy, known, by=by, today=date(2026, 1, 1), years=2)
        return made.permission_id

    def consent(self, without: int = 0, **said: Any) -> None:
        """Everybody consented to everything; `without` of them did not, or otherwise where that is `said`."""
        clients = pq.read_table(self.release.folder / "parquet" / "client.parquet")["client_id"].to_pylist()
        entries = [
            Consent(client, consent, date(2022, 1, 1), None, "")
            for client in clients
            for consent in self.release.catalogue.policy.consents
        ]
        odd = set(clients[:without])
        changed = [replace(one, **said) if one.client_id in odd else one for one in entries]
        kept = changed if said else [one for one in entries if one.client_id not in odd]
        consents.write_register(self.settings.consents_file, kept, self.ledger, by="steward")

    def hand(self, stand: Stand | None = None, tables: tuple[str, ...] = ()) -> Receipt:
        return hand_over(
            self.settings, self.ledger, stand or Stand(self.release.folder), self.person, self.out, self.release.catalogue,
            by="steward", today=TODAY, tables=tables,
        )  # fmt: skip
