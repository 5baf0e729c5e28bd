"""The verdict on every file of a folder that is to leave, by what is in it and not by its name. What is not known is refused.

Judges the bytes as they lie there; how tables and estimates were judged before they were written is in `disclosure`.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import posixpath
import re
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestration.releases.disclosure import COLUMNS, PASS, REFUSED, thin_steps

REASONS: Mapping[str, str] = {
    "": "nothing in it that may not leave",
    "unknown": "a kind of file that no rule lets out",
    "name": "its ending says another kind than its content",
    "link": "a link, or no plain file",
    "program": "a pickled, R or SPSS object, which holds the data it was made from",
    "archive": "an archive or compressed file, which hides its content",
    "image": "a picture with more in it than its pixels",
    "vector": "a drawing that holds its data",
    "asset": "a style sheet or script that is not the one that was vouched for",
    "script": "a page with a script, or one that fetches something",
    "identifier": "a pseudonym, a national number, or a column of identifiers",
    "person": "a column that people have a row in",
    "date": "a date finer than a quarter",
    "small": "a count of few people",
    "extreme": "a smallest or largest value",
    "duration": "durations of people, in their order",
    "steps": "a curve whose steps hold too few events",
    "columns": "a table with columns that no rule lets out",
    "encoding": "text that is not UTF-8",
    "size": "too large to be looked at",
}
MOST_BYTES = 50_000_000
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "archive"), (b"BZh", "archive"), (b"\xfd7zXZ", "archive"), (b"PK\x03\x04", "archive"), (b"PK\x05\x06", "archive"),
    (b"7z\xbc\xaf", "archive"), (b"\x28\xb5\x2f\xfd", "archive"), (b"\x89HDF", "program"), (b"RDX", "program"), (b"RDA", "program"),
    (b"X\n\x00\x00\x00", "program"), (b"A\n2\n", "program"), (b"A\n3\n", "program"), (b"$FL2", "program"), (b"$FL3", "program"),
    (b"SQLite format 3", "program"), (b"ARROW1", "program"), (b"\x93NUMPY", "program"), (b"<stata_dta>", "program"), (b"PAR1", "parquet"),
    (b"\x89PNG\r\n\x1a\n", "png"), (b"ZF", "program"), (b"%PDF", "pdf"), (b"\xff\xd8\xff", "unknown"), (b"GIF8", "unknown"),
)  # fmt: skip
_PICKLE = re.compile(rb"\A\x80[\x02-\x05]|\A\(?[cil(]\w[\w.]*\n\w+\n|\A[\(\]\}]\S*\n?.*\n[.]\Z", re.DOTALL)
_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"pHYs", b"gAMA", b"sRGB", b"cHRM", b"sBIT", b"bKGD"}
_SAYINGS = {b"tEXt", b"iTXt", b"zTXt"}
_KEYWORDS = {b"Title", b"Description", b"Copyright"}
_PSEUDONYM = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_NINE = re.compile(r"(?<![\w.])\d{9}(?![\w.])")
_DATE = re.compile(r"(?<!\d)(?:(?:19|20)\d\d-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12]\d|3[01]))?(?!\d|-\d)|(?:0[1-9]|[12]\d|3[01])[-/](?:0[1-9]|1[0-2])[-/](?:19|20)\d\d(?!\d))")  # fmt: skip
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")  # where the semicolon separates
_PERSON = re.compile(
    r"(client|officer|dyad|supervision|person|subject|case|national)_?(number|key)|bsn|.*_(id|pseudonym)", re.IGNORECASE
)
_MODEL_IDS = {"model_id", "outcome_id", "fit_id", "version_id", "delivery_id", "rule_id"}
_TIMES = re.compile(r".*(_day|_days|_on|_at|_date)|day|date|birth_year|duration|entry|exit|stop|start", re.IGNORECASE)
_COUNTS = {"n", "events", "count", "people", "clients", "officers", "ratings", "clusters", "class_count", "reference_count", "at_risk", "n_in", "n_out", "n_remaining", "n_complete", "n_scores", "missing"}  # fmt: skip
_EXTREMES = re.compile(r"(.*_)?(min|max|minimum|maximum)(_.*)?", re.IGNORECASE)
_TEXT = {
    ".csv": "csv",
    ".json": "json",
    ".html": "html",
    ".md": "text",
    ".txt": "text",
    ".yml": "text",
    ".yaml": "text",
    ".cff": "text",
    ".r": "text",
    ".py": "text",
    ".sps": "text",
    ".xml": "xml",
}
_SUMS = "SHA256SUMS"  # text without an ending
_ROOT = re.compile(r"\A<\?xml [^>]*\?>\s*<(?:\w+:)?(\w+)\s")
_DESCRIPTIONS = {"codeBook": "ddi:codebook:2_5", "resource": "http://datacite.org/schema/kernel-4"}
_DECLARED = re.compile(r"<!|<\?(?!xml )")  # what an XML file could hide more in
# A PDF of which all can be read: no stream is packed or locked, nothing is embedded, run or fetched.
_PDF_HIDES = re.compile(
    rb"/(?:Filter|Encrypt|ObjStm|EmbeddedFile|EF|JavaScript|JS|Launch|URI|SubmitForm|GoToR|RichMedia|XFA|AA|XObject)\b"
)
_PDF_TEXT = re.compile(rb"\(((?:\\.|[^\\()])*)\)", re.DOTALL)
_MARKUP = re.compile(
    r"<script|<iframe|<object|<embed|\son\w+\s*=|javascript:|<link\b|@import|\bsrc\s*=\s*[\"']?https?:", re.IGNORECASE
)
_FETCHED = re.compile(
    r'<link rel="stylesheet" href="(?P<place>[\w./-]+)">|<script src="(?P<script>[\w./-]+)" defer></script>',
    re.IGNORECASE,
)
_VECTOR = re.compile(r"<svg\b|<\?xml|image/svg", re.IGNORECASE)
_EMBEDDED = re.compile(r"data:([\w.+/-]*)(?:;[\w=-]+)*;base64,([A-Za-z0-9+/=\s]+)|data:([\w.+/-]+)[,;]")


@dataclass(frozen=True)
class Allowed:
    """What the person who puts a release together vouches for.

    `threshold`: people in a count. `columns`: by file (path in the folder), the columns of a table that may leave. `dates`: dates
    that are not of a person. `synthetic`: files whose rows are of nobody; they may have columns of people, but no real pseudonym.
    `assets`: by file, the SHA-256 of style sheets and scripts; such a file leaves when it is that, and pages may fetch those alone.
    """

    threshold: int = 10
    columns: Mapping[str, Collection[str]] = field(default_factory=dict)
    dates: frozenset[str] = frozenset()
    synthetic: frozenset[str] = frozenset()
    assets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Secrets:
    """What of the zone must be in no byte that leaves: `ids`, and `durations` in the order of people."""

    ids: frozenset[str] = frozenset()
    durations: tuple[float, ...] = ()

    @classmethod
    def of(cls, imputed: pd.DataFrame) -> Secrets:
        """From the zone table of a fit: client_id, cluster, and duration_days of the first data set."""
        first = imputed[imputed["imputation"] == imputed["imputation"].min()].drop_duplicates("client_id")
        ids = frozenset(map(str, pd.concat([first["client_id"], first["cluster"]]).dropna()))
        return cls(ids, tuple(float(days) for days in first["duration_days"]))


@dataclass(frozen=True)
class _File:
    name: str
    content: bytes
    allowed: Allowed
    secrets: Secrets

    @property
    def is_synthetic(self) -> bool:
        return self.name in self.allowed.synthetic


Finding = tuple[str, int]  # rule and how many


def scan_folder(public: Path, allowed: Allowed | None = None, secrets: Secrets | None = None) -> pd.DataFrame:
    """One row per file (columns as in `disclosure.json`), refused unless everything in it is known and may leave.

    `item` is the path in the folder; where the path itself holds an identifier, its place in the order of files.
    """
    allowed, secrets = allowed or Allowed(), secrets or Secrets()
    rows = []
    for number, path in enumerate(sorted(public.rglob("*")), start=1):
        if path.is_dir() and not path.is_symlink():
            continue
        name = path.relative_to(public).as_posix()
        if path.is_symlink() or not path.is_file():
            found: list[Finding] = [("link", 1)]
        elif path.stat().st_size > MOST_BYTES:
            found = [("size", 1)]
        else:
            found = list(_findings(_File(name, path.read_bytes(), allowed, secrets)))
        in_name = list(_in_text(_File("", name.encode(), Allowed(), secrets), name.replace("/", " ").replace("_", " ")))
        found += in_name
        rules = sorted({rule for rule, _ in found})
        reason = (
            "; ".join(f"{REASONS[rule]} ({sum(count for one, count in found if one == rule)})" for rule in rules)
            or REASONS[""]
        )
        shown = f"file {number} of the folder" if in_name else name
        values = (shown, "file", " ".join(rules), REFUSED if rules else PASS, reason, 1, len(found))
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def may_leave(verdicts: pd.DataFrame) -> bool:
    """Whether a scan found files and refused none."""
    return bool(len(verdicts)) and bool((verdicts["verdict"] == PASS).all())


def _findings(file: _File) -> Iterator[Finding]:
    yield from _in_bytes(file)
    kind = next((kind for magic, kind in _MAGIC if file.content.startswith(magic)), "")
    ending = Path(file.name).suffix.lower() or (".txt" if Path(file.name).name == _SUMS else "")
    if file.name in file.allowed.assets:
        if hashlib.sha256(file.content).hexdigest() != file.allowed.assets[file.name]:
            yield "asset", 1
    elif file.is_synthetic and ending == ".sav" and file.content.startswith((b"$FL2", b"$FL3")):
        yield from _spss(file)
    elif kind == "pdf":
        yield from _pdf(file) if ending == ".pdf" else [("name", 1)]
    elif kind in ("archive", "program", "unknown"):
        yield kind, 1
    elif _PICKLE.match(file.content) or b"ustar" in file.content[257:263]:
        yield ("archive" if b"ustar" in file.content[257:263] else "program"), 1
    elif kind == "png":
        yield from _png(file.content) if ending == ".png" else [("name", 1)]
    elif kind == "parquet":
        yield from _parquet(file) if ending == ".parquet" else [("name", 1)]
    elif ending in _TEXT:
        yield from _text(file, _TEXT[ending])
    else:
        yield "unknown", 1


def _in_bytes(file: _File) -> Iterator[Finding]:
    """Real identifiers, and runs of durations as numbers, anywhere in the file."""
    ids = sum(one.encode() in file.content for one in file.secrets.ids if len(one) >= 5)
    if ids:
        yield "identifier", ids
    runs = 0
    for start in range(len(file.secrets.durations) - 5):
        run = np.array(file.secrets.durations[start : start + 6])
        if len(set(run)) > 1:
            runs += any(
                run.astype(kind).tobytes() in file.content for kind in ("<f8", ">f8", "<f4", "<i8", "<i4", ">i4")
            )
    if runs:
        yield "duration", runs


def _in_text(file: _File, text: str) -> Iterator[Finding]:
    pseudonyms = len(_PSEUDONYM.findall(text))
    national = sum(_is_national(number) for number in _NINE.findall(text))
    if pseudonyms + national:
        yield "identifier", pseudonyms + national
    dates = sum(match.group() not in file.allowed.dates for match in _DATE.finditer(text))
    if dates:
        yield "date", dates
    if file.secrets.durations:
        words = [f"{days:g}" for days in file.secrets.durations]
        numbers = " " + " ".join(f"{float(number):g}" for number in re.findall(r"\d+(?:\.\d+)?", text)) + " "
        runs = sum(
            f" {' '.join(words[i : i + 6])} " in numbers
            for i in range(len(words) - 5)
            if len(set(words[i : i + 6])) > 1
        )
        if runs:
            yield "duration", runs


def _is_national(number: str) -> bool:
    total = sum(int(digit) * weight for digit, weight in zip(number, (9, 8, 7, 6, 5, 4, 3, 2, -1), strict=True))
    return total % 11 == 0 and number.strip("0") != ""


def _text(file: _File, kind: str) -> Iterator[Finding]:
    try:
        text = file.content.decode("utf-8-sig")
    except UnicodeDecodeError:
        yield "encoding", 1
        return
    if "\0" in text:
        yield "encoding", 1
    plain = _DECIMAL_COMMA.sub(".", text) if kind == "csv" and ";" in text.split("\n", 1)[0] else text
    yield from _in_text(file, _EMBEDDED.sub(" ", plain))
    if kind == "xml":
        root = _ROOT.match(text)
        if root is None or f'="{_DESCRIPTIONS.get(root.group(1), "?")}"' not in text or _DECLARED.search(text):
            yield "unknown", 1
        text = text[root.end() :] if root else text
    if _VECTOR.search(text):
        yield "vector", 1
    yield from _embedded(file, text)
    read: Mapping[str, Callable[[_File, str], Iterator[Finding]]] = {"csv": _csv, "json": _json, "html": _html}
    if kind in read:
        yield from read[kind](file, text)


def _embedded(file: _File, text: str) -> Iterator[Finding]:
    for match in _EMBEDDED.finditer(text):
        if match.group(2) is None:
            yield "unknown", 1
            continue
        try:
            content = base64.b64decode(match.group(2), validate=False)
        except ValueError:
            yield "unknown", 1
            continue
        if match.group(1) != "image/png" or not content.startswith(b"\x89PNG\r\n\x1a\n"):
            yield "image", 1
        else:
            yield from _png(content)
        yield from _in_bytes(_File(file.name, content, file.allowed, file.secrets))


def _html(file: _File, text: str) -> Iterator[Finding]:
    found = len(
        _MARKUP.findall(
            _FETCHED.sub(lambda match: "" if _is_asset(file, match["place"] or match["script"]) else match[0], text)
        )
    )
    if found:
        yield "script", found


def _is_asset(file: _File, place: str) -> bool:
    """Whether a page fetches, by a path relative to itself, a file that was vouched for."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(file.name), place)) in file.allowed.assets


def _csv(file: _File, text: str) -> Iterator[Finding]:
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t|", key=header.count)
    rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    if not rows:
        yield "unknown", 1
        return
    width = len(rows[0])
    if any(len(row) not in (0, width) for row in rows):
        yield "columns", 1
        return
    yield from _table(file, pd.DataFrame([row for row in rows[1:] if row], columns=rows[0]))


def _parquet(file: _File) -> Iterator[Finding]:
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(file.content))
    except Exception:
        yield "unknown", 1
        return
    if table.schema.metadata:
        yield from _in_text(
            file, " ".join(value.decode("utf-8", "replace") for value in table.schema.metadata.values())
        )
    frame = table.to_pandas()
    for column in frame:
        yield from _in_text(file, "\n".join(map(str, frame[column].drop_duplicates())))
    yield from _table(file, frame)


def _spss(file: _File) -> Iterator[Finding]:
    """An SPSS file of rows of nobody: its names, labels and text are looked at as it is read, since its bytes are packed."""
    import tempfile

    import pyreadstat

    with tempfile.NamedTemporaryFile(suffix=".sav") as copy:
        copy.write(file.content)
        copy.flush()
        try:
            frame, told = pyreadstat.read_sav(copy.name, user_missing=True)
        except Exception:
            yield "unknown", 1
            return
    said = [told.file_label, *told.column_names, *(told.column_labels or []), *map(str, told.notes or [])]
    said += [str(label) for labels in told.variable_value_labels.values() for label in labels.values()]
    said += [str(value) for column in frame.select_dtypes("object") for value in frame[column].drop_duplicates()]
    text = "\n".join(one for one in said if one)
    yield from _in_text(file, text)
    ids = sum(one in text for one in file.secrets.ids if len(one) >= 5)
    if ids:
        yield "identifier", ids
    yield from _table(file, frame)


def _pdf(file: _File) -> Iterator[Finding]:
    """A PDF leaves where all of it can be read; then its text is looked at like any other."""
    if _PDF_HIDES.search(file.content) or not file.content.rstrip().endswith(b"%%EOF"):
        yield "unknown", 1
        return
    shown = b"\n".join(match.group(1) for match in _PDF_TEXT.finditer(file.content)).decode("cp1252", "replace")
    yield from _in_text(file, shown)


def _table(file: _File, frame: pd.DataFrame) -> Iterator[Finding]:
    columns = [str(name).strip() for name in frame.columns]
    frame = frame.set_axis(columns, axis=1)
    if len(set(columns)) != len(columns):
        yield "columns", 1
        return
    if file.is_synthetic:
        return
    unknown = set(columns) - set(file.allowed.columns.get(file.name, ()))
    if unknown:
        yield "columns", len(unknown)
    numbers = {name for name in columns if pd.to_numeric(frame[name], errors="coerce").notna().any()}
    yield from _names([name for name in columns if name in numbers or not _TIMES.fullmatch(name)])  # a time is a number
    for name in columns:
        if name in _COUNTS:
            yield from _counts(pd.to_numeric(frame[name], errors="coerce"), file.allowed.threshold)
    yield from _curves(frame)


def _names(columns: Collection[str]) -> Iterator[Finding]:
    people = [name for name in columns if name not in _MODEL_IDS and _PERSON.fullmatch(name)]
    if people:
        yield "identifier", len(people)
    times = [name for name in columns if _TIMES.fullmatch(name)]
    if times:
        yield "person", len(times)
    extremes = [name for name in columns if _EXTREMES.fullmatch(name)]
    if extremes:
        yield "extreme", len(extremes)


def _counts(values: pd.Series, threshold: int) -> Iterator[Finding]:
    small = int(((values > 0) & (values < threshold)).sum())
    if small:
        yield "small", small


def _curves(frame: pd.DataFrame) -> Iterator[Finding]:
    """Published coordinates of curves: a step holds `LEAST_STEP` events at least."""
    clock = next((name for name in ("month", "months") if name in frame), None)
    share = next((name for name in ("survival", "risk") if name in frame), None)
    if clock is None or share is None or "at_risk" not in frame or "n" not in frame:
        return
    numbers = frame.assign(**{name: pd.to_numeric(frame[name], errors="coerce") for name in (clock, share, "n")})
    numbers = numbers.rename(columns={clock: "month"})
    keys = [name for name in ("outcome_id", "rater", "scale", "grouping", "group", "cause") if name in numbers]
    groups = [rows for _, rows in numbers.groupby(keys, dropna=False)] if keys else [numbers]
    thin = sum(thin_steps(rows, share) for rows in groups)
    if thin:
        yield "steps", thin


def _json(file: _File, text: str) -> Iterator[Finding]:
    try:
        content = json.loads(text)
    except ValueError:
        yield "unknown", 1
        return
    for name, value in _members(content):
        if not file.is_synthetic:
            yield from _names([name] if not isinstance(value, dict) else [])
            if name in _COUNTS and isinstance(value, int | float) and not isinstance(value, bool):
                yield from _counts(pd.Series([value]), file.allowed.threshold)
            if name in _COUNTS and isinstance(value, list):
                yield from _counts(
                    pd.to_numeric(pd.Series(value, dtype=object), errors="coerce"), file.allowed.threshold
                )


def _members(content: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict):
        for name, value in content.items():
            yield str(name), value
            yield from _members(value)
    elif isinstance(content, list):
        for value in content:
            yield from _members(value)


def _png(content: bytes) -> Iterator[Finding]:
    """A picture may hold pixels and a title; no other text, no further chunk, nothing after its end."""
    at, seen = 8, []
    while at + 12 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        body = content[at + 8 : at + 8 + length]
        end = at + 12 + length
        is_whole = end <= len(content) and struct.unpack(">I", content[end - 4 : end])[0] == zlib.crc32(kind + body)
        is_said = kind in _SAYINGS and body.split(b"\0")[0] in _KEYWORDS and len(body) < 500 and kind == b"tEXt"
        if not is_whole or not (kind in _CHUNKS or is_said):
            yield "image", 1
            return
        if is_said:
            yield from _in_text(_File("", b"", Allowed(), Secrets()), body.decode("latin-1"))
        seen.append(kind)
        at = end
        if kind == b"IEND":
            break
    if not seen or seen[0] != b"IHDR" or seen[-1] != b"IEND" or at != len(content):
        yield "image", 1
        return
    if not _pixels_only(content):
        yield "image", 1


def _pixels_only(content: bytes) -> bool:
    """Whether the compressed data end where they should: nothing is packed behind the pixels."""
    data, at = b"", 8
    while at + 12 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        if kind == b"IDAT":
            data += content[at + 8 : at + 8 + length]
        at += 12 + length
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", content[16:29])
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour)
    unpacker = zlib.decompressobj()
    if channels is None or interlace:
        return False
    expected = height * (1 + (width * depth * channels + 7) // 8)
    if expected > 500_000_000:
        return False
    try:
        pixels = unpacker.decompress(data, expected + 1)
    except zlib.error:
        return False
    return len(pixels) == expected and unpacker.eof and not unpacker.unused_data
