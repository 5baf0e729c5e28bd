"""Writes what may leave: the judged tables, what they are, the verdicts, what changed, and checksums; then has the folder looked at as
a stranger would. Nothing is judged here, and no version, fit or row of a person is read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestration.files import write_atomically
from orchestration.hashing import sha256_file
from orchestration.releases import metadata
from orchestration.releases.catalogue import NotDescribed
from orchestration.releases.disclosure import PASS, REFUSED, ReleaseRules, write_disclosure
from orchestration.releases.disclosure_scan import Allowed, Secrets, may_leave, scan_folder
from orchestration.releases.scripts import text_of
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    import pandas as pd

    from orchestration.releases.catalogue import Catalogue
    from orchestration.releases.changes import Changes
    from orchestration.releases.disclosure import Judged

COLUMNS = Path(__file__).with_name("public_columns.yml")
TABLES, SUMS = "tables", "SHA256SUMS.txt"
RELEASE, SIMULATED = "release", "simulated"
CODEBOOK = "codebook.csv"


class MayNotLeave(Mendable):
    """A folder holds something that may not leave; names files and rules, and nothing is drafted."""


@dataclass(frozen=True)
class Described:
    """What the tables that may leave are, and their columns: name -> (nl, en)."""

    tables: Mapping[str, tuple[str, str]]
    columns: Mapping[str, tuple[str, str]]
    study: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Leaving:
    """Everything that is written of one release. `about`: as the zone has it; `changes`: None for a first release."""

    about: metadata.About
    catalogue: Catalogue
    rules: ReleaseRules
    judged: Judged
    changes: Changes | None = None


@cache
def described() -> Described:
    """What `public_columns.yml` says."""
    raw = yaml.safe_load(COLUMNS.read_text(encoding="utf-8"))
    return Described(
        *({name: (nl, en) for name, (nl, en) in raw[part].items()} for part in ("tables", "columns", "study"))
    )


def write_tables(folder: Path, leaving: Leaving, also: Mapping[str, str]) -> None:
    """Write everything but checksums into `folder`. `also`: what else lies in it, path -> what it is.

    Raises NotDescribed when a judged table, or a column of one, is not described.
    """
    about = about_in_public(leaving.about)
    frames = {name: _labelled(frame, about) for name, frame in leaving.judged.frames.items()}
    _require_described(frames)
    (folder / TABLES).mkdir(parents=True)
    for name, frame in frames.items():
        write_atomically(folder / TABLES / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n").encode())
    verdicts = leaving.judged.verdicts
    write_disclosure(verdicts, leaving.rules, folder / "disclosure.json", is_simulated=about.is_simulated)
    known = described().tables
    texts = {
        "datapackage.json": json.dumps(_data_package(about, frames), indent=1, ensure_ascii=False) + "\n",
        "CITATION.cff": metadata.citation(about),
        CODEBOOK: metadata.codebook_csv(metadata.codebook_rows(replace(about, tables=leaving.catalogue.tables), leaving.catalogue)),
        "CHANGELOG.md": text_of(
            "PUBLIC-CHANGELOG.md", about=about, changes=leaving.changes, threshold=leaving.rules.threshold
        ),
        "README.md": text_of(
            "PUBLIC-README.md", about=about, base=leaving.rules.base, also=also.items(), hidden=int(verdicts["hidden"].sum()),
            suppressed=int((~verdicts["verdict"].isin([PASS, REFUSED])).sum()), refused=int((verdicts["verdict"] == REFUSED).sum()),
            tables=[(name, len(frame), known[name][1]) for name, frame in frames.items()],
        ),
    }  # fmt: skip
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())


def write_sums(folder: Path) -> None:
    """Write the checksums of everything in `folder`: the last file that is written."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    write_atomically(folder / SUMS, "".join(f"{sha256_file(folder / name)}  {name}\n" for name in names).encode())


def scanned(
    folder: Path, leaving: Leaving, secrets: Secrets, synthetic: Collection[str] = (), vouched: Allowed | None = None
) -> pd.DataFrame:
    """The verdict on every file of a public folder (`scan_folder`). Raises MayNotLeave unless all of them pass.

    `synthetic`: files whose rows are of nobody. `vouched`: what else is vouched for, as by who writes the pages.
    """
    columns = {f"{TABLES}/{name}.csv": (RELEASE, SIMULATED, *frame.columns) for name, frame in leaving.judged.frames.items()}  # fmt: skip
    header = (folder / CODEBOOK).read_text(encoding="utf-8").partition("\n")[0]
    days = {leaving.about.released_on.isoformat(), leaving.about.registry_cutoff_on}
    vouched = vouched or Allowed()
    allowed = replace(
        vouched, threshold=leaving.rules.threshold, columns={**vouched.columns, **columns, CODEBOOK: header.split(",")},
        dates=vouched.dates | days, synthetic=vouched.synthetic | set(synthetic),
    )  # fmt: skip
    found = scan_folder(folder, allowed, secrets)
    if not may_leave(found):
        refused = found[found["verdict"] == REFUSED]
        named = "; ".join(f"{item}: {rule}" for item, rule in refused[["item", "rule"]].head(10).itertuples(index=False, name=None))  # fmt: skip
        raise MayNotLeave(f"{len(refused)} of {len(found)} files may not leave, so nothing is drafted: {named}")
    return found


def about_in_public(about: metadata.About) -> metadata.About:
    """The release as it is said in public: of its tables, not of the microdata."""
    return replace(about, study=study_in_public())


def study_in_public() -> metadata.Study:
    """The study as a release that leaves says it."""
    abstract, access = ({"nl": nl, "en": en} for nl, en in (described().study[name] for name in ("abstract", "access")))
    return replace(metadata.read_study(), abstract=abstract, access=access)


def _labelled(frame: pd.DataFrame, about: metadata.About) -> pd.DataFrame:
    """A judged table with the release that it is of and whether that is simulated; yes and no as JSON has them."""
    flags = [str(name) for name in frame if frame[name].dtype == bool]
    said = frame.assign(**{name: frame[name].map({True: "true", False: "false"}) for name in flags})
    said.insert(0, SIMULATED, str(about.is_simulated).lower())
    said.insert(0, RELEASE, about.tag)
    return said


def _require_described(frames: Mapping[str, pd.DataFrame]) -> None:
    known = described()
    missing = [name for name in frames if name not in known.tables]
    missing += [f"{name}.{column}" for name, frame in frames.items() for column in frame if column not in known.columns]
    if missing:
        raise NotDescribed(
            f"{len(missing)} table(s) or column(s) that would leave are not described in {COLUMNS.name}: {', '.join(missing)}"
        )


def _data_package(about: metadata.About, frames: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """`datapackage.json` (Data Package v1) over the tables that leave."""
    return {
        **metadata.data_package(replace(about, tables=())),
        "name": f"delictvrij-public-{about.tag}",
        "resources": [_resource(name, frame) for name, frame in frames.items()],
    }


def _resource(name: str, frame: pd.DataFrame) -> dict[str, Any]:
    known = described()
    fields = [
        {"name": column, "type": _type(frame[column]), "title": known.columns[column][1], "description": known.columns[column][0]}
        for column in map(str, frame)
    ]  # fmt: skip
    return {
        "profile": "tabular-data-resource", "name": name, "path": f"{TABLES}/{name}.csv", "format": "csv", "mediatype": "text/csv",
        "encoding": "utf-8", "description": known.tables[name][1], "schema": {"fields": fields, "missingValues": [""]},
    }  # fmt: skip


def _type(values: pd.Series) -> str:
    import pandas as pd

    if pd.api.types.is_integer_dtype(values):
        return "integer"
    if pd.api.types.is_float_dtype(values):
        return "number"
    return "boolean" if len(values) and set(values.dropna()) <= {"true", "false"} and values.notna().any() else "string"
