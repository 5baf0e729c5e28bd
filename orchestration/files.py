"""Writing so that a reader never sees half of it: aside, synced, then renamed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file by way of a hidden twin in the same folder, so that `path` is always whole or absent."""
    write_parts(path, [content])


def write_parts(path: Path, content: Iterable[bytes]) -> None:
    """The same of content that comes in parts, each of which may go once it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with aside.open("wb") as stream:
        stream.writelines(content)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)
    _sync(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write content as JSON, keys in order, whole or not at all."""
    write_atomically(path, (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file: whoever comes second waits. The lock goes with its process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def folder_by_rename(final: Path) -> Iterator[Path]:
    """Give a hidden folder to fill; on leaving, sync it and rename it to `final`.

    When `final` is there already (content-addressed: the same content), the filled folder is dropped. When the body
    raises, nothing is left.
    """
    with folder_aside(final.parent, final.name) as aside:
        yield aside
        settle(aside, final)


@contextmanager
def folder_aside(parent: Path, name: str) -> Iterator[Path]:
    """Give a hidden folder to fill, for a name that is only known once it is full; unless it was settled it is gone afterwards."""
    parent.mkdir(parents=True, exist_ok=True)
    aside = parent / f".{name}.{uuid.uuid4().hex}"
    aside.mkdir()
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def settle(aside: Path, final: Path) -> None:
    """Sync a filled folder and rename it to `final` beside it, unless that is there already."""
    for path in sorted(aside.rglob("*")):
        if path.is_file():
            _sync(path)
    _sync(aside)
    if not final.exists():
        aside.rename(final)
        _sync(final.parent)


def swap_link(link: Path, target: str) -> None:
    """Point the symbolic link `link` at `target` (relative) in one step."""
    aside = link.with_name(f".{link.name}.{uuid.uuid4().hex}")
    aside.symlink_to(target)
    aside.replace(link)
    _sync(link.parent)
