"""The dry run of a partner: the same rules on their own computer, without home, key or ledger, before anything is sent.

What the platform knows and a partner does not is the snapshot before. A reference file with counts (it comes with the
receipt of an accepted delivery) stands in for it where counts suffice; the rules that cannot be applied are named.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.deliveries import history
from orchestration.deliveries.contracts import Organisation, read_contracts
from orchestration.deliveries.ingest import REFERENCE, Receipt, examine, misplaced, placed
from orchestration.deliveries.judgement import Judgement, Status, blocking
from orchestration.deliveries.keys import KEY_BYTES, PseudonymKey
from orchestration.deliveries.manifest import manifest_hash
from orchestration.ledger import Ledger
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from orchestration.settings import Settings

SNAPSHOT_RULES = ("rows.shrunk", *history.SNAPSHOT_RULES)


class NoReference(Mendable):
    """The reference file cannot be used; says why."""


@dataclass(frozen=True)
class Reference:
    """What a partner may keep of an accepted delivery: counts, no value, no pseudonym, no hash of content."""

    organisation: str
    period: str
    delivery_id: str
    rows: Mapping[str, int]


@dataclass(frozen=True)
class OfflineVerdict:
    """The verdict as far as a partner can know it, and the codes of the rules that were not applied."""

    receipt: Receipt
    not_applied: tuple[str, ...]


def read_reference(path: Path) -> Reference:
    """Read a reference file. Raises NoReference."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = {str(name): int(count) for name, count in content["rows"].items()}
        return Reference(str(content["organisation"]), str(content["period"]), str(content["delivery_id"]), rows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise NoReference(f"{path}: this is not a {REFERENCE} of an earlier receipt") from None


def check_offline(delivery: Path, settings: Settings, reference: Reference | None) -> OfflineVerdict:
    """Judge a delivery with nothing but the contracts. Raises NotADelivery and NoReference.

    Pseudonyms are made with a key that exists only for this call, so that nothing that is computed can be matched.
    """
    delivery = delivery.resolve()
    contracts = read_contracts(settings.expectations)
    name, period = placed(delivery, contracts)
    organisation = contracts[name]
    if reference and reference.organisation != name:
        raise NoReference(f"the reference is of {reference.organisation}, the delivery of {name}")
    ledger = Ledger("sqlite://")
    ledger.create()
    key = PseudonymKey(secrets.token_bytes(KEY_BYTES), settings.project)
    found = examine(delivery, organisation, settings, ledger, key)
    if found.manifest and (found.manifest.period != period or found.manifest.delivery_id != delivery.name):
        found = misplaced(found)
    judgements = [judgement for judgement in found.judgements if judgement.rule not in SNAPSHOT_RULES]
    counts = {table: rows.num_rows for table, rows in found.tables.items()}
    if reference and reference.period <= period:
        deleted = {table: len(keys) for table, keys in found.deletions.items()}
        judgements += _shrunk(organisation, counts, deleted, reference)
    is_accepted = bool(counts) and not blocking(judgements)
    receipt = Receipt(
        name, period, delivery.name, manifest_hash(delivery), "accepted" if is_accepted else "rejected", None,
        counts if is_accepted else {}, tuple(judgements),
    )  # fmt: skip
    return OfflineVerdict(receipt, SNAPSHOT_RULES)


def _shrunk(
    organisation: Organisation, counts: Mapping[str, int], deleted: Mapping[str, int], reference: Reference
) -> list[Judgement]:
    """Tables that hold so many fewer rows than before that rows must be missing, whichever they are."""
    found = []
    for table in organisation.tables:
        before, now = reference.rows.get(table.name), counts.get(table.name)
        if before is None or now is None:
            continue
        gone = before - now - deleted.get(table.name, 0)
        if gone > organisation.shrink_tolerance * before:
            found.append(
                Judgement(
                    "rows.shrunk", Status.FAILED, table=table.name, evaluated=before, failed=gone,
                    threshold=organisation.shrink_tolerance,
                    expected=f"at most {organisation.shrink_tolerance:.0%} of {before} rows",
                )
            )  # fmt: skip
    return found
