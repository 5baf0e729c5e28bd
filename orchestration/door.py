"""The door for Python: published tables as labelled pandas frames, with their checksum verified. `from orchestration import load`.

It opens what is inside the zone, for those who work there; what is handed over to a person, on record, is in `releases/handover.py`.
Nothing heavy is imported before something is asked for.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestration.trouble import Mendable

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from orchestration.readings import Readings
    from orchestration.releases.catalogue import TableDescription, Variable
    from orchestration.settings import Settings

_TAG = re.compile(r"\d{4}\.\d+\.\d+")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


class Superseded(UserWarning):
    """What was loaded has been superseded by a newer version or release; the text names it."""


class NoSuchTable(Mendable):
    """The version, release or folder has no table of that name; names those that it has."""


class TableDamaged(Mendable):
    """The file of a table is not what its checksum says; names it."""


class NotForUse(Mendable):
    """A release that is not approved, or was rejected, is not loaded."""


class NotUnderstood(Mendable, ValueError):
    """What was asked for is no table, version, day, folder or language; says what may be asked for."""


_ASKED_BY = (
    "`current`, the id of a version or the beginning of it, the tag of a release (2026.1.0), a day (2026-03-01), or the pathlib.Path "
    "of a folder that was handed over"
)


@dataclass(frozen=True)
class _Held:
    """Where tables lie and what is said of them: `marks` are the SHA-256 of each table's Parquet file, `rows` its rows where known."""

    about: Mapping[str, Any]
    marks: Mapping[str, str]
    path: Callable[[str], Path]
    described: Callable[[str], TableDescription]
    superseded_by: str | None = None


def load(
    table: str,
    version: str | date | Path = "current",
    *,
    as_labels: bool = False,
    language: Literal["nl", "en"] = "nl",
) -> pd.DataFrame:
    """A published table as a frame, a row for each row, columns in the order of the codebook; nothing in it is a date.

    `version` is `current`; the id of a version or the beginning of it; the tag of a release (which also has `wide` and the imputed
    sets); a day (`2026-03-01`): what was known at its end; or a folder that was handed over. Whole numbers and yes or no are of
    pandas' types that know missing values. `as_labels` gives columns with a code list as categories, their labels in `language`.

    `frame.attrs` says `table`, `version`, `release`, `simulated`, `registry_cutoff_on`, `description` and, by column, `labels` (nl
    and en), `units`, `codes` (code -> nl and en), `measures` and `personal` (its class of personal data).

    Warns with Superseded when there is a newer one, not for a day, which was asked for. Raises NotUnderstood, NoHome, NoSuchVersion,
    NoSuchRelease, NoSuchTable, NotForUse, and TableDamaged where the file is not what its checksum says.
    """
    import pyarrow.parquet as pq

    from orchestration.hashing import is_as_marked

    if language not in ("nl", "en"):
        raise NotUnderstood('labels are in two languages: language="nl" or "en"')
    held = _held(version)
    _require_table(held, table)
    path = held.path(table)
    if not is_as_marked(path, held.marks[table]):
        raise TableDamaged(f"{path.name} of {held.about['version']} is not what its checksum says; do not use it")
    if held.superseded_by:
        warnings.warn(f"{version} has been superseded by {held.superseded_by}", Superseded, stacklevel=2)
    rows = pq.read_table(path)
    described = held.described(table)
    variables = {one.name: one for one in described.variables}
    frame = _frame(rows)
    if as_labels:
        for name in frame.columns:
            if variables[name].values:
                frame[name] = _categories(frame[name], variables[name], language)
    for name, said in {"table": table, **held.about, **_said(described)}.items():
        frame.attrs[name] = said
    return frame


def tables(version: str | date | Path = "current") -> pd.DataFrame:
    """What there is to load: a row per table, with `table`, `description_nl`, `description_en`, `key` and `columns` (how many)."""
    import pandas as pd

    held = _held(version)
    described = [held.described(name) for name in sorted(held.marks)]
    return pd.DataFrame(
        {
            "table": [one.name for one in described],
            "description_nl": [one.description["nl"] for one in described],
            "description_en": [one.description["en"] for one in described],
            "key": [", ".join(one.key) for one in described],
            "columns": [len(one.variables) for one in described],
        }
    )


def codebook(table: str, version: str | date | Path = "current") -> pd.DataFrame:
    """What every column of a table is, a row each: labels, type, unit, codes, missing codes, class of personal data, purpose and
    retention, as in `codebook.csv` of a release. Raises NoSuchTable."""
    import pandas as pd

    from orchestration.releases.catalogue import read_policy
    from orchestration.releases.metadata import table_codebook

    held = _held(version)
    _require_table(held, table)
    return pd.DataFrame(table_codebook(held.described(table), read_policy()))


def _require_table(held: _Held, table: str) -> None:
    if not isinstance(table, str):
        raise NotUnderstood("a table is asked for by its name; `tables()` lists them")
    if table not in held.marks:
        of_releases = held.about["release"] is None and (table == "wide" or table.startswith("imputed"))
        hint = (
            '; `wide` and the imputed sets are in releases: name one by its tag, version="2026.1.0"'
            if of_releases
            else ""
        )
        raise NoSuchTable(
            f"there is no table of that name; {held.about['version']} has {', '.join(sorted(held.marks))}{hint}"
        )


def _held(version: str | date | Path) -> _Held:
    if isinstance(version, Path):
        return _folder(version)
    if not isinstance(version, str | date):
        raise NotUnderstood(f"version={type(version).__name__} is not understood: it is {_ASKED_BY}")
    from orchestration.home import home_settings, readings

    settings = home_settings()
    ledger = readings(settings)
    if isinstance(version, date) or _DAY.fullmatch(version):
        return _version(settings, ledger, _day(version))
    if _TAG.fullmatch(version):
        return _release(settings, ledger, version)
    if not re.fullmatch(r"current|[0-9a-f]+", version):
        raise NotUnderstood(f"version={version[:40]!r} is not understood: it is {_ASKED_BY}")
    return _version(settings, ledger, version)


def _day(asked: str | date) -> date:
    if isinstance(asked, date):
        return asked.date() if isinstance(asked, datetime) else asked
    try:
        return date.fromisoformat(asked)
    except ValueError:
        raise NotUnderstood(f"there is no day {asked}: a day is yyyy-mm-dd") from None


def _version(settings: Settings, ledger: Readings, asked: str | date) -> _Held:
    """A version by its name, or what was known on a day."""
    from orchestration.releases.catalogue import catalogue_in
    from orchestration.warehouse.versions import current_id, named_version

    if isinstance(asked, date):
        from orchestration.warehouse.aside import known_version

        chosen, current = known_version(settings, ledger, asked), None
    else:
        chosen, current = named_version(settings, asked), current_id(settings)
    manifest = chosen.manifest

    def described(name: str) -> TableDescription:
        return _kept(catalogue_in(settings).table(name), [one["name"] for one in manifest["tables"][name]["columns"]])

    return _Held(
        {"version": chosen.version_id, "release": None, "simulated": bool(manifest["simulated"]),
         "registry_cutoff_on": str(manifest["registry_cutoff_on"])},
        {name: entry["sha256"] for name, entry in manifest["tables"].items()},
        lambda name: chosen.folder / f"{name}.parquet", described,
        current if current != chosen.version_id else None,
    )  # fmt: skip


def _kept(described: TableDescription, names: list[str]) -> TableDescription:
    """What today's catalogue says of the columns that an older version has."""
    from orchestration.releases.catalogue import NotDescribed

    known = {one.name: one for one in described.variables}
    lacking = [name for name in names if name not in known]
    if lacking:
        raise NotDescribed(f"{described.name}: {len(lacking)} column(s) of that version are no longer described: {', '.join(lacking)}")  # fmt: skip
    return replace(described, variables=tuple(known[name] for name in names))


def _release(settings: Settings, ledger: Readings, tag: str) -> _Held:
    """A release that is, or was, approved; its checksums are held against what the ledger says of it."""
    from orchestration.hashing import is_as_marked
    from orchestration.releases import approval

    release = approval.named_release(ledger, tag)
    if release.state not in approval.LEFT:
        raise NotForUse(f"release {tag} is {release.state}; only one that was approved is loaded")
    folder = release.folder(settings)
    if approval.is_buried(folder):
        raise NotForUse(f"the microdata of release {tag} were removed, since people in them have withdrawn")
    if not is_as_marked(folder / approval.MANIFEST, release.manifest_sha256):
        raise TableDamaged(f"release {tag} is not as it was drafted: do not use it")
    files = json.loads((folder / approval.MANIFEST).read_text(encoding="utf-8"))["files"]
    newer = approval.current_release(ledger)
    place = f"{approval.ZONE}/parquet/"
    marks = {Path(name).stem: mark for name, mark in files.items() if name.startswith(place)}
    superseded_by = newer.tag if newer and newer.tag != tag else None
    return replace(_written(folder / approval.ZONE, marks), superseded_by=superseded_by)


def _folder(folder: Path) -> _Held:
    """A folder that was handed over, by its own checksums."""
    from orchestration.releases import approval
    from orchestration.releases.writing import read_sums

    if not folder.is_dir():
        raise NotUnderstood(f"there is no folder {folder.name}: a Path names a folder that was handed over")
    if (folder / approval.ZONE).is_dir():
        raise NotForUse(f'{folder.name} is the folder of a release: load it by its tag, version="{folder.name}"')

    place = "parquet/"
    return _written(
        folder, {Path(name).stem: mark for name, mark in read_sums(folder).items() if name.startswith(place)}
    )


def _written(folder: Path, marks: Mapping[str, str]) -> _Held:
    import pyarrow.parquet as pq

    from orchestration.releases.formats import described_in
    from orchestration.releases.writing import INVENTORY

    said = json.loads((folder / INVENTORY).read_text(encoding="utf-8"))

    def path(name: str) -> Path:
        return folder / "parquet" / f"{name}.parquet"

    return _Held(
        {"version": said["version_id"], "release": said["tag"], "simulated": bool(said["simulated"]),
         "registry_cutoff_on": said["registry_cutoff_on"]},
        marks, path, lambda name: described_in(name, pq.read_schema(path(name))),
    )  # fmt: skip


def _frame(rows: pa.Table) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    kinds = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    return rows.replace_schema_metadata(None).to_pandas(types_mapper=kinds.get)


def _categories(values: pd.Series, variable: Variable, language: str) -> pd.Series:
    """The labels of codes as categories, in the order of the code list; ordered where the measure is."""
    import pandas as pd

    labels = {code: label[language] for code, label in variable.values.items()}
    shown = [None if value is None or value is pd.NA else labels[value] for value in values.astype(object)]
    kind = pd.CategoricalDtype(list(dict.fromkeys(labels.values())), ordered=variable.measure == "ordinal")
    return pd.Series(shown, index=values.index, name=values.name).astype(kind)


def _said(described: TableDescription) -> dict[str, Any]:
    variables = described.variables
    return {
        "description": dict(described.description),
        "labels": {one.name: dict(one.label) for one in variables},
        "units": {one.name: one.unit for one in variables if one.unit},
        "codes": {one.name: {code: dict(label) for code, label in one.values.items()} for one in variables if one.values},
        "measures": {one.name: one.measure for one in variables},
        "personal": {one.name: one.personal for one in variables},
    }  # fmt: skip
