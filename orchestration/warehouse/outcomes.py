"""Outcome definitions as a person writes them: read from a file, every value checked before anything is computed.

The repository's own stand in `dbt_project/seeds/outcome.csv`; a researcher's file has the same columns.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestration.files import write_atomically
from orchestration.trouble import Mendable

CHOICES: Mapping[str, tuple[str, ...]] = {
    "role": ("primary", "sensitivity"),
    "level": ("general", "serious", "very_serious", "specific", "custodial"),
    "origin": ("landmark", "supervision_start", "supervision_end"),
    "entry": ("origin", "landmark"),
    "pending_counts": ("true", "false"),
    "policy_dismissal_counts": ("true", "false"),
    "date_basis": ("offence", "registration"),
    "detention": ("ignored", "subtracted", "state"),
    "early_offenders": ("kept", "excluded"),
}
WHOLE_NUMBERS: Mapping[str, tuple[int, int]] = {
    "version": (1, 10_000),
    "horizon_months": (1, 240),
    "lag_months": (0, 60),
}
DEFAULTS: Mapping[str, str] = {"version": "1", "role": "sensitivity", "entry": "origin", "early_offenders": "kept"}
COLUMNS = (
    "outcome_id", "version", "role", "level", "origin", "entry", "horizon_months", "lag_months", "pending_counts",
    "policy_dismissal_counts", "date_basis", "detention", "early_offenders",
)  # fmt: skip
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
MOST = 500  # definitions in one file


class OutcomeNotDefined(Mendable):
    """A file of outcome definitions holds something that nobody computes; names each row, column and what may stand there."""


def read_definitions(path: Path) -> list[dict[str, str]]:
    """The outcome definitions in a CSV file (UTF-8, comma or semicolon), every column filled. Raises OutcomeNotDefined.

    `version`, `role`, `entry` and `early_offenders` may be left out: 1, sensitivity, origin and kept.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise OutcomeNotDefined(f"{path.name} cannot be read as UTF-8 text") from None
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if ";" in head else ",", strict=True)
    try:
        rows = list(reader)
    except csv.Error:
        raise OutcomeNotDefined(f"{path.name} is no CSV from line {reader.line_num} on") from None
    header = [name.strip() for name in reader.fieldnames or []]
    unknown = [number for number, name in enumerate(header, start=1) if name not in COLUMNS]
    missing = [name for name in COLUMNS if name not in header and name not in DEFAULTS]
    if unknown or missing or len(set(header)) != len(header):
        raise OutcomeNotDefined(
            f"{path.name}: columns that are missing: {', '.join(missing) or 'none'}; columns that are not known, by number: "
            f"{', '.join(map(str, unknown)) or 'none'}; it may have {', '.join(COLUMNS)}, each once"
        )
    if not 1 <= len(rows) <= MOST:
        raise OutcomeNotDefined(f"{path.name} holds {len(rows)} definitions; 1 to {MOST} can be computed at once")
    found = [{name: (row.get(name) or DEFAULTS.get(name, "")).strip() for name in COLUMNS} for row in rows]
    troubles = [
        f"row {number}: {trouble}"
        for number, row in enumerate(found, start=1)
        for trouble in (*_troubles(row), *(["more fields than columns"] if None in rows[number - 1] else []))
    ]
    names = [row["outcome_id"] for row in found]
    troubles += [
        f"row {number}: outcome_id stands there already in row {names.index(name) + 1}"
        for number, name in enumerate(names, start=1)
        if names.index(name) + 1 < number
    ]
    if troubles:
        shown = "; ".join(troubles[:10])
        raise OutcomeNotDefined(f"{path.name}, {len(troubles)} thing(s) to mend: {shown}")
    return found


def _troubles(row: Mapping[str, str]) -> list[str]:
    found = []
    if not NAME.fullmatch(row["outcome_id"]):
        found.append("outcome_id begins with a letter and holds small letters, digits and underscores, 63 at most")
    found += [
        f"{column} is one of {', '.join(allowed)}" for column, allowed in CHOICES.items() if row[column] not in allowed
    ]
    for column, (low, high) in WHOLE_NUMBERS.items():
        if not (row[column].isascii() and row[column].isdigit() and low <= int(row[column]) <= high):
            found.append(f"{column} is a whole number from {low} to {high}")
    return found


def write_definitions(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write outcome definitions as the seed that dbt reads."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, out.getvalue().encode())
