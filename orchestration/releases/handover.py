"""Handing a release over: what a permission covers of an approved, intact release, and nothing else, into a folder of the zone, with
a receipt beside it; and who had what. What a release is, and when it is approved, is not decided here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestration.files import folder_by_rename, write_json
from orchestration.hashing import content_hash, is_as_marked, sha256_file
from orchestration.readings import Readings
from orchestration.releases import consents
from orchestration.releases.approval import (
    APPROVED,
    SUPERSEDED,
    ZONE,
    Released,
    is_buried,
    named_release,
    releases,
    verify_release,
)
from orchestration.releases.catalogue import Catalogue, Policy
from orchestration.releases.formats import SIMULATED, read_written
from orchestration.releases.metadata import About, read_study
from orchestration.releases.registers import ALL, Permission, permissions
from orchestration.releases.scripts import ReproducedModel
from orchestration.releases.tables import IMPUTATION, ReleasedTable
from orchestration.releases.writing import (
    CHANGES,
    INVENTORY,
    SUMS,
    FolderDamaged,
    Spelling,
    TableInventory,
    files_of,
    verify_written,
    write_about,
    write_table,
)
from orchestration.settings import Settings
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from orchestration.ledger import Ledger

CLIENT = "client_id"
WITHDRAWN = "withdrawn"
RECEIPT = ".receipt.json"
_OF_A_MODEL = (IMPUTATION, "cluster", "entry_days", "duration_days", "event")


class CannotHandOver(Mendable):
    """A release cannot be handed over as asked; says why, and how many where people are concerned."""


class Release(Protocol):
    """What handing over asks of a release: its tag and state, and the folder with its microdata."""

    @property
    def tag(self) -> str:
        """Such as 2026.1.0."""

    @property
    def state(self) -> str:
        """`approved` is the one that may be handed over."""

    @property
    def folder(self) -> Path:
        """Where `write_release_tables` wrote it."""

    def verify(self) -> None:
        """Raise where the release is not what was approved."""


@dataclass(frozen=True)
class KeptRelease:
    """A release of a home."""

    settings: Settings
    released: Released

    @property
    def tag(self) -> str:
        return self.released.tag

    @property
    def state(self) -> str:
        """As the ledger says, or `withdrawn` where its microdata were removed since people in them have withdrawn."""
        return WITHDRAWN if is_buried(self.released.folder(self.settings)) else self.released.state

    @property
    def folder(self) -> Path:
        return self.released.folder(self.settings) / ZONE

    def verify(self) -> None:
        verify_release(self.settings, self.released)


def kept_release(settings: Settings, ledger: Readings, tag: str) -> KeptRelease:
    """The release of that tag. Raises NoSuchRelease."""
    return KeptRelease(settings, named_release(ledger, tag))


@dataclass(frozen=True)
class Receipt:
    """What was handed over: the columns and rows of each table, under which permission, by whom; `columns_left_out` are those of
    these tables that the permission does not cover; `checksum` is that of the file with the checksums."""

    tag: str
    version_id: str
    simulated: bool
    permission_id: str
    reference: str
    until: date
    person: str
    handed_by: str
    handed_on: date
    columns: Mapping[str, tuple[str, ...]]
    rows: Mapping[str, int]
    columns_left_out: int
    files: int
    checksum: str


@dataclass(frozen=True)
class Download:
    """One hand-over on record. `release_state` (`gone` where no ledger knows it any more) and `permission_state` are those of today;
    `is_stale` where the release is no longer the approved one, so that the person is to be told."""

    tag: str
    version_id: str
    person: str
    permission_id: str
    tables: tuple[str, ...]
    columns: int
    handed_by: str
    handed_at: datetime
    checksum: str
    release_state: str
    permission_state: str

    @property
    def is_stale(self) -> bool:
        return self.release_state != APPROVED


@dataclass(frozen=True)
class _Part:
    """A table as it is in the release, and what of it is handed over."""

    whole: ReleasedTable
    handed: ReleasedTable

    @property
    def is_whole(self) -> bool:
        return len(self.whole.described.variables) == len(self.handed.described.variables)


def hand_over(
    settings: Settings,
    ledger: Ledger,
    release: Release,
    person: str,
    out: Path,
    catalogue: Catalogue,
    *,
    by: str,
    today: date,
    tables: Sequence[str] = (),
) -> Receipt:
    """Put what `person` may have of a release, or `tables` of it, into the folder `out`, whole or not at all.

    A table whose columns may all be had is copied byte for byte; of another, the columns that may be had are written anew. The
    checksums of the release are verified before and after. Raises CannotHandOver, FolderDamaged and NoConsents.
    """
    _require_approved(release)
    _require_room(settings, out)
    release.verify()
    sums = verify_written(release.folder)
    said = json.loads((release.folder / INVENTORY).read_text(encoding="utf-8"))
    there = [str(table["name"]) for table in said["tables"]]
    permission = _permission_for(ledger, person, tables, today)
    parts = _parts(release, permission, catalogue.policy, there, tables)
    _require_consents(
        settings, ledger, release, parts, catalogue.policy, (date.fromisoformat(said["released_on"]), today)
    )
    if out.exists():
        out.rmdir()
    with folder_by_rename(out) as aside:
        _write(aside, release, parts, said, sums, catalogue)
        _require_the_same(aside, parts, sums)
        if verify_written(release.folder) != sums:
            raise FolderDamaged(f"{release.tag} was changed while it was handed over; nothing was")
        receipt = _receipt(aside, said, permission, parts, by, today)
        aside.chmod(0o750)  # microdata: for the account and its group alone
        # On record before it is there: killed in between, the record says too much rather than too little.
        _put_on_record(ledger, receipt)
    write_json(receipt_of(out), json.loads(json.dumps(asdict(receipt), default=str)))
    receipt_of(out).chmod(0o640)
    return receipt


def receipt_of(out: Path) -> Path:
    """Where the receipt of a folder lies."""
    return out.with_name(out.name + RECEIPT)


def _require_approved(release: Release) -> None:
    if release.state == APPROVED:
        return
    why = {
        SUPERSEDED: "superseded: hand over the one that took its place",
        WITHDRAWN: "withdrawn: people in it have withdrawn, and its microdata were removed",
    }
    raise CannotHandOver(
        f"{release.tag} is {why.get(release.state, f'{release.state}: only an approved one is handed over')}"
    )


def _require_room(settings: Settings, out: Path) -> None:
    if out.resolve().is_relative_to(settings.home_path):
        raise CannotHandOver("the folder lies in the home of the platform; choose one where the person may read")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise CannotHandOver(f"{out.name} holds something already; a release is handed over into an empty folder")
    if receipt_of(out).exists():
        raise CannotHandOver(f"{receipt_of(out).name} is there already; choose another folder")


def _permission_for(ledger: Readings, person: str, tables: Sequence[str], today: date) -> Permission:
    """The permission in force that covers all `tables`, the widest of several. Raises CannotHandOver."""
    found = permissions(ledger, person)
    if not found:
        raise CannotHandOver(f"{person} has no permission; two people give one with `delictvrij permission grant`")
    in_force = [one for one in found if one.state(today) == "in_force"]
    if not in_force:
        raise CannotHandOver(
            f"{person} has no permission that is in force: {'; '.join(_why_not(one, today) for one in found)}"
        )
    covering = [one for one in in_force if all(one.terms.covers_table(name) for name in tables)]
    if not covering:
        said = "; ".join(f"{one.permission_id} is for {', '.join(one.terms.tables)}" for one in in_force)
        raise CannotHandOver(f"no permission of {person} covers all that was asked for: {said}")
    return max(
        covering,
        key=lambda one: (ALL in one.terms.tables, len(one.terms.classes), len(one.terms.tables), one.terms.ends_on),
    )


def _why_not(permission: Permission, today: date) -> str:
    terms, name = permission.terms, permission.permission_id
    return {
        "waiting": f"{name} lacks a second signature",
        "not_begun": f"{name} begins on {terms.starts_on}",
        "ended": f"{name} ended on {terms.ends_on}",
        "revoked": f"{name} was revoked",
    }[permission.state(today)]


def _parts(
    release: Release, permission: Permission, policy: Policy, there: Sequence[str], tables: Sequence[str]
) -> list[_Part]:
    unknown = len(set(tables) - set(there))
    if unknown:
        raise CannotHandOver(
            f"{unknown} of the tables asked for are not in {release.tag}, which has {', '.join(there)}"
        )
    wanted = [name for name in there if permission.terms.covers_table(name) and (not tables or name in tables)]
    read = [read_written(release.folder, name) for name in wanted]
    parts = [_Part(table, _limited(table, permission, policy)) for table in read]
    kept = [part for part in parts if part.handed.described.variables]
    empty = [part.whole.name for part in parts if part not in kept and part.whole.name in tables]
    if empty or not kept:
        raise CannotHandOver(
            f"permission {permission.permission_id} is for other classes of data: it covers no column of "
            f"{', '.join(empty) or release.tag}"
        )
    return kept


def _limited(table: ReleasedTable, permission: Permission, policy: Policy) -> ReleasedTable:
    """A table with the columns that a permission covers; its key only where all of that is left."""
    kept = tuple(one for one in table.described.variables if permission.terms.covers_column(one, policy))
    names = [one.name for one in kept]
    key = table.described.key if set(table.described.key) <= set(names) else ()
    return ReleasedTable(
        replace(table.described, variables=kept, key=key), table.rows.select(names),
        {name: codes for name, codes in table.reasons.items() if name in names},
    )  # fmt: skip


def _require_consents(
    settings: Settings, ledger: Readings, release: Release, parts: Sequence[_Part], policy: Policy, days: Sequence[date]
) -> None:
    """Refuse where anybody in what is handed over lacks a consent that it takes, on the day of release or today."""
    clients = {one for part in parts for one in _clients(part.whole)}
    needed = {
        consent
        for part in parts
        if CLIENT in part.whole.rows.column_names
        for one in part.handed.described.variables
        for consent in (policy.consent_for.get(one.personal), policy.consent_for.get(one.purpose))
        if consent and one.personal not in policy.free
    }
    if not clients or not needed:
        return
    register = consents.read_register(settings.consents_file, ledger)
    lacking = consents.lacking(register, clients, needed, days)
    missed = consents.withdrawals_missed(register, _withdrew(release.folder) & clients)
    troubles = [
        f"{one.count} of {len(clients)} clients lack the consent {one.consent} ({one.absent} never gave it, {one.not_yet} not yet "
        f"on {min(days)}, {one.withdrawn} took it back)"
        for one in lacking
    ]  # fmt: skip
    if missed:
        troubles.append(
            f"{missed} client(s) withdrew their consent as partners delivered it, and the register knows nothing of it"
        )
    if troubles:
        raise CannotHandOver(
            f"{release.tag}: {'; '.join(troubles)}; bring the register up to date, or withdraw these people from the release"
        )


def _clients(table: ReleasedTable) -> set[str]:
    if CLIENT not in table.rows.column_names:
        return set()
    return {str(one) for one in table.rows[CLIENT].unique().to_pylist() if one is not None}


def _withdrew(folder: Path) -> set[str]:
    """The clients one of whose waves was not held because they withdrew their consent."""
    wave = read_written(folder, "wave").rows.select([CLIENT, "status"]).to_pylist()
    return {str(row[CLIENT]) for row in wave if row["status"] == "withdrawn"}


def _write(
    folder: Path,
    release: Release,
    parts: Sequence[_Part],
    said: Mapping[str, Any],
    sums: Mapping[str, str],
    catalogue: Catalogue,
) -> None:
    spelling = Spelling(**said["spelling"])
    known = {str(one["name"]): TableInventory(**one) for one in said["tables"]}
    handed = {part.handed.name: part.handed for part in parts}
    written = []
    for part in parts:
        if part.is_whole:
            for path in files_of(part.whole.name, sums):
                (folder / path).parent.mkdir(exist_ok=True)
                shutil.copyfile(release.folder / path, folder / path)
            written.append(known[part.whole.name])
        else:
            written.append(write_table(part.handed, folder, spelling, mark=SIMULATED if said["simulated"] else ""))
    # What changed since the release before names tables and columns: it goes to who has all of them.
    if set(handed) == set(known) and all(part.is_whole for part in parts):
        shutil.copyfile(release.folder / CHANGES, folder / CHANGES)
    about = About(
        tag=said["tag"], released_on=date.fromisoformat(said["released_on"]), version_id=said["version_id"],
        fit_id=said["fit_id"], is_simulated=bool(said["simulated"]), registry_cutoff_on=said["registry_cutoff_on"],
        study=read_study(), tables=tuple(table.described for table in handed.values()),
        rows={name: table.rows.num_rows for name, table in handed.items()},
    )  # fmt: skip
    write_about(folder, about, written, handed.get("client"), _model(said["model"], handed), spelling, catalogue)


def _model(said: Mapping[str, Any] | None, handed: Mapping[str, ReleasedTable]) -> ReproducedModel | None:
    """The model that the scripts of the release fit again, where all that it reads is handed over."""
    if said is None or said["table"] not in handed:
        return None
    model = ReproducedModel(**{**said, "columns": dict(said["columns"])})
    there = set(handed[model.table].rows.column_names)
    return model if {*model.columns.values(), *_OF_A_MODEL} <= there else None


def _require_the_same(folder: Path, parts: Sequence[_Part], sums: Mapping[str, str]) -> None:
    """Hold what was written against the release: bytes of what was copied, rows of what was limited."""
    verify_written(folder)
    for part in parts:
        name = part.handed.name
        if part.is_whole:
            is_same = all(is_as_marked(folder / path, sums[path]) for path in files_of(name, sums))
        else:
            is_same = content_hash(read_written(folder, name).rows) == content_hash(part.handed.rows)
        if not is_same:
            raise FolderDamaged(f"{name} did not arrive as it is in the release; nothing was handed over")


def _receipt(
    folder: Path, said: Mapping[str, Any], permission: Permission, parts: Collection[_Part], by: str, today: date
) -> Receipt:
    terms = permission.terms
    return Receipt(
        tag=said["tag"], version_id=said["version_id"], simulated=bool(said["simulated"]),
        permission_id=permission.permission_id, reference=terms.reference, until=terms.ends_on, person=terms.person,
        handed_by=by, handed_on=today,
        columns={part.handed.name: tuple(part.handed.rows.column_names) for part in parts},
        rows={part.handed.name: part.handed.rows.num_rows for part in parts},
        columns_left_out=sum(part.whole.rows.num_columns - part.handed.rows.num_columns for part in parts),
        files=sum(path.is_file() for path in folder.rglob("*")), checksum=sha256_file(folder / SUMS),
    )  # fmt: skip


def _put_on_record(ledger: Ledger, receipt: Receipt) -> None:
    ledger.record_hand_over(
        {
            "tag": receipt.tag, "version_id": receipt.version_id, "permission_id": receipt.permission_id,
            "person": receipt.person, "handed_by": receipt.handed_by, "tables": json.dumps(sorted(receipt.columns)),
            "columns": sum(len(names) for names in receipt.columns.values()), "files": receipt.files,
            "checksum": receipt.checksum,
        }
    )  # fmt: skip


def downloads(settings: Settings, ledger: Readings, today: date) -> tuple[Download, ...]:
    """Who had what when, oldest first, with what has become of the release and of the permission."""
    known = {one.permission_id: one.state(today) for one in permissions(ledger)}
    states = {one.tag: KeptRelease(settings, one).state for one in releases(ledger)}
    return tuple(
        Download(
            tag=row["tag"], version_id=row["version_id"], person=row["person"], permission_id=row["permission_id"],
            tables=row["tables"], columns=row["columns"], handed_by=row["handed_by"], handed_at=row["handed_at"],
            checksum=row["checksum"], release_state=states.get(row["tag"], "gone"), permission_state=known[row["permission_id"]],
        )
        for row in ledger.hand_overs()
    )  # fmt: skip
