"""Sealed deliveries: one age archive, `delivery.tar.age`, and beside it, written last, its SHA-256.

Sealed for the public key of the platform (`delictvrij recipient`), a delivery can lie on any server. It is opened into a private
folder; what an archive may hold is what a delivery folder may: plain files, by their bare names.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
import tempfile
from pathlib import Path
from typing import IO

from orchestration.deliveries.contracts import FileLimits
from orchestration.deliveries.judgement import Refused, failed
from orchestration.deliveries.manifest import MANIFEST, manifest_hash
from orchestration.files import write_atomically
from orchestration.hashing import sha256_bytes, sha256_file
from orchestration.trouble import Mendable

SEALED = "delivery.tar.age"
SEAL = f"{SEALED}.sha256"
_CHECKSUM = re.compile(rb"([0-9a-f]{64})(?: [ *]delivery\.tar\.age)?\s*")


class OpeningKeyError(Mendable):
    """The key that opens sealed deliveries cannot be used; says why and what to do."""


def make_opening_key(path: Path) -> None:
    """Make the key that opens sealed deliveries, readable by its owner only. Raises FileExistsError when there is one."""
    from pyrage import x25519

    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(f"{x25519.Identity.generate()}\n")
        stream.flush()
        os.fsync(stream.fileno())


def recipient(path: Path) -> str:
    """The public key that partners seal for. Raises OpeningKeyError."""
    return str(identity(path).to_public())


def identity(path: Path):  # type: ignore[no-untyped-def]
    """The private key that opens what was sealed for this platform. Raises OpeningKeyError."""
    from pyrage import IdentityError, x25519

    if not path.is_file():
        raise OpeningKeyError(f"there is no key for sealed deliveries at {path}; `delictvrij recipient` makes one")
    if path.stat().st_mode & 0o077:
        raise OpeningKeyError(f"the key for sealed deliveries at {path} can be read by others; set its mode to 0400")
    try:
        return x25519.Identity.from_str(path.read_text(encoding="ascii").strip())
    except (IdentityError, UnicodeDecodeError, ValueError):
        raise OpeningKeyError(f"the file at {path} does not hold an age identity") from None


def seal(delivery: Path, public_key: str, out: Path) -> Path:
    """Seal a delivery folder for a public key: the archive in the folder `out`, its checksum last. Raises OpeningKeyError."""
    import pyrage

    try:
        key = pyrage.x25519.Recipient.from_str(public_key)
    except pyrage.RecipientError:
        raise OpeningKeyError("that is not a public key of age; it begins with age1") from None
    out.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(delivery.iterdir()):
            archive.add(path, arcname=path.name, recursive=False)
    write_atomically(out / SEALED, pyrage.encrypt(packed.getvalue(), [key]))
    write_atomically(out / SEAL, f"{sha256_file(out / SEALED)}  {SEALED}\n".encode())
    return out / SEALED


def is_sealed(delivery: Path) -> bool:
    """Whether a delivery folder holds a sealed delivery that is complete."""
    return (delivery / SEAL).is_file() and not (delivery / SEAL).is_symlink() and not (delivery / MANIFEST).exists()


def delivery_hash(delivery: Path) -> str:
    """The identity of a delivery: SHA-256 of its manifest, or of the checksum of a sealed one. Raises NotADelivery."""
    if is_sealed(delivery):
        return sha256_bytes((delivery / SEAL).read_bytes())
    return manifest_hash(delivery)


def sealed_digest(checksum: bytes) -> str | None:
    """The SHA-256 that a checksum file says; None where it is none."""
    match = _CHECKSUM.fullmatch(checksum)
    return match[1].decode() if match else None


def unseal(delivery: Path, key_file: Path, folder: Path, limits: FileLimits) -> None:
    """Open a sealed delivery into the empty, private `folder`. Raises Refused and OpeningKeyError.

    An archive that fails in its middle leaves nothing: the folder is the caller's to drop.
    """
    import pyrage

    key = identity(key_file)
    sealed = delivery / SEALED
    if sealed.is_symlink() or not sealed.is_file():
        raise Refused(failed("file.missing", place=SEALED))
    if sealed.stat().st_size > limits.file_bytes:
        raise Refused(failed("archive.size", place=SEALED, expected=f"at most {limits.file_bytes} bytes"))
    if sealed_digest((delivery / SEAL).read_bytes()[:1000]) != sha256_file(sealed):
        raise Refused(failed("file.hash", place=SEALED))
    extra = [path for path in delivery.iterdir() if path.name not in (SEALED, SEAL)]
    if extra:
        raise Refused(failed("file.undeclared", place=SEALED, failed=len(extra)))
    with tempfile.TemporaryFile(dir=folder.parent) as opened:
        try:
            with sealed.open("rb") as stream:
                pyrage.decrypt_io(stream, opened, [key])
        except pyrage.DecryptError as error:
            code = "archive.recipient" if "matching keys" in str(error) else "archive.tampered"
            raise Refused(failed(code, place=SEALED)) from None
        except OSError as error:
            if error.errno is not None:  # the disk, not the archive
                raise
            raise Refused(failed("archive.tampered", place=SEALED)) from None
        opened.seek(0)
        _unpack(opened, folder, limits)


def _unpack(opened: IO[bytes], folder: Path, limits: FileLimits) -> None:
    """Write the members of a tar archive: plain files with bare names, within limits. Raises Refused."""
    written = 0
    names: set[str] = set()
    try:
        with tarfile.open(fileobj=opened, mode="r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.isdir() and name in ("", "."):
                    continue
                is_bare = name == Path(name).name and name not in ("", "..") and "\0" not in name and len(name) <= 200
                if not member.isfile() or member.issparse() or not is_bare or name in names:
                    raise Refused(failed("archive.member", place=SEALED))
                names.add(name)
                written += member.size
                if len(names) > limits.members or written > limits.file_bytes:
                    raise Refused(
                        failed(
                            "archive.size",
                            place=SEALED,
                            expected=f"at most {limits.members} files, {limits.file_bytes} bytes",
                        )
                    )
                content = archive.extractfile(member)
                assert content is not None  # noqa: S101 - it is a file
                with (folder / name).open("xb") as out:
                    while chunk := content.read(2**20):
                        out.write(chunk)
    except (tarfile.TarError, EOFError, ValueError):
        raise Refused(failed("archive.member", place=SEALED, expected="a tar archive")) from None
    if MANIFEST not in names:
        raise Refused(failed("archive.member", place=SEALED, expected=MANIFEST))
