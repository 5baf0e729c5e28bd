"""A home is kept elsewhere and comes back: `back_up` writes a copy whose every file has a checksum, `restore` makes a home of it.

The key is never in a copy, nor what lies in landing: a copy holds no direct identifier, and without the key of the home nobody is found
in it. Whoever was erased since a copy was made is in that copy still; the list beside the home, which outlives it, takes them out again
when it comes back (`releases/withdrawal.py` does that; who calls `restore` calls it before anything else).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from orchestration import audit
from orchestration.analysis.fit import is_whole
from orchestration.audit import Sealing
from orchestration.deliveries.contracts import read_contracts
from orchestration.deliveries.ingest import known_key
from orchestration.deliveries.keys import PseudonymKey, read_key
from orchestration.files import folder_by_rename, write_atomically, write_json
from orchestration.hashing import is_as_marked, sha256_file
from orchestration.home import DEMO_MARK, initialise
from orchestration.ledger import Ledger, now
from orchestration.releases import approval
from orchestration.settings import Settings
from orchestration.trouble import Mendable
from orchestration.warehouse import versions

MANIFEST, SEALED = "backup.json", ".tar.age"
HOME, BESIDE, LEDGER, DAGSTER = "home", "beside", "ledger.sqlite", "dagster.dump"
# What is not copied: landing holds the originals with direct identifiers, locks belong to processes.
LEFT_OUT = ("landing",)
_DATABASE_ENDS = (".db", ".sqlite")
_TRANSIENT_ENDS = ("-wal", "-shm", "-journal", ".lock")


class BackupDamaged(Mendable):
    """A copy is not what was written; says how many files, and which."""


class CannotRestore(Mendable):
    """A copy cannot become the home as asked; says why, and what to do. The home is as it was."""


@dataclass(frozen=True)
class BackedUp:
    """A copy: where it lies, how many files and bytes it has, and of which version."""

    path: Path
    files: int
    size: int
    version_id: str | None


@dataclass(frozen=True)
class Restored:
    """What came back: files, versions, fits and releases that are whole, and how many acts were on record after the copy was made."""

    made_at: str
    files: int
    versions: int
    fits: int
    releases: int
    acts_lost: int


def back_up(settings: Settings, ledger: Ledger, out: Path, recipient: str | None = None) -> BackedUp:
    """Write a copy of the home into the folder `out`, whole or not at all: a folder of files, or with `recipient` (a public key
    of age) one sealed file. To be called while nobody writes. Raises OpeningKeyError, and CannotRestore where `out` lies in the home."""
    if out.resolve().is_relative_to(settings.home_path):
        raise CannotRestore("a copy is kept outside the home, best on another machine")
    key = known_key(settings, ledger)
    stamp = f"{now():%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
    out.mkdir(parents=True, exist_ok=True)
    if recipient is None:
        with folder_by_rename(out / stamp) as folder:
            folder.chmod(0o700)
            said = _filled(settings, ledger, key, folder)
        path, size = out / stamp, sum(entry["bytes"] for entry in said["files"].values())
    else:
        path = out / f"{stamp}{SEALED}"
        with tempfile.TemporaryDirectory(dir=settings.home_path, prefix=".backup-") as aside:
            said = _filled(settings, ledger, key, Path(aside) / stamp)
            _seal(Path(aside) / stamp, path, recipient)
        size = path.stat().st_size
    audit.record(ledger, "backup.made", path.name, f"{len(said['files'])} files")
    return BackedUp(path, len(said["files"]), size, said["version_id"])


def _filled(settings: Settings, ledger: Ledger, key: PseudonymKey, folder: Path) -> dict[str, Any]:
    """Copy everything into `folder`; its manifest, which is written last, and given."""
    links: dict[str, str] = {}
    for path in _worth_keeping(settings):
        place = folder / HOME / path.relative_to(settings.home_path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            links[place.relative_to(folder).as_posix()] = path.readlink().as_posix()
        elif path.name.endswith(_DATABASE_ENDS):
            _copy_database(path, place)
        else:
            shutil.copyfile(path, place)
    _copy_ledger(ledger, folder / LEDGER)
    if settings.dagster_url is not None:
        _postgres(
            "pg_dump",
            "--format=custom",
            "--no-owner",
            "--file",
            folder / DAGSTER,
            "--dbname",
            _plain(settings.dagster_url),
        )
    for name, path in _beside(settings).items():
        if path.is_file():
            (folder / BESIDE).mkdir(exist_ok=True)
            shutil.copyfile(path, folder / BESIDE / name)
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
    said = {
        "made_at": now().isoformat(timespec="seconds"), "key_id": key.key_id, "project": settings.project,
        "is_demo": (settings.home_path / DEMO_MARK).exists(), "version_id": versions.current_id(settings),
        "files": files, "links": links,
    }  # fmt: skip
    write_json(folder / MANIFEST, said)
    return said


def _worth_keeping(settings: Settings) -> Iterator[Path]:
    """The files and links of a home that are copied as they are: not landing, no lock, nothing of a process that was killed."""
    for folder, below, names in os.walk(settings.home_path):
        place = Path(folder)
        below[:] = [name for name in below if not name.startswith(".") and not _is_left_out(settings, place / name)]
        for name in [*names, *(name for name in below if (place / name).is_symlink())]:
            path = place / name
            if not name.startswith(".") and not name.endswith(_TRANSIENT_ENDS) and path != settings.ledger_file:
                yield path


def _is_left_out(settings: Settings, path: Path) -> bool:
    return path.relative_to(settings.home_path).as_posix() in LEFT_OUT or path == settings.inbox_path


def _beside(settings: Settings) -> dict[str, Path]:
    """What lies beside a home and comes along, by its name in a copy. No key does, and nothing that is under version control."""
    own = {
        "audit": settings.audit_seal_path, "consents.csv": settings.consents_file, "withdrawn.json": settings.withdrawn_file,
    }  # fmt: skip
    said = {"corrections.yml": settings.corrections_file, "waivers.yml": settings.waivers_file}
    return own | {name: path for name, path in said.items() if not path.resolve().is_relative_to(settings.expectations)}


def _copy_database(path: Path, place: Path) -> None:
    """Copy an SQLite file as it is at one moment, though somebody may be writing."""
    with (
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(place)) as target,
    ):
        source.backup(target)


def _copy_ledger(ledger: Ledger, place: Path) -> None:
    """The ledger as an SQLite file, in whatever database it lies."""
    copied = Ledger(f"sqlite:///{place}")
    copied.create()
    ledger.copy_state(copied)
    copied.close()
    with contextlib.closing(sqlite3.connect(place)) as settled:
        settled.execute("pragma journal_mode = delete")


def _postgres(program: str, *words: str | Path) -> None:
    """Run a program of PostgreSQL's own; its password is where `PGPASSFILE` says. Raises CannotRestore with what it says first."""
    try:
        done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CannotRestore(
            f"there is no {program} on this machine (Debian: apt-get install postgresql-client)"
        ) from None
    if done.returncode:
        raise CannotRestore(f"{program} could not: {done.stderr.strip().partition(chr(10))[0]}")


def _plain(url: str) -> str:
    """A database's address as PostgreSQL's own programs know it."""
    return re.sub(r"^postgresql\+\w+:", "postgresql:", url)


def _seal(folder: Path, path: Path, recipient: str) -> None:
    import pyrage

    from orchestration.deliveries.sealing import OpeningKeyError

    try:
        key = pyrage.x25519.Recipient.from_str(recipient)
    except pyrage.RecipientError:
        raise OpeningKeyError("that is not a public key of age; it begins with age1") from None
    packed = folder.with_suffix(".tar")
    with tarfile.open(packed, "w") as archive:
        archive.add(folder, arcname=".")
    sealed = path.with_name(f".{path.name}")
    pyrage.encrypt_file(str(packed), str(sealed), [key])
    sealed.chmod(0o600)
    sealed.replace(path)


# the way back ----------------------------------------------------------------------------------------------------------
def restore(settings: Settings, backup: Path, opening_key: Path | None = None) -> Restored:
    """Make the home of a copy, where there is no home; gives what came back, everything held against its checksums.

    The key of the home must be in its place: a copy has none. The list of who has withdrawn that lies beside the home is kept and
    wins over that of the copy. What was on record after the copy is lost, and how much is put on record. Raises BackupDamaged,
    CannotRestore, PseudonymKeyError and OpeningKeyError; nothing is changed then.
    """
    if settings.home_path.exists() and any(settings.home_path.iterdir()):
        raise CannotRestore(
            f"{settings.home_path} holds something; a copy comes back where there is no home: move it away first"
        )
    with _opened(backup, opening_key, settings.home_path.parent) as folder:
        said = verified(folder)
        _require_key(settings, said)
        _require_empty_ledger(settings)
        aside = settings.home_path.with_name(f".{settings.home_path.name}.{uuid.uuid4().hex}")
        try:
            shutil.copytree(folder / HOME, aside, symlinks=True)
            for link, target in said["links"].items():
                place = aside / PurePosixPath(link).relative_to(HOME)
                place.unlink(missing_ok=True)
                place.symlink_to(target)
            if settings.ledger_url is None:
                shutil.copyfile(folder / LEDGER, aside / settings.ledger_file.name)
            else:
                _fill_ledger(settings, folder / LEDGER)
            if settings.dagster_url is not None and (folder / DAGSTER).is_file():
                _postgres(
                    "pg_restore",
                    "--no-owner",
                    "--clean",
                    "--if-exists",
                    "--exit-on-error",
                    "--dbname",
                    _plain(settings.dagster_url),
                    folder / DAGSTER,
                )
            lost = _put_beside(settings, folder, said["made_at"])
            if settings.home_path.exists():
                settings.home_path.rmdir()
            aside.rename(settings.home_path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    initialise(settings)
    ledger = Ledger.of(settings)
    why = f"the copy of {said['made_at']}; {lost} acts that came after it are not in it"
    audit.record(ledger, "home.restored", backup.name, why)
    return _whole(settings, ledger, said, lost)


@contextlib.contextmanager
def _opened(backup: Path, opening_key: Path | None, beside: Path) -> Iterator[Path]:
    """The folder of a copy; a sealed one is opened into a private folder that is gone afterwards."""
    if backup.is_dir():
        yield backup
        return
    if not backup.is_file():
        raise CannotRestore(f"there is no copy {backup.name}")
    if opening_key is None:
        raise CannotRestore(f"{backup.name} is sealed: name the key that opens it with --opening-key")
    import pyrage

    from orchestration.deliveries.sealing import identity

    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside, prefix=".restore-") as aside:
        packed, folder = Path(aside) / "backup.tar", Path(aside) / "backup"
        try:
            pyrage.decrypt_file(str(backup), str(packed), [identity(opening_key)])
            with tarfile.open(packed) as archive:
                archive.extractall(folder, filter="data")
        except (pyrage.DecryptError, tarfile.TarError, OSError) as error:
            raise BackupDamaged(
                f"{backup.name} cannot be opened with that key, or is not whole ({type(error).__name__})"
            ) from None
        yield folder


def verified(folder: Path) -> dict[str, Any]:
    """The manifest of a copy, once every file is what it says and no other is there. Raises BackupDamaged."""
    if not (folder / MANIFEST).is_file():
        raise BackupDamaged(f"{folder.name} has no {MANIFEST}: it is no copy of a home, or not a whole one")
    said: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    marks: Mapping[str, Mapping[str, Any]] = said["files"]
    differing = sorted(name for name, entry in marks.items() if not is_as_marked(folder / name, entry["sha256"]))
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() or path.is_symlink()}
    strange = sorted(there - set(marks) - set(said["links"]) - {MANIFEST})
    escaping = [link for link, target in said["links"].items() if ".." in PurePosixPath(target).parts or target.startswith("/")]  # fmt: skip
    if differing or strange or escaping:
        raise BackupDamaged(
            f"{folder.name}: {len(differing)} of {len(marks)} files are not as they were written, {len(strange)} were put there, "
            f"{len(escaping)} links lead elsewhere: {', '.join([*differing, *strange, *escaping][:3])}"
        )
    return said


def _require_key(settings: Settings, said: Mapping[str, Any]) -> None:
    key = read_key(settings.key_path, settings.project)
    if key.key_id != said["key_id"]:
        raise CannotRestore(
            f"the key at {settings.key_path} (id {key.key_id}) is not that of the copy ({said['key_id']}): put that one there"
        )


def _require_empty_ledger(settings: Settings) -> None:
    if settings.ledger_url is None:
        return
    ledger = Ledger(settings.ledger_url)
    ledger.create()
    if ledger.has_key():
        raise CannotRestore(
            "the database of the ledger holds a ledger already: name an empty one, or restore into its dump"
        )
    ledger.close()


def _fill_ledger(settings: Settings, copied: Path) -> None:
    with tempfile.TemporaryDirectory() as aside:  # whoever opens a database writes to it, and a copy stays as it was
        source = Ledger(f"sqlite:///{shutil.copy(copied, aside)}")
        target = Ledger(settings.ledger_location)
        source.copy_state(target)
        source.close()
        target.close()


def _put_beside(settings: Settings, folder: Path, made_at: str) -> int:
    """Put what lies beside a home in its place; gives how many acts were on record after the copy, by the seal that is there.

    The list of who has withdrawn only grows. A seal that knows of more acts than came back is kept under the name of the moment.
    """
    source = {name: folder / BESIDE / name for name in _beside(settings)}
    places = _beside(settings)
    _merge_withdrawn(places["withdrawn.json"], source["withdrawn.json"])
    if source["consents.csv"].is_file():
        write_atomically(places["consents.csv"], source["consents.csv"].read_bytes())
        places["consents.csv"].chmod(0o600)
    for name in ("corrections.yml", "waivers.yml"):
        if name in places and source[name].is_file() and not places[name].exists():
            write_atomically(places[name], source[name].read_bytes())
    sealing, lost = Sealing.of(settings), 0
    before = sealing.read()
    if sealing.seal_file.exists():
        came_back = _last_act(folder / LEDGER)
        lost = max(0, before.number - came_back) if before else 0
        sealing.seal_file.rename(
            sealing.seal_file.with_name(f"{sealing.seal_file.name}.before-{made_at.replace(':', '')}")
        )
    if source["audit"].is_file():
        write_atomically(places["audit"], source["audit"].read_bytes())
    return lost


def _last_act(copied: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{copied}?immutable=1", uri=True)) as opened:
        (last,) = opened.execute("select coalesce(max(number), 0) from audit").fetchone()
    return int(last)


def _merge_withdrawn(place: Path, copied: Path) -> None:
    """Everybody on either list: who has withdrawn since the copy is on the one beside the home, and stays."""
    lists = [json.loads(path.read_text(encoding="utf-8")) for path in (copied, place) if path.is_file()]
    if lists:
        entries = {entry["withdrawal_id"]: entry for one in lists for entry in one}
        write_json(place, sorted(entries.values(), key=lambda entry: (entry["requested_at"], entry["withdrawal_id"])))


def _whole(settings: Settings, ledger: Ledger, said: Mapping[str, Any], lost: int) -> Restored:
    """Count what came back and is whole. Raises BackupDamaged for what is not, which the checksums of a copy cannot see."""
    contracts = read_contracts(settings.expectations)
    damaged = [release.tag for release in approval.releases(ledger) if approval.damage(settings, release)]
    fits = [path for path in settings.fits.iterdir() if path.is_dir() and not path.is_symlink()]
    damaged += [path.name for path in fits if not is_whole(path)]
    kept = versions.all_versions(settings)
    damaged += [version.version_id for version in kept if not _is_whole(version)]
    accepted = [record for record in ledger.deliveries(status="accepted") if record.organisation in contracts]
    damaged += [
        record.delivery_id
        for record in accepted
        if not (settings.raw / record.organisation / str(record.content_hash)).is_dir()
    ]
    if damaged:
        raise BackupDamaged(
            f"{len(damaged)} thing(s) came back that are not whole: {', '.join(damaged[:5])}; restore an older copy"
        )
    return Restored(
        said["made_at"], len(said["files"]), len(kept), len(fits), len(approval.releases(ledger)), lost,
    )  # fmt: skip


def _is_whole(version: versions.Version) -> bool:
    try:
        versions.verify(version)
    except versions.VersionDamaged:
        return False
    return True
