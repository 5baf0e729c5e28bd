"""The store beyond this machine: finished folders of the home in an S3-compatible bucket, of which the home is then a cache.

A folder is there once its inventory is, which is written last; every object is named by the SHA-256 of its bytes, so that what broke
off or was done twice does no harm. What becomes a folder, and when, is decided elsewhere; landing never comes here.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestration.files import folder_by_rename, swap_link, write_atomically
from orchestration.hashing import sha256_bytes, sha256_file
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from orchestration.settings import Settings

INVENTORY = "inventory.json"
CURRENT = "current"
# How deep below each root of the home its finished folders lie, and which file makes a folder one of them.
DEPTHS: Mapping[str, int] = {"raw": 2, "versions": 1, "fits": 1, "releases": 1, "letters": 3}
MARKS: Mapping[str, str] = {
    "raw": "deletions.json", "versions": "manifest.json", "fits": "manifest.json", "releases": "release.json",
    "letters": "judgement.json",
}  # fmt: skip
POINTED = ("versions", "fits")  # roots that have a pointer
NOTES = "*.changes.json"  # what is written beside a folder about it
IS_TRANSIENT = frozenset(
    {"500", "502", "503", "504", "InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown"}
)


class StoreTrouble(Mendable):
    """The store does not do as it is asked; says what to look at. `is_transient`: it may pass by itself."""

    def __init__(self, said: str, *, is_transient: bool = False) -> None:
        self.is_transient = is_transient
        super().__init__(said)


class StoreDamaged(Mendable):
    """An object is not what its inventory says; names the folder."""


@dataclass(frozen=True)
class Moved:
    """What was brought over: folders (`root/name`), and how many bytes."""

    folders: tuple[str, ...] = ()
    bytes: int = 0


@dataclass(frozen=True)
class Store:
    """A bucket and the prefix below which everything lies. `client` is botocore's."""

    client: Any
    bucket: str
    prefix: str

    @classmethod
    def of(cls, settings: Settings) -> Store | None:
        """The store of the settings; None where there is none. Credentials are found as AWS tools find them."""
        if settings.store is None:
            return None
        where = urlsplit(settings.store)
        path = where.path.strip("/")
        client = _client(settings.store_endpoint, settings.store_region, os.getpid())
        return cls(client, where.netloc, f"{path}/" if path else "")

    # folders ------------------------------------------------------------------------------------------------------------
    def push(self, folder: Path, place: str, *, anew: bool = False) -> int:
        """Bring a finished folder to `place` (`versions/<id>`); gives how many bytes were sent. Raises StoreTrouble.

        What is there under that name stays, since a name stands for a content; `anew` puts the folder in its place in one step.
        Broken off anywhere, the place is as it was.
        """
        inventory = _inventory(folder)
        there = self._read(f"{place}/{INVENTORY}")
        if there is not None and (not anew or there == inventory):
            return 0
        sent = sum(self._send(folder / name, _key(place, name, mark)) for name, mark in _files(inventory).items())
        self._put(f"{place}/{INVENTORY}", inventory, if_absent=not anew)
        if anew:
            self.sweep(place, inventory)
        return sent

    def pull(self, place: str, folder: Path) -> int:
        """Bring what is at `place` to `folder`, whole or not at all; gives its bytes. Raises StoreDamaged and StoreTrouble."""
        inventory = self._read(f"{place}/{INVENTORY}")
        if inventory is None:
            raise StoreTrouble(f"{place} is not in the store, or not whole yet")
        size = 0
        with folder_by_rename(folder) as aside:
            for name, mark in _files(inventory).items():
                target = aside / name
                target.parent.mkdir(parents=True, exist_ok=True)
                size += self._fetch(_key(place, name, mark), target)
                if sha256_file(target) != mark:
                    raise StoreDamaged(
                        f"{place} in the store is not what its inventory says: {name}; nothing of it was taken"
                    )
                target.chmod(0o440)
        return size

    def folders(self, root: str) -> list[str]:
        """The places below a root that are whole."""
        ending = f"/{INVENTORY}"
        depth = DEPTHS[root] + 1
        keys = (key for key in self._keys(f"{root}/") if key.endswith(ending))
        return sorted(place for key in keys if (place := key.removesuffix(ending)).count("/") + 1 == depth)

    def remove(self, place: str) -> int:
        """Remove what is at a place, every version that the bucket keeps of it, the inventory first; gives how many objects."""
        below = place if Path(place).match(NOTES) else f"{place}/"
        return self._delete_all(f"{place}/{INVENTORY}") + self._delete_all(below)

    def sweep(self, place: str, inventory: bytes | None = None) -> int:
        """Remove what lies at a place and is not in its inventory, and every older version; gives how many objects."""
        files = _files(inventory or self._read(f"{place}/{INVENTORY}") or b"{}")
        kept = {_key(place, name, mark) for name, mark in files.items()} | {f"{place}/{INVENTORY}"}
        return self._delete_all(f"{place}/", kept)

    def strangers(self, root: str, known: Collection[str]) -> list[str]:
        """The places and notes below a root that are not among the known ones, also what is there in older versions only."""
        found = set()
        for item in self._versions(f"{root}/"):
            parts = str(item["Key"]).removeprefix(self.prefix).split("/")
            found.add("/".join(parts[: DEPTHS[root] + 1]))
        return sorted(found - set(known) - {f"{root}/{CURRENT}"})

    def damage(self, place: str) -> list[str]:
        """The files at a place whose bytes are not what its inventory says."""
        inventory = self._read(f"{place}/{INVENTORY}") or b"{}"
        marks = _files(inventory).items()
        return [name for name, mark in marks if sha256_bytes(self._read(_key(place, name, mark)) or b"") != mark]

    # notes and pointers ---------------------------------------------------------------------------------------------------
    def note(self, path: Path, place: str) -> None:
        """Bring a small file that may change to `place`; what it said before is not kept."""
        content = path.read_bytes()
        if self._read(place) != content:
            self._put(place, content)
            self._delete_all(place, {place})

    def point(self, root: str, name: str | None) -> None:
        """Say which folder of a root counts; None: there is none any more."""
        if name is None:
            self._delete_all(f"{root}/{CURRENT}")
        elif self._read(f"{root}/{CURRENT}") != name.encode():
            self._put(f"{root}/{CURRENT}", name.encode())

    def pointed(self, root: str) -> str | None:
        """Which folder of a root counts."""
        content = self._read(f"{root}/{CURRENT}")
        return content.decode() if content else None

    def notes(self, root: str) -> list[str]:
        """The places of the notes of a root."""
        return [key for key in self._keys(f"{root}/") if Path(key).match(NOTES) and key.count("/") == 1]

    def read_note(self, place: str) -> bytes | None:
        """What a note says."""
        return self._read(place)

    # objects --------------------------------------------------------------------------------------------------------------
    def _send(self, path: Path, key: str) -> int:
        """Put a file under its key, unless an object of its size is there: the key holds the hash of what it is."""
        size = path.stat().st_size
        with _told(key):
            try:
                if self.client.head_object(Bucket=self.bucket, Key=self.prefix + key)["ContentLength"] == size:
                    return 0
            except self.client.exceptions.ClientError as error:
                if _code(error) not in ("404", "NoSuchKey"):
                    raise
            mark = base64.b64encode(bytes.fromhex(sha256_file(path))).decode()
            with path.open("rb") as stream:
                self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=stream, ChecksumSHA256=mark)
        return size

    def _fetch(self, key: str, target: Path) -> int:
        with _told(key), target.open("wb") as out:
            body = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"]
            return sum(out.write(chunk) for chunk in body.iter_chunks(2**20))

    def _read(self, key: str) -> bytes | None:
        with _told(key):
            try:
                return bytes(self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"].read())
            except self.client.exceptions.ClientError as error:
                if _code(error) in ("404", "NoSuchKey"):
                    return None
                raise

    def _put(self, key: str, content: bytes, *, if_absent: bool = False) -> None:
        mark = base64.b64encode(bytes.fromhex(sha256_bytes(content))).decode()
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        with _told(key):
            try:
                self.client.put_object(
                    Bucket=self.bucket, Key=self.prefix + key, Body=content, ChecksumSHA256=mark, **condition
                )
            except self.client.exceptions.ClientError as error:
                if not (if_absent and _code(error) in ("412", "PreconditionFailed")):  # somebody else was first
                    raise

    def _keys(self, below: str) -> Iterator[str]:
        with _told(below):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + below
            )
            for page in pages:
                yield from (item["Key"].removeprefix(self.prefix) for item in page.get("Contents", ()))

    def _versions(self, below: str) -> Iterator[Mapping[str, Any]]:
        """Every version of every object whose key begins so, and the marks that say that one was deleted."""
        with _told(below):
            pages = self.client.get_paginator("list_object_versions").paginate(
                Bucket=self.bucket, Prefix=self.prefix + below
            )
            for page in pages:
                yield from (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))

    def _delete_all(self, below: str, but_latest_of: Collection[str] = ()) -> int:
        """Delete every version of the objects whose key begins so, but for the latest of some; gives how many."""
        kept = {self.prefix + key for key in but_latest_of}
        found = [
            {"Key": item["Key"], "VersionId": item["VersionId"]}
            for item in self._versions(below)
            if not (item["Key"] in kept and item["IsLatest"])
        ]
        with _told(below):
            for start in range(0, len(found), 1000):
                some = {"Objects": found[start : start + 1000], "Quiet": True}
                if errors := self.client.delete_objects(Bucket=self.bucket, Delete=some).get("Errors"):
                    raise StoreTrouble(
                        f"{len(errors)} objects below {below} cannot be deleted from the store: the account may not, or the bucket "
                        "holds objects for a time (object lock); what is erased has to go from there too"
                    )
        return len(found)


@cache
def _client(endpoint: str | None, region: str | None, process: int) -> Any:
    """The client of this process: a fork must not share its connections."""
    from botocore.config import Config
    from botocore.session import get_session

    patience = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 3})
    return get_session().create_client("s3", endpoint_url=endpoint, region_name=region, config=patience)


def _inventory(folder: Path) -> bytes:
    """What a folder holds, as bytes that are the same for the same content."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): sha256_file(path) for path in paths}
    return (json.dumps({"files": files}, indent=1, sort_keys=True) + "\n").encode()


def _files(inventory: bytes) -> dict[str, str]:
    """The files of an inventory: name to SHA-256. Raises StoreDamaged for a name that leads out of its folder."""
    files: dict[str, str] = json.loads(inventory).get("files", {})
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise StoreDamaged(
                "an inventory in the store names a file outside of its folder: it was not written by the platform"
            )
    return files


def _key(place: str, name: str, mark: str) -> str:
    return f"{place}/files/{mark}/{Path(name).name}"


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _told(about: str) -> Iterator[None]:
    """Errors of the server come out as StoreTrouble; what it says is not repeated."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = _code(error)
        raise StoreTrouble(f"the store answers {code} about {about}", is_transient=code in IS_TRANSIENT) from None
    except BotoCoreError as error:
        kind = type(error).__name__
        said = f"the store cannot be reached, or the connection broke off ({kind}), about {about}"
        raise StoreTrouble(said, is_transient="Credentials" not in kind) from None


# the home as a cache ------------------------------------------------------------------------------------------------------
def keep(settings: Settings, folder: Path, *, anew: bool = False) -> None:
    """Bring a finished folder of the home to the store, where there is one; before anything says that it counts."""
    if store := Store.of(settings):
        store.push(folder, _place(settings, folder), anew=anew)


def keep_note(settings: Settings, path: Path) -> None:
    """Bring what stands beside a finished folder to the store, where there is one."""
    if store := Store.of(settings):
        store.note(path, _place(settings, path))


def point(settings: Settings, root: Path, name: str) -> None:
    """Let `current` of a root point at one of its folders: in the store first, so that a home that asks there never goes back."""
    if store := Store.of(settings):
        store.point(root.name, name)
    swap_link(root / CURRENT, name)


def whole_folders(settings: Settings, root: str) -> list[Path]:
    """The finished folders below a root of the home."""
    found = (settings.home_path / root).glob("/".join([*["[!.]*"] * DEPTHS[root], MARKS[root]]))
    return sorted(path.parent for path in found if not path.parent.is_symlink())


def push_all(settings: Settings) -> Moved:
    """Bring every finished folder, note and pointer of the home to the store, as when a home gets one."""
    store = _required(settings)
    moved, size = [], 0
    for root in DEPTHS:
        there = set(store.folders(root))
        for folder in whole_folders(settings, root):
            if (place := _place(settings, folder)) not in there:
                size += store.push(folder, place)
                moved.append(place)
        for path in (settings.home_path / root).glob(NOTES):
            store.note(path, _place(settings, path))
    for root in POINTED:
        link = settings.home_path / root / CURRENT
        if link.is_symlink():
            store.point(root, link.readlink().name)
    return Moved(tuple(moved), size)


def pull_all(settings: Settings) -> Moved:
    """Bring every folder, note and pointer that the store has and this home has not; nothing where there is no store.

    Pointers move last, to folders that are here. Raises StoreDamaged and StoreTrouble; what came until then is whole.
    """
    store = Store.of(settings)
    if store is None:
        return Moved()
    moved, size, home = [], 0, settings.home_path
    for root in DEPTHS:
        here = {_place(settings, folder) for folder in whole_folders(settings, root)}
        for place in store.folders(root):
            if place not in here:
                size += store.pull(place, home / place)
                moved.append(place)
        for place in store.notes(root):
            content = store.read_note(place)
            if content is not None and not (home / place).exists():
                write_atomically(home / place, content)
    for root in POINTED:
        name = store.pointed(root)
        link = home / root / CURRENT
        is_as_said = link.is_symlink() and link.readlink().name == name
        if name and not is_as_said and (home / root / name).is_dir():
            swap_link(link, name)
    return Moved(tuple(moved), size)


def mirror(settings: Settings) -> Mapping[str, int]:
    """Let the store hold what the home holds and nothing else, as after an erasure: also what earlier versions of the bucket's objects
    hold is gone then. Gives how many folders were sent or replaced, and how many objects removed. Nothing where there is no store."""
    store = Store.of(settings)
    if store is None:
        return {"sent": 0, "removed": 0}
    sent = removed = 0
    for root in DEPTHS:
        folders = {_place(settings, folder): folder for folder in whole_folders(settings, root)}
        notes = {_place(settings, path): path for path in (settings.home_path / root).glob(NOTES)}
        for place, folder in folders.items():
            sent += store.push(folder, place, anew=True) > 0
            removed += store.sweep(place)
        for place, path in notes.items():
            store.note(path, place)
        for place in store.strangers(root, {*folders, *notes}):
            removed += store.remove(place)
    for root in POINTED:
        link = settings.home_path / root / CURRENT
        store.point(root, link.readlink().name if link.is_symlink() else None)
    return {"sent": sent, "removed": removed}


def damaged(settings: Settings) -> dict[str, list[str]]:
    """The folders in the store that are not what their inventories say, with the names of the files."""
    store = _required(settings)
    found = {place: store.damage(place) for root in DEPTHS for place in store.folders(root)}
    return {place: names for place, names in found.items() if names}


def _required(settings: Settings) -> Store:
    store = Store.of(settings)
    if store is None:
        raise StoreTrouble("there is no store: set DELICTVRIJ_STORE to s3://bucket/prefix")
    return store


def _place(settings: Settings, path: Path) -> str:
    return path.relative_to(settings.home_path).as_posix()
