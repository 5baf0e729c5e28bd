"""One trial: spoil a good delivery in one way, ask for the verdict, and hold it against what the catalogue says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestration.deliveries.ingest import Receipt, check_delivery
from orchestration.deliveries.manifest import NotADelivery
from orchestration.simulation.mutations import MUTATIONS, CannotMutate, mutate
from tests.conftest import Platform
from tests.deliveries.making import deliver, delivery_in

NEXT = {"rn": "2026-Q1", "registry": "2026", "svg": "2026-Q1", "ljr": "2026-Q1"}


@dataclass(frozen=True)
class Trial:
    """A mutation of one organisation's delivery and what the gate found: blocking rules, and the verdict."""

    name: str
    organisation: str
    status: str
    found: frozenset[str]
    warned: frozenset[str] = frozenset()

    @property
    def is_named(self) -> bool:
        """Whether the verdict and the rules are those that the catalogue names, and no others."""
        mutation = MUTATIONS[self.name]
        if not mutation.rule:
            return self.status != "rejected" and not self.found
        if mutation.is_warning:
            return mutation.rule in self.warned and self.found <= set(mutation.also)
        allowed = {mutation.rule, *mutation.also}
        return self.status == "rejected" and mutation.rule in self.found and self.found <= allowed


def spoiled(name: str, organisation: str, source: Path, folder: Path) -> Path | None:
    """A copy of the good delivery below `source`, spoiled, in `folder`; None where the mutation has nothing to spoil."""
    bad = deliver(delivery_in(source, organisation), folder, f"{name}-1", NEXT[organisation])
    try:
        mutate(bad, name)
    except CannotMutate:
        return None
    return bad


def judged(name: str, receipt: Receipt) -> Trial:
    """What a receipt says of a spoiled delivery."""
    found, warned = (frozenset(item.rule for item in items) for items in (receipt.reasons, receipt.warnings))
    return Trial(name, receipt.organisation, receipt.status, found, warned)


def trial(name: str, organisation: str, platform: Platform, source: Path, folder: Path) -> Trial | None:
    """Spoil and judge, changing nothing; None where the mutation has nothing to spoil."""
    bad = spoiled(name, organisation, source, folder)
    if bad is None:
        return None
    try:
        receipt: Receipt = check_delivery(bad, platform.settings, platform.ledger)
    except NotADelivery:
        return Trial(name, organisation, "not a delivery", frozenset())
    return judged(name, receipt)


def trials(name: str, platform: Platform, source: Path, folder: Path) -> Iterator[Trial]:
    """The mutation on every organisation that has something to spoil."""
    for organisation in NEXT:
        if found := trial(name, organisation, platform, source, folder / organisation):
            yield found
