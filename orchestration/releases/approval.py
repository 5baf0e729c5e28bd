"""The way of a release: drafted, then approved or rejected by somebody else, then superseded by the next. Who may do what, and that a
release is still what was drafted.

What is written into the folder of a release is not known here: `drafting` writes it.
"""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.files import folder_by_rename, write_json
from orchestration.hashing import is_as_marked, sha256_file
from orchestration.readings import Readings
from orchestration.releases.tags import is_tag
from orchestration.store import keep
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from orchestration.ledger import Ledger
    from orchestration.settings import Settings
    from orchestration.warehouse.versions import Version

DRAFT, APPROVED, REJECTED, SUPERSEDED = "draft", "approved", "rejected", "superseded"
MOVES: Mapping[tuple[str, str], str] = {
    (DRAFT, "approve"): APPROVED,
    (DRAFT, "reject"): REJECTED,
    (APPROVED, "supersede"): SUPERSEDED,
}
LEFT = (APPROVED, SUPERSEDED)  # what researchers and the public have, or had
MANIFEST, ZONE, PUBLIC, KEPT = "release.json", "zone", "public", "kept"
MANIFEST_OF_FIT = "manifest.json"
TOMBSTONE = "tombstone.json"  # says, in the place of microdata, that people in them have withdrawn


class NoSuchRelease(Mendable):
    """No release has that tag."""


class TagTaken(Mendable):
    """A tag was used before, in whatever state that release is now."""


class CannotDecide(Mendable):
    """A release is not one that this can be done with; says in which state it is, and why not."""


class OwnDraft(Mendable):
    """Who drafted a release cannot approve it."""


class ReleaseDamaged(Mendable):
    """A release is not what was drafted; names the files."""


class DraftOutdated(Mendable):
    """What a draft was made from, or compared with, is no longer so; says what, and to draft again."""


class FitUnfit(Mendable):
    """A fit cannot be released: it is damaged, held back, or was made from other rows; says which and what to do."""


@dataclass(frozen=True)
class Released:
    """One release as the ledger knows it. `after`: the approved release that it was compared with and judged against."""

    tag: str
    state: str
    version_id: str
    fit_id: str
    after: str | None
    manifest_sha256: str
    drafted_by: str
    drafted_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    reason: str

    def folder(self, settings: Settings) -> Path:
        return settings.releases / self.tag


@dataclass(frozen=True)
class Sources:
    """What a release is made of: a version and a fit of its rows, both whole."""

    version: Version
    fit: Path

    @property
    def fit_id(self) -> str:
        return self.fit.name


def releases(ledger: Readings) -> list[Released]:
    """All releases, oldest first."""
    return [Released(**{name: row[name] for name in Released.__dataclass_fields__}) for row in ledger.releases()]


def named_release(ledger: Readings, tag: str) -> Released:
    """The release of that tag. Raises NoSuchRelease."""
    for release in releases(ledger):
        if release.tag == tag:
            return release
    raise NoSuchRelease(f"there is no release {tag}; `delictvrij release list` lists them")


def current_release(ledger: Readings) -> Released | None:
    """The release that is approved and not superseded."""
    return next((release for release in releases(ledger) if release.state == APPROVED), None)


def is_same_person(one: str, other: str) -> bool:
    """Whether two logins are one person's: the same but for case, width of characters and spaces."""
    return _plain(one) == _plain(other)


def _plain(login: str) -> str:
    return unicodedata.normalize("NFKC", login).strip().casefold()


def moved(state: str, act: str) -> str:
    """The state that an act leads to. Raises CannotDecide where it leads nowhere."""
    if (state, act) not in MOVES:
        starts, becomes = zip(*((start, end) for (start, name), end in MOVES.items() if name == act), strict=True)
        raise CannotDecide(f"it is {state}, and only {' or '.join(starts)} can be {becomes[0]}")
    return MOVES[state, act]


def sources(settings: Settings, ledger: Readings, version: str, fit: str) -> Sources:
    """The version and the fit of those names. Raises NoSuchVersion, VersionDamaged, NoSuchFit and FitUnfit."""
    from orchestration.analysis.reproduction import named_fit
    from orchestration.warehouse.versions import named_version, verify

    chosen, folder = named_version(settings, version), named_fit(settings.fits, fit)
    verify(chosen)
    held = folder.name not in {row["fit_id"] for row in ledger.fits()}
    if held:
        raise FitUnfit(f"fit {folder.name} is held back, or not known to the ledger; `delictvrij status` says why")
    is_fitting(folder, chosen)
    return Sources(chosen, folder)


def is_fitting(fit: Path, version: Version) -> None:
    """That a fit is whole, and made from the rows of a version. Raises FitUnfit."""
    from orchestration.analysis.fit import is_whole

    if not is_whole(fit):
        raise FitUnfit(
            f"fit {fit.name} is not there, or not what its manifest says; `delictvrij refresh` makes it again"
        )
    manifest = json.loads((fit / MANIFEST_OF_FIT).read_text(encoding="utf-8"))
    if manifest["version_id"] != version.version_id and not _reads_the_same(manifest, version):
        raise FitUnfit(
            f"fit {fit.name} was made from version {manifest['version_id']}, whose rows are other rows than those of "
            f"{version.version_id}; name another fit, or `delictvrij refresh`"
        )


def _reads_the_same(manifest: Mapping[str, Any], version: Version) -> bool:
    """Whether the models of a fit would read the very rows in another version: it is not fitted anew when they do."""
    from orchestration.analysis.inputs import read_inputs
    from orchestration.analysis.reuse import rows_read
    from orchestration.analysis.specification import read_specification

    spec = read_specification().with_imputations(int(manifest["imputations"]))
    return bool(manifest.get("rows_read")) and dict(manifest["rows_read"]) == rows_read(read_inputs(version), spec)


def draft(
    settings: Settings, ledger: Ledger, tag: str, chosen: Sources, by: str, write: Callable[[Path], Mapping[str, Any]]
) -> Released:
    """Put a release into its folder, whole or not at all, and on record; what `write` gives is said in its manifest.

    `write` fills the folder that it is given. Everything in it is checksummed and read-only from then on. Raises TagTaken, and
    what `write` raises.
    """
    known = releases(ledger)
    if any(release.tag == tag for release in known):
        raise TagTaken(f"{tag} is taken, and a tag is used once")
    _clear_leftovers(settings.releases, {release.tag for release in known})
    before = current_release(ledger)
    made = {
        "tag": tag, "version_id": chosen.version.version_id, "fit_id": chosen.fit_id, "after": before.tag if before else None,
    }  # fmt: skip
    with folder_by_rename(settings.releases / tag) as aside:
        said = write(aside)
        files = {name: sha256_file(aside / name) for name in _files(aside)}
        write_json(aside / MANIFEST, {**said, **made, "drafted_by": by, "files": files})
        mark = sha256_file(aside / MANIFEST)
        for name in (*files, MANIFEST):
            (aside / name).chmod(0o444)
    keep(settings, settings.releases / tag, anew=True)
    ledger.record_draft({**made, "manifest_sha256": mark}, by)
    return named_release(ledger, tag)


def approve(settings: Settings, ledger: Ledger, tag: str, by: str, reason: str = "") -> Released:
    """Approve a draft of somebody else; the release before it is superseded.

    Raises NoSuchRelease, CannotDecide, OwnDraft, ReleaseDamaged, DraftOutdated, and what `sources` raises.
    """
    release, before = named_release(ledger, tag), current_release(ledger)
    state = moved(release.state, "approve")
    if is_same_person(release.drafted_by, by):
        raise OwnDraft(f"{by} drafted {tag}; somebody else has to approve it")
    if (before.tag if before else None) != release.after:
        raise DraftOutdated(
            f"{tag} was judged against {release.after or 'no release'}, and {before.tag if before else 'none'} is the approved one "
            "now: counts of both together could give people away; reject it and draft again"
        )
    verify_release(settings, release)
    if is_buried(release.folder(settings)):
        raise DraftOutdated(
            f"the microdata of {tag} were removed since people have withdrawn: reject it and draft again"
        )
    sources(settings, ledger, release.version_id, release.fit_id)
    if not ledger.decide_release(tag, state, by, reason.strip(), [before.tag] if before else []):
        raise CannotDecide(f"{tag} is no draft any more")
    return named_release(ledger, tag)


def reject(ledger: Ledger, tag: str, by: str, reason: str) -> Released:
    """Reject a draft; its tag stays taken. Also who drafted it may. Raises NoSuchRelease and CannotDecide."""
    release = named_release(ledger, tag)
    state = moved(release.state, "reject")
    if not reason.strip():
        raise CannotDecide("a reason is needed: it stays on record")
    if not ledger.decide_release(tag, state, by, reason.strip()):
        raise CannotDecide(f"{tag} is no draft any more")
    return named_release(ledger, tag)


def is_buried(folder: Path) -> bool:
    """Whether the microdata of a release were removed since people in them have withdrawn: nothing is left of them, and it is said."""
    return (folder / TOMBSTONE).is_file() and not (folder / ZONE).exists()


def damage(settings: Settings, release: Released) -> list[str]:
    """The files of a release that are not as they were drafted: changed, gone, or not of it; nothing where it is intact.

    Microdata that were removed with a tombstone in their place are no damage.
    """
    folder = release.folder(settings)
    if not is_as_marked(folder / MANIFEST, release.manifest_sha256):
        return [MANIFEST]
    marks: dict[str, str] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    own = {MANIFEST}
    if is_buried(folder):
        marks = {name: mark for name, mark in marks.items() if not name.startswith(f"{ZONE}/")}
        own |= {TOMBSTONE}
    strange = set(_files(folder)) - set(marks) - own
    return sorted({name for name, mark in marks.items() if not is_as_marked(folder / name, mark)} | strange)


def verify_release(settings: Settings, release: Released) -> None:
    """Raise ReleaseDamaged where a release is not as it was drafted."""
    found = damage(settings, release)
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise ReleaseDamaged(f"release {release.tag} is not as it was drafted: {', '.join(found[:5])}{more}")


def _files(folder: Path) -> list[str]:
    """Everything in a folder that is no folder, links too, as paths below it."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    )


def _clear_leftovers(folder: Path, known: Collection[str]) -> None:
    """Remove what drafts left that were killed: hidden folders, and one that was renamed and never put on record."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and path.name not in known and (path.name.startswith(".") or is_tag(path.name)):
            shutil.rmtree(path)
