"""Hostile public folders: each file is refused by the rule that it breaks, whatever it is called. And what may leave does."""

from __future__ import annotations

import base64
import gzip
import io
import json
import pickle
import sqlite3
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.releases.disclosure import PASS, REFUSED
from orchestration.releases.disclosure_scan import Allowed, Secrets, may_leave, scan_folder

PSEUDONYM = "0123456789abcdef" * 2
DURATIONS = (412.0, 87.0, 1209.0, 33.0, 640.0, 296.0, 71.0)
SECRETS = Secrets(frozenset({"client-canary"}), DURATIONS)
ALLOWED = Allowed(
    columns={
        "t.csv": ("term", "n", "estimate", "month", "survival", "at_risk", "client_id", "duration_days", "age_min"),
        "t.parquet": ("term", "n"),
    },
    dates=frozenset({"2026-03-01"}),
)


def png(*more: tuple[bytes, bytes], after: bytes = b"", behind: bytes = b"") -> bytes:
    """A picture of one grey pixel, with further chunks, bytes after its end or packed behind its pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)), *more, (b"IDAT", zlib.compress(b"\0\x80") + behind), (b"IEND", b""),
    ]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts) + after


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.rds", "x")
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    return buffer.getvalue()


def parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def page(body: str) -> bytes:
    return f"<!DOCTYPE html><title>t</title>{body}".encode()


def database() -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("create table t (x)")
        return connection.serialize()


HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "a pickle": ("fit.pkl", pickle.dumps({"a": 1}), "program"),
    "a pickle called a table": ("t.csv", pickle.dumps([1.0]), "program"),
    "an old pickle": ("fit.txt", pickle.dumps(DURATIONS, protocol=0), "program"),
    "an R object": ("t.rds", gzip.compress(b"X\n\0\0\0\2"), "archive"),
    "R data without compression": ("t.RData", b"RDX3\nX\n\0\0\0\3", "program"),
    "an SPSS file": ("t.sav", b"$FL2@(#) SPSS DATA FILE", "program"),
    "a zip called text": ("t.txt", zipped(), "archive"),
    "a tar": ("t.tar", tarred(), "archive"),
    "HDF5": ("t.h5", b"\x89HDF\r\n\x1a\n", "program"),
    "a database": ("t.db", database(), "program"),
    "an unknown kind": ("t.xyz", b"hello", "unknown"),
    "a drawing": ("t.svg", b"<svg xmlns='x'><path d='M0 1'/></svg>", "unknown"),
    "a drawing called a page": ("t.html", page("<svg><path d='M0 1'/></svg>"), "vector"),
    "a page with a script": ("t.html", page("<script>fetch('x')</script>"), "script"),
    "a page that fetches": ("t.html", page("<img src='https://example.org/x.png'>"), "script"),
    "a page with a file inside": ("t.html", page("<a href='data:application/zip;base64,UEsDBA=='>x</a>"), "image"),
    "a page with a picture that says more": (
        "t.html", page(f"<img src='data:image/png;base64,{base64.b64encode(png((b'tEXt', b'Comment' + bytes(1) + b'x'))).decode()}'>"), "image",
    ),
    "a picture with a comment": ("t.png", png((b"tEXt", b"Comment\0rows")), "image"),
    "a picture with a private chunk": ("t.png", png((b"prVt", b"rows")), "image"),
    "a picture with bytes after its end": ("t.png", png(after=b"rows"), "image"),
    "a picture with data behind its pixels": ("t.png", png(behind=b"rows"), "image"),
    "a table called a picture": ("t.png", b"term,n\na,20\n", "unknown"),
    "a pseudonym in text": ("t.md", f"client {PSEUDONYM}".encode(), "identifier"),
    "a pseudonym in a name": (f"{PSEUDONYM}.md", b"fine", "identifier"),
    "a national number": ("t.md", b"number 111222333", "identifier"),
    "an identifier of the zone": ("t.json", b'{"note": "client-canary"}', "identifier"),
    "a column of identifiers": ("t.csv", b"client_id,n\na,20\n", "identifier"),
    "a column of durations": ("t.csv", b"duration_days,n\n412,20\n", "person"),
    "durations in their order": ("t.json", json.dumps({"x": DURATIONS}).encode(), "duration"),
    "durations as numbers": ("t.md", b"x" + np.array(DURATIONS).tobytes(), "duration"),
    "a date": ("t.md", b"offence on 2024-05-17", "date"),
    "a month": ("t.md", b"offence in 2024-05", "date"),
    "a Dutch date": ("t.md", b"17-05-2024", "date"),
    "a small count": ("t.csv", b"term,n\na,9\n", "small"),
    "a small count in JSON": ("t.json", b'[{"events": 3}]', "small"),
    "a smallest value": ("t.csv", b"age_min,n\n18,20\n", "extreme"),
    "a column that nobody vouched for": ("t.csv", b"term,shoe_size\na,20\n", "columns"),
    "a table that nobody vouched for": ("u.csv", b"term,n\na,20\n", "columns"),
    "a row per person as Parquet": ("t.parquet", parquet(pd.DataFrame({"client_id": ["a"], "n": [20]})), "identifier"),
    "dates as Parquet": ("t.parquet", parquet(pd.DataFrame({"term": pd.to_datetime(["2024-05-17"]), "n": [20]})), "date"),
    "a curve of small steps": ("t.csv", b"month,survival,n,at_risk\n0,1.0,100,100\n1,0.99,100,95\n2,0.8,100,80\n", "steps"),
    "text in another encoding": ("t.txt", "caf\xe9".encode("latin-1"), "encoding"),
}  # fmt: skip
HARMLESS = {
    "t.csv": b"term,n,estimate\ntrust,195,-0.2\n",
    "t.parquet": parquet(pd.DataFrame({"term": ["trust"], "n": [195]})),
    "t.png": png((b"tEXt", b"Title\0Forest plot")),
    "t.html": page(f"<p>2026-03-01, 2022-Q1</p><img src='data:image/png;base64,{base64.b64encode(png()).decode()}'>"),
    "t.json": b'{"n": 195, "client": {"description": "one row per client"}}',
    "t.md": b"Quarter 2022-Q1; registry as of 2026-03-01.",
}


def in_folder(folder: Path, name: str, content: bytes) -> pd.Series:
    (folder / name).write_bytes(content)
    return scan_folder(folder, ALLOWED, SECRETS).iloc[0]


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_by_its_rule(case: str, tmp_path: Path) -> None:
    name, content, rule = HOSTILE[case]
    found = in_folder(tmp_path, name, content)
    assert found["verdict"] == REFUSED
    assert rule in found["rule"].split()


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_file_leaves(name: str, tmp_path: Path) -> None:
    found = in_folder(tmp_path, name, HARMLESS[name])
    assert (found["rule"], found["verdict"]) == ("", PASS)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zone.csv").write_bytes(b"secret")
    public = tmp_path / "public"
    public.mkdir()
    (public / "t.csv").symlink_to(tmp_path / "zone.csv")
    assert scan_folder(public)["rule"].tolist() == ["link"]


def test_one_refused_file_holds_the_folder_and_an_empty_folder_is_no_release(tmp_path: Path) -> None:
    assert not may_leave(scan_folder(tmp_path))
    assert may_leave(scan_folder_with(tmp_path, "t.md", b"fine"))
    assert not may_leave(scan_folder_with(tmp_path, "u.md", PSEUDONYM.encode()))


def scan_folder_with(folder: Path, name: str, content: bytes) -> pd.DataFrame:
    (folder / name).write_bytes(content)
    return scan_folder(folder, ALLOWED, SECRETS)


def test_synthetic_rows_may_look_like_people_and_hold_no_real_one(tmp_path: Path) -> None:
    allowed = Allowed(synthetic=frozenset({"twin.csv"}))
    (tmp_path / "twin.csv").write_bytes(b"client_id,days\ns1,20\ns2,31\n")
    assert may_leave(scan_folder(tmp_path, allowed, SECRETS))
    (tmp_path / "twin.csv").write_bytes(b"client_id,days\nclient-canary,20\n")
    assert not may_leave(scan_folder(tmp_path, allowed, SECRETS))


def test_no_verdict_repeats_what_it_found(tmp_path: Path) -> None:
    for number, (name, content, _) in enumerate(HOSTILE.values()):
        where = tmp_path / str(number)
        where.mkdir()
        (where / name).write_bytes(content)
    said = scan_folder(tmp_path, ALLOWED, SECRETS).to_csv()
    assert not any(value in said for value in (PSEUDONYM, "111222333", "client-canary", "2024-05-17", "412"))


@pytest.mark.parametrize("make", [lambda d: d, lambda d: d.astype("<i4"), lambda d: d.astype(">f8")])
def test_durations_are_found_in_any_form_of_number(make: Callable[[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    found = in_folder(tmp_path, "t.parquet", b"PAR1" + make(np.array(DURATIONS)).tobytes())
    assert "duration" in found["rule"]
