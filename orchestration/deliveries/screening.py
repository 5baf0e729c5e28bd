"""Screening: what a delivered file may not be, found out by streaming through it before a parser sees it.

Sizes are bounded by the limits of the contract; nothing is unpacked to disk, and never more than a block held in memory.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from orchestration.deliveries.contracts import FileLimits
from orchestration.deliveries.judgement import Refused, failed

BLOCK = 2**20
_OVERLAP = 256  # what a pattern below may need to see of the block before

# Parts of a workbook that do or fetch something; printer settings are the one binary part that is harmless.
_ACTIVE_PART = re.compile(
    r"vbaproject|macrosheets/|externallinks/|activex/|embeddings/|ctrlprops/|connections\.xml|querytables/|webextensions/"
    r"|customui/|\.(?:exe|dll|js|vbs|ps1|sh|lnk|zip|rar|7z|gz|xls[xmb]?|docm?|pptm?)$",
    re.IGNORECASE,
)
_BINARY_PART = re.compile(r"\.bin$", re.IGNORECASE)
_PRINTER = re.compile(r"xl/printersettings/", re.IGNORECASE)
_DOCTYPE = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s/>]")
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell[\s/>]")
_REFERENCE = re.compile(rb"<(?:\w+:)?(?:c|row)\s(?:[^>]*?\s)?r=[\"']([A-Za-z]*)([0-9]+)")
_ROW = re.compile(rb"<(?:\w+:)?row[\s/>]")
_CELL = re.compile(rb"<(?:\w+:)?c[\s/>]")
_COUNT = re.compile(rb"(?:uniqueCount|count)=[\"']([0-9]+)")
_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml", re.IGNORECASE)
_MOST_CELLS = 8_000_000
_SPARE_LINES = 1_000


def screen(path: Path, limits: FileLimits, rows: int, columns: int, where: dict[str, str]) -> None:
    """Refuse a file that is a bomb, active, or not what its name says. Raises Refused.

    `rows` is the largest number of rows that the manifest declares for a table in it, `columns` that of the contract.
    """
    form = path.name.rpartition(".")[2].lower()
    if form == "csv":
        _screen_text(path, limits, rows, where)
    elif form == "xlsx":
        _screen_workbook(path, limits, rows, columns, where)
    else:
        _screen_sav(path, limits, columns, where)


# CSV ----------------------------------------------------------------------------------------------------------------
def _screen_text(path: Path, limits: FileLimits, rows: int, where: dict[str, str]) -> None:
    lines = since_break = 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            if b"\0" in block:
                raise Refused(failed("file.control", **where))
            # A break is a line feed or, in old files, a carriage return; the latter is looked for where there is no other.
            ends = b"\n" if b"\n" in block else b"\r"
            lines += block.count(ends)
            since_break = _after_last_break(block, ends, since_break, limits.line_bytes)
            if since_break > limits.line_bytes:
                raise Refused(failed("file.too_large", **where, expected=f"lines of at most {limits.line_bytes} bytes"))
            if lines > 2 * rows + _SPARE_LINES:
                raise Refused(failed("file.too_large", **where, expected=f"{rows} rows and a header"))


def _after_last_break(block: bytes, ends: bytes, since_break: int, most: int) -> int:
    """The bytes after the last break, with those since the break before the block; more than `most` as soon as a line is longer."""
    begins = -since_break
    while begins + most < len(block):
        last = block.rfind(ends, max(begins, 0), begins + most + 1)
        if last < 0:
            return most + 1
        begins = last + 1
    last = block.rfind(ends, max(begins, 0))
    return len(block) - (begins if last < 0 else last + 1)


# XLSX ---------------------------------------------------------------------------------------------------------------
def _screen_workbook(path: Path, limits: FileLimits, rows: int, columns: int, where: dict[str, str]) -> None:
    unreadable = Refused(failed("file.unreadable", **where, expected="a workbook"))
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _screen_directory(members, path.stat().st_size, limits, where)
            for member in members:
                if not member.is_dir():
                    with archive.open(member) as stream:
                        _screen_part(stream, member, rows, columns, where)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
        struct.error,
        ValueError,
        OSError,
    ):
        raise unreadable from None


def _screen_directory(members: list[zipfile.ZipInfo], size: int, limits: FileLimits, where: dict[str, str]) -> None:
    """Hold what the archive says of itself against the limits; what it says is held to while it is read."""
    names = [member.filename for member in members]
    if len(members) > limits.members or len(set(names)) != len(names):
        raise Refused(failed("file.bomb", **where, expected=f"at most {limits.members} parts, each once"))
    if sum(member.file_size for member in members) > limits.unpacked_bytes:
        raise Refused(failed("file.bomb", **where, expected=f"at most {limits.unpacked_bytes} bytes unpacked"))
    if sum(member.compress_size for member in members) > size:
        raise Refused(failed("file.bomb", **where, expected="parts that do not overlap"))
    for member in members:
        if member.file_size > BLOCK and member.file_size > limits.ratio * max(member.compress_size, 1):
            raise Refused(failed("file.bomb", **where, expected=f"packed at most {limits.ratio} to 1"))
        name = member.orig_filename
        if name.startswith("/") or "\\" in name or ":" in name or "\0" in name or ".." in name.split("/"):
            raise Refused(failed("file.unreadable", **where, expected="parts with plain names"))
        if member.flag_bits & 0x1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refused(failed("file.unreadable", **where, expected="a workbook without a password, packed as usual"))
        if _ACTIVE_PART.search(name) or (_BINARY_PART.search(name) and not _PRINTER.match(name)):
            raise Refused(failed("file.active", **where, expected="no macros, links or embedded objects"))


def _screen_part(stream: IO[bytes], member: zipfile.ZipInfo, rows: int, columns: int, where: dict[str, str]) -> None:
    name = member.filename.lower()
    is_sheet = bool(_SHEET.fullmatch(name))
    seen_rows = seen_cells = highest_row = 0
    highest_column = b"A"
    for number, (block, fresh) in enumerate(_blocks(stream)):
        if name.endswith((".xml", ".rels", ".vml")):
            if number == 0 and (block[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in block[:64]):
                raise Refused(failed("file.unreadable", **where, expected="parts in UTF-8"))
            if _DOCTYPE.search(block):
                raise Refused(failed("file.active", **where, expected="no DTD or entity"))
        if name.endswith("content_types].xml") and b"macroEnabled" in block:
            raise Refused(failed("file.active", **where, expected="no macros"))
        if name.endswith(".rels") and b'TargetMode="External"' in block:
            raise Refused(failed("file.active", **where, expected="no links to elsewhere"))
        counts = _COUNT.findall(block[:1000]) if name == "xl/sharedstrings.xml" and number == 0 else []
        if max(map(int, counts), default=0) > _MOST_CELLS:
            raise Refused(failed("file.bomb", **where, expected=f"at most {_MOST_CELLS} texts"))
        if not is_sheet:
            continue
        if _FORMULA.search(block):
            raise Refused(failed("file.formula", **where))
        if _MERGED.search(block):
            raise Refused(failed("file.merged", **where))
        for letters, digits in _REFERENCE.findall(block):
            highest_row = max(highest_row, int(digits))
            if letters and (len(letters), letters.upper()) > (len(highest_column), highest_column):
                highest_column = letters.upper()
        # Seen twice where blocks overlap: counted in what is new only.
        seen_rows += len(_ROW.findall(fresh))
        seen_cells += len(_CELL.findall(fresh))
        width = _column_number(highest_column)
        if width > max(4 * columns, 50):
            raise Refused(failed("file.too_large", **where, expected=f"about {columns} columns"))
        if max(highest_row, seen_rows) > 2 * rows + _SPARE_LINES or seen_cells > _MOST_CELLS:
            raise Refused(failed("file.too_large", **where, expected=f"{rows} rows and a header"))
        if width * max(highest_row, seen_rows) > _MOST_CELLS:
            raise Refused(failed("file.too_large", **where, expected=f"at most {_MOST_CELLS} cells"))


def _blocks(stream: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Blocks of a stream, each with the end of the one before, and what of it is new."""
    before = b""
    while fresh := stream.read(BLOCK):
        yield before + fresh, fresh
        before = fresh[-_OVERLAP:]


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + letter - 64
    return number


# SPSS ---------------------------------------------------------------------------------------------------------------
def _screen_sav(path: Path, limits: FileLimits, columns: int, where: dict[str, str]) -> None:
    """Read the header of a system file: magic, byte order, case size, compression, number of cases."""
    unreadable = Refused(failed("file.unreadable", **where, expected="an SPSS system file"))
    with path.open("rb") as stream:
        header = stream.read(176)
    if len(header) < 176 or header[:4] not in (b"$FL2", b"$FL3"):
        raise unreadable
    order = "<" if struct.unpack("<i", header[64:68])[0] in (2, 3) else ">"
    layout, case_size, compression, _, cases = struct.unpack(f"{order}iiiii", header[64:72] + header[72:84])
    if layout not in (2, 3) or compression not in (0, 1, 2):
        raise unreadable
    if header[:4] == b"$FL3" or compression == 2:
        raise Refused(failed("file.bomb", **where, expected="a system file that is not packed (.sav, not .zsav)"))
    # Packed by bytes, eight of them at most come of one; that bounds what a header may promise.
    held = (path.stat().st_size - 176) * (8 if compression else 1)
    if cases > 0 and case_size > 0 and (8 * case_size * cases > held + 8 * case_size or 8 * case_size * cases > limits.unpacked_bytes):  # fmt: skip
        raise Refused(failed("file.bomb", **where, expected="as many cases as the file holds"))
    if case_size > 50 * max(columns, 20) or (cases < 0 and held > limits.unpacked_bytes):
        raise Refused(
            failed(
                "file.too_large", **where, expected=f"at most {limits.unpacked_bytes} bytes, about {columns} variables"
            )
        )
