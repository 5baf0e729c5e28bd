"""Hostile deliveries: files that would exhaust, mislead or escape. Each is refused by a rule, quickly and in little memory.

`python -m tests.mutations.hostile` takes each in by the real `ingest`, in a process of its own, and prints how many there are, the
longest time and the most memory.
"""

from __future__ import annotations

import gzip
import io
import multiprocessing
import os
import pickle
import resource
import shutil
import socket
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.hashing import sha256_file
from tests.deliveries.making import digests, manifest_of, sign, write_manifest

MB = 2**20
MOST_SECONDS, MOST_MEGABYTES = 5.0, 300
Make = Callable[[Path], None]


@dataclass(frozen=True)
class Hostile:
    """One hostile delivery: of which organisation it pretends to be, how it is made, and the rules that may refuse it."""

    name: str
    organisation: str
    rules: tuple[str, ...]
    make: Make


HOSTILE: dict[str, Hostile] = {}


def _add(organisation: str, name: str, rules: str, make: Make) -> None:
    assert name not in HOSTILE, name
    HOSTILE[name] = Hostile(name, organisation, tuple(rules.split()), make)


# text ---------------------------------------------------------------------------------------------------------------
def _file(delivery: Path, ending: str = "") -> Path:
    return delivery / next(file["name"] for file in manifest_of(delivery)["files"] if file["name"].endswith(ending))


def _bytes(edit: Callable[[bytes], bytes], ending: str = "") -> Make:
    """The first file (whose name ends so) with its bytes edited, signed as it then is."""

    def make(delivery: Path) -> None:
        path = _file(delivery, ending)
        path.write_bytes(edit(path.read_bytes()))
        sign(delivery)

    return make


def _line(edit: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    """Edit the cells of the first row under the header."""

    def change(content: bytes) -> bytes:
        head, first, rest = content.split(b"\n", 2)
        mark = b";" if b";" in head else b","
        return b"\n".join((head, mark.join(edit(first.split(mark))), rest))

    return change


def _in_cell(value: bytes, place: int = 0) -> Callable[[bytes], bytes]:
    return _line(lambda cells: [*cells[:place], value, *cells[place + 1 :]])


class _Pickled:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("true",)


for _name, _rules, _edit in (
    ("a million columns", "file.too_large", lambda b: b";".join(b"c%d" % n for n in range(10**6)) + b"\n" + b),
    ("a field of 100 MB", "file.too_large", _in_cell(b'"' + b"x" * 100 * MB + b'"')),
    ("a field of 100 MB in short lines", "file.too_large", _in_cell(b'"' + (b"x" * 59 + b"\n") * (100 * MB // 60) + b'"')),
    ("ten million empty lines", "file.too_large", lambda b: b + b"\n" * 10**7),
    ("a line without an end", "file.too_large", lambda b: b.replace(b"\n", b" ") + b"y" * 200_000),
    ("NUL bytes in a field", "file.control", _in_cell(b"1234\x005678")),
    ("UTF-16 under another name", "file.control", lambda b: b.decode("cp1252").encode("utf-16")),
    ("UTF-16 without a mark", "file.control", lambda b: b.decode("cp1252").encode("utf-16-be")),
    ("UTF-32 under another name", "file.control", lambda b: b.decode("cp1252").encode("utf-32")),
    ("a zip archive as CSV", "file.control", lambda b: _zipped({"clients.csv": b})),
    ("a gzip archive as CSV", "file.control column.missing file.encoding", lambda b: gzip.compress(b)),
    ("a pickle as CSV", "file.control", lambda b: pickle.dumps(_Pickled(), protocol=4) + b"\0"),
    ("a web page as CSV", "column.missing", lambda b: b"<!doctype html><script>alert(1)</script>\n" + b),
    ("a quote that is never closed", "file.unreadable", _in_cell(b'"12345678')),
    ("a quote in the middle of a field", "file.unreadable value.pattern", _in_cell(b'12"345"678')),
    ("stray carriage returns", "file.unreadable", _in_cell(b"1234\r5678")),
    ("a byte that the encoding lacks", "file.encoding", _in_cell(b"1234\x815678")),
    ("UTF-8 in Windows-1252", "value.code", lambda b: b.replace(b";Nederland", ";Curaçao e.o.".encode(), 1)),
    ("a byte order mark of another encoding", "column.missing column.renamed column.undeclared", lambda b: b"\xef\xbb\xbf" + b),
    ("a tag of YAML in a field", "value.pattern", _in_cell(b"!!python/object/apply:os.system [id]")),
    ("a formula in a field", "value.pattern", _in_cell(b"=cmd|' /C calc'!A0")),
    ("a script in a field", "value.pattern", _in_cell(b"<script>alert(1)</script>")),
    ("a number of ten thousand digits", "value.pattern", _in_cell(b"9" * 10_000)),
    ("a header a hundred times", "column.duplicate", lambda b: b"Clientnummer;" * 100 + b),
    ("a table without a row that was promised", "table.rows", lambda b: b.split(b"\n", 1)[0] + b"\n"),
):  # fmt: skip
    _add("rn", f"csv: {_name}", _rules, _bytes(_edit, "clients.csv"))

for _name, _rules, _edit in (
    ("invalid UTF-8", "file.encoding", _in_cell(b"12\xff34")),
    ("overlong UTF-8", "file.encoding", _in_cell(b"12\xc0\xaf34")),
    ("surrogates in UTF-8", "file.encoding", _in_cell(b"12\xed\xa0\x8034")),
    ("UTF-8 that is cut off", "file.encoding file.unreadable", lambda b: b + b"\xe2\x82"),
    ("digits of another script", "value.pattern", _in_cell("١٢٣٤٥٦٧٨٩".encode())),
    ("text that runs from right to left", "value.pattern", _in_cell("12\u202e34".encode())),
    ("letters without width", "value.pattern", _in_cell("12\u200b34".encode())),
    ("UTF-7", "column.renamed", lambda b: b"+/v8-" + b.decode().encode("utf-7")),
):  # fmt: skip
    _add("registry", f"utf-8: {_name}", _rules, _bytes(_edit))


# workbooks ----------------------------------------------------------------------------------------------------------
SHEET = "xl/worksheets/sheet1.xml"


def _zipped(parts: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _parts(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _with(**changes: Any) -> Callable[[bytes], bytes]:
    """A workbook with parts added or edited (a function of the old content)."""

    def change(content: bytes) -> bytes:
        parts = _parts(content)
        for name, new in changes["parts"].items():
            parts[name] = new(parts[name]) if callable(new) else new
        return _zipped(parts)

    return change


def _part(name: str, new: Any) -> Callable[[bytes], bytes]:
    return _with(parts={name: new})


def _sub(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        assert old in content, "nothing to make hostile"
        return content.replace(old, new, 1)

    return change


def _overlapping(content: bytes) -> bytes:
    """A second name in the directory for bytes that another member holds."""
    packed = io.BytesIO(content)
    with zipfile.ZipFile(packed, "a") as archive:
        largest = max(archive.infolist(), key=lambda member: member.compress_size)
        for number in range(50):
            again = zipfile.ZipInfo(f"xl/again{number}.xml")
            for field in ("header_offset", "compress_size", "file_size", "CRC", "compress_type", "flag_bits"):
                setattr(again, field, getattr(largest, field))
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
        archive._didModify = True  # type: ignore[attr-defined]
    return packed.getvalue()


def _lying(content: bytes) -> bytes:
    """A member that says it is ten bytes long and unpacks to 50 MB."""
    packed = _zipped({**_parts(content), "xl/extra.xml": b" " * 50 * MB})
    place = packed.rindex(b"xl/extra.xml") - 46
    return packed[: place + 24] + struct.pack("<I", 10) + packed[place + 28 :]


def _locked(content: bytes) -> bytes:
    """Members that are marked as encrypted."""
    packed = bytearray(content)
    place = 0
    while (place := packed.find(b"PK\x01\x02", place)) >= 0:
        packed[place + 8] |= 1
        place += 4
    return bytes(packed)


def _twice(content: bytes) -> bytes:
    packed = io.BytesIO(content)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(SHEET, b"<worksheet/>")
    return packed.getvalue()


_LAUGHS = (
    b'<!DOCTYPE x [<!ENTITY a "' + b"ha" * 50 + b'">' + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)) + b"]>"
)  # fmt: skip
_XXE = b'<!DOCTYPE x [<!ENTITY secret SYSTEM "file:///etc/passwd">]>'
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 4096


def _after_declaration(text: bytes) -> Callable[[bytes], bytes]:
    return lambda part: part.replace(b"?>", b"?>" + text, 1) if b"?>" in part[:200] else text + part


for _name, _rules, _edit in (
    ("a sheet of 200 MB", "file.bomb", _part(SHEET, lambda p: p + b" " * 200 * MB)),
    ("shared texts of 200 MB", "file.bomb", _part("xl/sharedStrings.xml", b"<sst>" + b"<si><t>aaaa</t></si>" * (10 * MB) + b"</sst>")),
    ("200 MB that hardly pack", "file.bomb", _part("xl/media/image1.png", os.urandom(MB) * 200)),
    ("many parts of 20 MB", "file.bomb", _with(parts={f"xl/theme/theme{n}.xml": b" " * 20 * MB for n in range(2, 8)})),
    ("a part packed a thousand to one", "file.bomb", _part("xl/theme/theme9.xml", b" " * 20 * MB)),
    ("parts that overlap", "file.bomb file.unreadable", _overlapping),
    ("a part that lies about its size", "file.unreadable file.bomb", _lying),
    ("ten thousand parts", "file.bomb", _with(parts={f"xl/p{n}.xml": b"" for n in range(10_000)})),
    ("a part twice", "file.bomb", _twice),
    ("more shared texts than there can be", "file.bomb", _part("xl/sharedStrings.xml", _sub(b"uniqueCount=", b'uniqueCount="4294967295" was='))),
    ("a name that leads out", "file.unreadable", _part("../../../evil.csv", b"x")),
    ("an absolute name", "file.unreadable", _part("/tmp/evil.csv", b"x")),  # noqa: S108
    ("a name of another system", "file.unreadable", _part("..\\..\\evil.csv", b"x")),
    ("a name of a drive", "file.unreadable", _part("C:evil.csv", b"x")),
    ("an archive in the archive", "file.active", lambda b: _with(parts={"xl/embeddings/more.zip": b})(b)),
    ("a workbook in the workbook", "file.active", lambda b: _with(parts={"xl/other.xlsx": b})(b)),
    ("macros", "file.active", _part("xl/vbaProject.bin", _OLE)),
    ("macros by content type", "file.active", _part("[Content_Types].xml", _sub(b"spreadsheetml.sheet.main", b"sheet.macroEnabled.main"))),
    ("a macro sheet of old", "file.active", _part("xl/macrosheets/sheet1.xml", b"<xm:macrosheet/>")),
    ("links to another workbook", "file.active", _part("xl/externalLinks/externalLink1.xml", b"<externalLink/>")),
    ("a link to elsewhere", "file.active", _part("xl/_rels/workbook.xml.rels", _sub(b"<Relationship ", b'<Relationship TargetMode="External" '))),
    ("a connection to a database", "file.active", _part("xl/connections.xml", b"<connections/>")),
    ("an ActiveX control", "file.active", _part("xl/activeX/activeX1.bin", _OLE)),
    ("an embedded object", "file.active", _part("xl/embeddings/oleObject1.bin", _OLE)),
    ("an unknown binary part", "file.active", _part("xl/whatever.bin", _OLE)),
    ("a billion laughs", "file.active", _part(SHEET, _after_declaration(_LAUGHS))),
    ("an entity that reads a file", "file.active", _part("xl/workbook.xml", _after_declaration(_XXE))),
    ("a DTD in the shared texts", "file.active", _part("xl/sharedStrings.xml", _after_declaration(_XXE))),
    ("a DTD in the content types", "file.active", _part("[Content_Types].xml", _after_declaration(_XXE))),
    ("a DTD in UTF-16", "file.unreadable", _part(SHEET, lambda p: _after_declaration(_XXE)(p).decode().encode("utf-16"))),
    ("a formula", "file.formula", _part(SHEET, _sub(b"<v>", b"<f>1+1</f><v>"))),
    ("a formula that starts a program", "file.formula", _part(SHEET, _sub(b"<v>", b"<f t='array' ref='A1'>cmd|'/C calc'!A0</f><v>"))),
    ("merged cells", "file.merged", _part(SHEET, _sub(b"</sheetData>", b'</sheetData><mergeCells count="1"><mergeCell ref="A1:B2"/></mergeCells>'))),
    ("a cell in the last column", "file.too_large", _part(SHEET, _sub(b'r="A1"', b'r="XFD1"'))),
    ("a cell in the last row", "file.too_large", _part(SHEET, _sub(b"</sheetData>", b'<row r="1048576"><c r="A1048576"><v>1</v></c></row></sheetData>'))),
    ("a row of a million cells", "file.too_large file.bomb", _part(SHEET, _sub(b"</sheetData>", b"<row>" + b"<c><v>1</v></c>" * 10**6 + b"</row></sheetData>"))),
    ("parts under a password", "file.unreadable", _locked),
    ("parts packed with LZMA", "file.unreadable", lambda b: _zipped(_parts(b), zipfile.ZIP_LZMA)),
    ("parts packed with bzip2", "file.unreadable", lambda b: _zipped(_parts(b), zipfile.ZIP_BZIP2)),
    ("an old workbook, or one under a password", "file.unreadable", lambda b: _OLE),
    ("a text under the name of a workbook", "file.unreadable", lambda b: b"a;b;c\n1;2;3\n"),
    ("half of it", "file.unreadable", lambda b: b[: len(b) // 2]),
    ("a damaged part", "file.unreadable", lambda b: b[: len(b) // 3] + b"\0" * 400 + b[len(b) // 3 + 400 :]),
    ("an archive of nothing", "file.unreadable", lambda b: _zipped({})),
):  # fmt: skip
    _add("svg", f"xlsx: {_name}", _rules, _bytes(_edit))


# SPSS ---------------------------------------------------------------------------------------------------------------
def _at(place: int, new: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content[:place] + new + content[place + len(new) :]


def _zsav(content: bytes) -> bytes:
    import pandas as pd
    import pyreadstat

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bomb.zsav")
        pyreadstat.write_sav(pd.DataFrame({"x": ["a" * 200] * 200_000}), str(path), compress=True)
        return path.read_bytes()


def _labels(content: bytes) -> bytes:
    """A value-label record that promises two thousand million labels."""
    place = content.index(struct.pack("<i", 3), 176)
    return content[: place + 4] + struct.pack("<i", 2**31 - 1) + content[place + 8 :]


for _name, _rules, _edit in (
    ("noise", "file.unreadable", lambda b: os.urandom(20_000)),
    ("nothing but the magic", "file.unreadable", lambda b: b[:4]),
    ("more cases than the file can hold", "file.bomb", _at(80, struct.pack("<i", 2**31 - 1))),
    ("a case of 16 GB", "file.bomb file.too_large", _at(68, struct.pack("<i", 2**31 - 1))),
    ("an unknown layout", "file.unreadable", _at(64, struct.pack("<i", 77))),
    ("an unknown packing", "file.unreadable", _at(72, struct.pack("<i", 9))),
    ("a packed file", "file.bomb", _zsav),
    ("more value labels than there can be", "file.unreadable", _labels),
    ("a dictionary that is cut off", "file.unreadable file.bomb", lambda b: b[:600]),
    ("a dictionary that is overwritten", "file.unreadable column.missing", _at(180, b"\xff" * 400)),
    ("a workbook under the name of SPSS", "file.unreadable", lambda b: _zipped({"xl/workbook.xml": b"<x/>"})),
    ("a text under the name of SPSS", "file.unreadable", lambda b: b"$FL2 and then text\n" * 40),
):  # fmt: skip
    _add("ljr", f"sav: {_name}", _rules, _bytes(_edit))


# manifests ----------------------------------------------------------------------------------------------------------
def _manifest(edit: Callable[[bytes], bytes]) -> Make:
    def make(delivery: Path) -> None:
        path = delivery / "manifest.json"
        path.write_bytes(edit(path.read_bytes()))

    return make


def _named(name: str) -> Make:
    """The first file under another name in the manifest; there is no such file."""

    def make(delivery: Path) -> None:
        content = manifest_of(delivery)
        old = content["files"][0]["name"]
        content["files"][0]["name"] = name
        for entry in content["tables"]:
            entry["file"] = name if entry["file"] == old else entry["file"]
        write_manifest(delivery, content)

    return make


def _says(**changes: Any) -> Make:
    def make(delivery: Path) -> None:
        content = manifest_of(delivery)
        content["tables"][0].update(changes.get("table", {}))
        content["files"][0].update(changes.get("file", {}))
        write_manifest(delivery, content)

    return make


for _name, _rules, _step in (
    ("lists in lists, a hundred thousand deep", "manifest.unreadable", _manifest(lambda b: b"[" * 100_000 + b"]" * 100_000)),
    ("a name twice", "manifest.unreadable", _manifest(lambda b: b.replace(b"{", b'{"organisation": "svg", ', 1))),
    ("a number that is none", "manifest.unreadable", _manifest(lambda b: b.replace(b'"sequence": 1', b'"sequence": NaN'))),
    ("a number without end", "manifest.unreadable", _manifest(lambda b: b.replace(b'"sequence": 1', b'"sequence": 1' + b"0" * 5000))),
    ("100 MB of manifest", "manifest.unreadable", _manifest(lambda b: b + b" " * 100 * MB)),
    ("a tag of YAML", "manifest.unreadable", _manifest(lambda b: b"!!python/object/apply:os.system ['true']")),
    ("a pickle", "manifest.unreadable", _manifest(lambda b: pickle.dumps(_Pickled()))),
    ("a million million rows", "file.too_large", _says(table={"rows": 10**12})),
    ("a file of a million million bytes", "file.size", _says(file={"bytes": 10**12})),
    ("a file by an absolute name", "file.name", _named("/etc/passwd")),
    ("a file by the name of a share", "file.name", _named("\\\\host\\share\\clients.csv")),
    ("a file that leads out", "file.name", _named("../../../../etc/passwd")),
    ("a file with a NUL in its name", "file.name", _named("clients\0.csv")),
    ("a file whose name runs from right to left", "file.name", _named("clients\u202evsc.exe")),
    ("a file with a name of ten thousand letters", "file.name", _named("c" * 10_000 + ".csv")),
    ("a file without a name", "file.name", _named("")),
):  # fmt: skip
    _add("rn", f"manifest: {_name}", _rules, _step)


# files that are none ------------------------------------------------------------------------------------------------
def _instead(put: Callable[[Path], Any]) -> Make:
    def make(delivery: Path) -> None:
        path = _file(delivery)
        path.unlink()
        put(path)

    return make


def _beside(put: Callable[[Path], Any]) -> Make:
    return lambda delivery: put(delivery / "beside")


def _hole(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(5 * 2**30)
    content = manifest_of(path.parent)
    next(file for file in content["files"] if file["name"] == path.name)["bytes"] = 5 * 2**30
    write_manifest(path.parent, content)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may not be long
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _crowd(path: Path) -> None:
    for number in range(5_000):
        path.with_name(f"beside-{number}").touch()


for _name, _rules, _step in (
    ("a link to a file of the system", "file.name", _instead(lambda p: p.symlink_to("/etc/passwd"))),
    ("a link to itself", "file.name", _instead(lambda p: p.symlink_to(p.name))),
    ("a link to a device without end", "file.name", _instead(lambda p: p.symlink_to("/dev/zero"))),
    ("a pipe that nobody writes to", "file.name", _instead(os.mkfifo)),
    ("a socket", "file.name", _instead(_socket)),
    ("a folder", "file.name", _instead(Path.mkdir)),
    ("a file of 5 GB", "file.too_large", _instead(_hole)),
    ("a pipe beside the files", "file.undeclared", _beside(os.mkfifo)),
    ("a folder beside the files", "file.undeclared", _beside(Path.mkdir)),
    ("a link beside the files", "file.undeclared", _beside(lambda p: p.symlink_to("/etc"))),
    ("a hard link beside the files", "file.undeclared", _beside(lambda p: p.hardlink_to(_file(p.parent)))),
    ("five thousand files beside the files", "file.undeclared", _beside(_crowd)),
):  # fmt: skip
    _add("rn", f"file: {_name}", _rules, _step)


# the trial ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Trial:
    """What came of a hostile delivery: verdict, rules, seconds and extra memory of ingest, and what it left where."""

    name: str
    status: str
    rules: frozenset[str]
    seconds: float
    megabytes: float
    outside: tuple[str, ...]
    connections: int

    @property
    def is_refused(self) -> bool:
        """Whether it was refused by a rule that the catalogue names, without a connection or a trace outside landing."""
        return (
            self.status == "rejected"
            and bool(self.rules & set(HOSTILE[self.name].rules))
            and not self.outside
            and not self.connections
        )


def tried(name: str, home: Path, source: Path, folder: Path) -> Trial:
    """Take one hostile delivery in, in a process forked for it. `home` is a settled home, `source` its good deliveries."""
    from tests.deliveries.making import deliver, delivery_in
    from tests.mutations.trials import NEXT

    entry = HOSTILE[name]
    shutil.copytree(home, folder / "settled")
    organisation = entry.organisation
    delivery = deliver(delivery_in(source, organisation), folder / "settled" / "inbox", "hostile", NEXT[organisation])
    entry.make(delivery)
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_ingest, args=(name, delivery, folder / "settled", writer))
    process.start()
    writer.close()
    try:
        found: Trial = reader.recv()
    except EOFError:
        found = Trial(name, "died", frozenset(), 0.0, 0.0, (), 0)
    process.join()
    return found


def _ingest(name: str, delivery: Path, folder: Path, answer: Any) -> None:
    from orchestration.deliveries.ingest import ingest
    from orchestration.home import opened
    from tests.conftest import settings_in

    settings = settings_in(folder)
    ledger = opened(settings)
    connections = 0

    def connect(*_: Any) -> None:
        nonlocal connections
        connections += 1
        raise OSError

    socket.socket.connect = connect  # type: ignore[method-assign, assignment]
    before = _kept(folder)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    receipt = ingest(delivery, settings, ledger)
    seconds = time.perf_counter() - began
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024
    after = _kept(folder)
    outside = tuple(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))
    rules = frozenset(reason.rule for reason in receipt.reasons)
    answer.send(Trial(name, receipt.status, rules, seconds, extra, outside, connections))


def _kept(folder: Path) -> dict[str, str]:
    """What a refusal may not change: all but the partner's inbox and, in the home, the landing folder, letters and ledger, and
    beside it the seal of the audit trail."""
    places = [path for path in folder.iterdir() if path.name not in ("inbox", "home", "home.audit")]
    home = [
        path
        for path in (folder / "home").iterdir()
        if path.name.partition(".")[0] not in ("landing", "letters", "ledger")
    ]
    return {f"{place}/{name}": digest for place in (*places, *home) for name, digest in _digests(place).items()}


def _digests(place: Path) -> dict[str, str]:
    return digests(place) if place.is_dir() else {"": sha256_file(place)}


def warm() -> None:
    """Load what ingest needs, so that forked processes measure their own work only."""
    import pyreadstat  # noqa: F401
    import python_calamine  # noqa: F401

    from orchestration.deliveries import gate

    gate.load()


def main() -> int:
    from tests.mutations.__main__ import settled

    warm()
    found = []
    with tempfile.TemporaryDirectory() as place:
        platform, source = settled(Path(place, "home"))
        platform.ledger.close()
        good = Path(place, "good")
        shutil.copytree(source, good)
        shutil.rmtree(platform.settings.inbox_path)
        for number, name in enumerate(HOSTILE):
            folder = Path(place, str(number))
            found.append(tried(name, Path(place, "home"), good, folder))
            shutil.rmtree(folder)
    for trial in found:
        if not trial.is_refused or trial.seconds > MOST_SECONDS or trial.megabytes > MOST_MEGABYTES:
            said = ", ".join(sorted(trial.rules)) or "-"
            print(
                f"not as it should be: {trial.name}: {trial.status}, {said}, {trial.seconds:.1f} s, {trial.megabytes:.0f} MB, {trial.outside}"
            )
    slowest = max(found, key=lambda trial: trial.seconds)
    largest = max(found, key=lambda trial: trial.megabytes)
    refused = [trial for trial in found if trial.is_refused]
    print(f"hostile deliveries  {len(found)}, refused by their rule {len(refused)}")
    print(f"longest time        {slowest.seconds:.2f} s ({slowest.name})")
    print(f"most memory         {largest.megabytes:.0f} MB more ({largest.name})")
    is_good = len(refused) == len(found) and slowest.seconds <= MOST_SECONDS and largest.megabytes <= MOST_MEGABYTES
    return int(not is_good)


if __name__ == "__main__":
    sys.exit(main())
