"""Corrections: a value that a source has wrong, is told of, and will mend; until then it is read as it should be.

The raw store keeps what was delivered. A correction is applied before the gate and again in each build, and only while the
source still says what it said when the correction was made: once it is mended, or the correction's time is over, the
build stops and names the entry. Rows are named by their pseudonymised key, the old value by a keyed digest of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import yaml

from orchestration.deliveries import raw
from orchestration.deliveries.contracts import Column, Organisation, Table
from orchestration.deliveries.judgement import Judgement, Refused, Status
from orchestration.deliveries.keys import PseudonymKey
from orchestration.deliveries.manifest import read_manifest
from orchestration.deliveries.readers import in_present_words, read_delivery
from orchestration.files import write_atomically
from orchestration.ledger import Ledger
from orchestration.readings import DeliveryRecord
from orchestration.settings import Settings
from orchestration.trouble import Mendable

APPLIED, STALE = "correction.applied", "correction.stale"
CORRECTED = "corrected"
_PURPOSE = "correction"
_FIELDS = ("organisation", "table", "key", "column", "was", "becomes", "why", "reported_to", "by", "until")


class CannotCorrect(Mendable):
    """The correction is not one that can be made; says why."""


class CorrectionStale(Mendable):
    """A correction no longer fits what the source says; nothing is built on it. Names the entry."""


@dataclass(frozen=True)
class Correction:
    """One value of one row. `key` is by our column names, as it stands in the raw store; `was` a keyed digest.

    `number` is the place of the entry in its file, from 1.
    """

    number: int
    organisation: str
    table: str
    key: Mapping[str, str]
    column: str
    was: str
    becomes: str | int | float | date | None
    why: str
    reported_to: str
    by: str
    until: date

    def said(self) -> str:
        """By whom, until when, why and who was told, for a letter."""
        return f"{self.by}; {self.until.isoformat()}; {self.why}; {self.reported_to}"

    def as_record(self) -> dict[str, str]:
        """What a build record says of it: not which row."""
        return {
            "organisation": self.organisation, "table": self.table, "column": self.column, "why": self.why,
            "reported_to": self.reported_to, "by": self.by, "until": self.until.isoformat(),
        }  # fmt: skip


def read_corrections(path: Path) -> tuple[Correction, ...]:
    """The corrections in a file; none where there is no file. Raises CannotCorrect when an entry lacks or adds something."""
    if not path.is_file():
        return ()
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    found = []
    for number, entry in enumerate(entries, start=1):
        where = f"{path.name}, entry {number}"
        if not isinstance(entry, dict) or set(entry) != set(_FIELDS) or not isinstance(entry["key"], dict):
            raise CannotCorrect(f"{where}: it says {', '.join(_FIELDS)}, and no more")
        if not isinstance(entry["until"], date) or not all(
            str(entry[name]).strip() for name in ("why", "reported_to", "by")
        ):
            raise CannotCorrect(
                f"{where}: it needs why, who was told, by whom, and a day on which it ends (yyyy-mm-dd)"
            )
        key = {str(name): str(value) for name, value in entry["key"].items()}
        found.append(Correction(number, **{**entry, "key": key}))
    return tuple(found)


def of_table(table: Table, corrections: Iterable[Correction]) -> list[Correction]:
    """The corrections of one table."""
    return [item for item in corrections if (item.organisation, item.table) == (table.organisation, table.name)]


def corrected(
    table: Table, content: pa.Table, corrections: Iterable[Correction], key: PseudonymKey, today: date
) -> tuple[pa.Table, list[Judgement]]:
    """A raw table with its corrections applied, and for each of them whether it was (`correction.applied`) or no longer
    fits (`correction.stale`). Columns beside those of the contract are kept as they are.
    """
    own = of_table(table, corrections)
    if not own:
        return content, []
    content = raw.decoded(content)
    frame = content.to_pandas(types_mapper=pd.ArrowDtype)
    judgements = []
    for correction in own:
        header = table.column(correction.column).source
        rows = _rows_that_still_say_so(table, frame, correction, key) if today <= correction.until else []
        if not rows:
            judgements.append(
                Judgement(
                    STALE,
                    Status.FAILED,
                    severity="warning",
                    failed=1,
                    expected=f"entry {correction.number}",
                    table=table.name,
                    column=header,
                )
            )
            continue
        frame.loc[rows, header] = correction.becomes if correction.becomes is not None else pd.NA
        judgements.append(
            Judgement(
                APPLIED,
                Status.PASSED,
                severity=CORRECTED,
                evaluated=len(rows),
                failed=0,
                note=correction.said(),
                table=table.name,
                column=header,
            )
        )
    return pa.Table.from_pandas(frame, schema=content.schema, preserve_index=False), judgements


def _rows_that_still_say_so(table: Table, frame: pd.DataFrame, correction: Correction, key: PseudonymKey) -> list[int]:
    """Row numbers, from 0, of the row with the correction's key, if it holds the value that was wrong."""
    mask = pd.Series(True, index=frame.index)
    for name in table.key:
        mask &= frame[table.column(name).source].map(_text).eq(correction.key.get(name, ""))
    header = table.column(correction.column).source
    return [
        int(row) for row in frame.index[mask] if key.pseudonym(_PURPOSE, _text(frame.at[row, header])) == correction.was
    ]


def _text(value: Any) -> str:
    """A raw value as text, the same whatever library holds it."""
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat()[:10] if hasattr(value, "isoformat") else str(value)


def require_fresh(judgements: Iterable[Judgement], path: Path) -> None:
    """Raise CorrectionStale when a correction no longer fits."""
    stale = sorted({judgement.expected for judgement in judgements if judgement.rule == STALE})
    if stale:
        raise CorrectionStale(
            f"{path.name}, {', '.join(stale)}: the source has been mended or the time is over; remove or renew it"
        )


def correct(
    settings: Settings,
    ledger: Ledger,
    organisation: Organisation,
    record: DeliveryRecord,
    key: PseudonymKey,
    place: tuple[str, int, str],
    becomes: str,
    why: str,
    reported_to: str,
    by: str,
    until: date,
) -> Correction:
    """Write a correction of the value at `place` (table, row from 1, column) of a delivery that still lies in landing.

    A rejected delivery then waits to be judged again. Raises CannotCorrect.
    """
    table_name, row, column_name = place
    table = next((item for item in organisation.tables if item.name == table_name), None)
    if table is None:
        raise CannotCorrect(
            f"{organisation.name} has no such table; it has {', '.join(t.name for t in organisation.tables)}"
        )
    column = next((item for item in table.columns if column_name in (item.name, item.source)), None)
    if column is None or column.pseudonym or not column.keep or column.name in table.key:
        raise CannotCorrect(
            f"{table.name} has no column of that name that can be corrected: not an identifier, not a key"
        )
    if not why.strip() or not reported_to.strip():
        raise CannotCorrect("a correction needs a reason, and to whom it was reported")
    value = _typed(column, becomes)
    frame = _landed(settings, organisation, record, table, key)
    if not 1 <= row <= len(frame):
        raise CannotCorrect(f"{table.name} has rows 1 to {len(frame)}")
    given = frame.iloc[row - 1]
    known = read_corrections(settings.corrections_file)
    made = Correction(
        number=len(known) + 1,
        organisation=organisation.name,
        table=table.name,
        key={name: _text(given[table.column(name).source]) for name in table.key},
        column=column.name,
        was=key.pseudonym(_PURPOSE, _text(given[column.source])),
        becomes=value,
        why=why.strip(),
        reported_to=reported_to.strip(),
        by=by,
        until=until,
    )
    others = [item for item in known if (item.organisation, item.table, item.key, item.column) != (made.organisation, made.table, made.key, made.column)]  # fmt: skip
    write_corrections(settings.corrections_file, [*others, made])
    if record.status == "rejected":
        ledger.reopen(record.manifest_sha256)
    return made


def write_corrections(path: Path, corrections: Sequence[Correction]) -> None:
    """Write all corrections of a file, whole or not at all."""
    write_atomically(path, _as_yaml(corrections).encode())


def _landed(
    settings: Settings, organisation: Organisation, record: DeliveryRecord, table: Table, key: PseudonymKey
) -> pd.DataFrame:
    """A table of a delivery as the raw store would hold it, in the order of its rows."""
    name = f"{record.delivery_id}-{record.manifest_sha256[:8]}"
    for root in (settings.landing, settings.quarantine):
        folder = root / organisation.name / record.period / name
        if not folder.is_dir():
            continue
        try:
            manifest = read_manifest(folder)
            asked = organisation.as_of(manifest.schema_version).table(table.name)
            (read,) = read_delivery(folder, manifest, [asked], settings.admit_test_numbers, organisation.limits)
        except Refused:
            raise CannotCorrect("the table cannot be read; it has to be delivered again") from None
        return raw.decoded(raw.pseudonymised(table, in_present_words(read, table).rows, key)).to_pandas()
    raise CannotCorrect("the delivery no longer lies in landing; correct the next one")


def _typed(column: Column, text: str) -> str | int | float | date | None:
    """What is written in the place of the wrong value. Raises CannotCorrect without repeating it."""
    if text == "":
        if column.is_required:
            raise CannotCorrect(f"{column.name} is required: it cannot become empty")
        return None
    try:
        if column.staged_type == "integer":
            return int(text)
        if column.staged_type == "decimal":
            return float(text)
        if column.staged_type == "date":
            return date.fromisoformat(text)
    except ValueError:
        raise CannotCorrect(f"{column.name} takes {column.staged_type} values (dates as yyyy-mm-dd)") from None
    codes = [code.source for code in column.codes] + list(column.missing)
    if column.type == "code" and text not in codes:
        raise CannotCorrect(f"{column.name} takes one of its {len(codes)} agreed codes")
    return text


def _as_yaml(corrections: Sequence[Correction]) -> str:
    entries = [{name: getattr(item, name) for name in _FIELDS} for item in corrections]
    head = "# Values that a source has wrong: which row (pseudonymised key), what was (keyed digest) and becomes, why, until when.\n"
    return head + yaml.safe_dump(
        [{**entry, "key": dict(entry["key"])} for entry in entries], sort_keys=False, allow_unicode=True
    )
