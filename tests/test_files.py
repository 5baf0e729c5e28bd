"""Writing so that a reader never sees half of it, and hashes by which content is named."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import random
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration import hashing
from orchestration.files import folder_by_rename, swap_link, write_atomically, write_json
from orchestration.hashing import code_hash, combined_hash, content_hash, sha256_file


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    final = tmp_path / "store" / "one"
    with pytest.raises(ValueError, match="on purpose"), folder_by_rename(final) as aside:
        (aside / "half").write_text("x")
        assert not final.exists()
        raise ValueError("on purpose")
    assert list(final.parent.iterdir()) == []
    with folder_by_rename(final) as aside:
        (aside / "whole").write_text("x")
        assert not final.exists()
    assert [path.name for path in final.parent.iterdir()] == ["one"]
    assert (final / "whole").read_text() == "x"


def test_a_folder_that_is_there_already_stays_as_it_was(tmp_path: Path) -> None:
    final = tmp_path / "one"
    for content in ("first", "second"):
        with folder_by_rename(final) as aside:
            (aside / "file").write_text(content)
    assert (final / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"first")

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"second")
    assert path.read_bytes() == b"first"


def test_json_is_written_the_same_whatever_the_order_of_its_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": "cliënt"})
    write_json(tmp_path / "b", {"a": "cliënt", "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "cliënt" in (tmp_path / "a").read_text(encoding="utf-8")


def test_a_link_is_swapped_while_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "current"
    swap_link(link, "one")
    monkeypatch.setattr(Path, "unlink", lambda *_: pytest.fail("a link that is taken away is not there for a moment"))
    swap_link(link, "two")
    assert str(link.readlink()) == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["current"]


# hashes --------------------------------------------------------------------------------------------------------------
_ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.sampled_from(["", "a", "b", 'a"b', "a,b", "a\nb"])),
        st.one_of(st.none(), st.integers(-3, 3)),
        st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda x: x + 0.0)),
    ),
    max_size=12,
)


def _table(rows: list[tuple[object, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return pa.table(
        {
            "a": pa.array(columns[0], pa.string()),
            "b": pa.array(columns[1], pa.int64()),
            "c": pa.array(columns[2], pa.float64()),
        }
    )


@settings(max_examples=100, deadline=None)
@given(_ROWS, st.randoms(use_true_random=False), st.integers(1, 12))
def test_the_order_of_rows_and_the_way_they_are_stored_change_no_hash(
    rows: list[tuple[object, ...]], order: random.Random, cut: int
) -> None:
    shuffled = rows[:]
    order.shuffle(shuffled)
    parts = pa.concat_tables([_table(shuffled[:cut]), _table(shuffled[cut:])])
    assert content_hash(parts) == content_hash(_table(rows))


_COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[object]]] = {
    "text": (pa.string(), st.sampled_from(["", "a", "b", 'a"b', '"', "a,b", "a\nb", "\u00e9", "\U0001f9ee", "Z", "None"])),
    "small": (pa.int32(), st.integers(-2, 2)),
    "whole": (pa.int64(), st.sampled_from([-(2**63), 2**63 - 1, 0, 7])),
    "unsigned": (pa.uint64(), st.sampled_from([0, 2**64 - 1, 5])),
    "decimal": (pa.float64(), st.sampled_from([math.nan, -math.nan, 0.0, -0.0, 0.1 + 0.2, 0.3, -1e300, math.inf, -math.inf])),
    "is": (pa.bool_(), st.booleans()),
    "on": (pa.date32(), st.dates(date(1899, 1, 1), date(2100, 1, 1))),
    "at": (pa.timestamp("us"), st.datetimes(datetime(2000, 1, 1), datetime(2000, 1, 3))),
}  # fmt: skip


@st.composite
def _tables(draw: st.DrawFn) -> pa.Table:
    """Rows with many ties and gaps, in any order, of columns of all kinds in any order."""
    names = draw(st.permutations(list(_COLUMNS)))[: draw(st.integers(1, 5))]
    n = draw(st.integers(1, 40))
    cells = {}
    for name in names:
        kind, values = _COLUMNS[name]
        few = draw(st.lists(st.one_of(st.none(), values), min_size=1, max_size=6))
        cells[name] = pa.array(draw(st.lists(st.sampled_from(few), min_size=n, max_size=n)), kind)
    return pa.table(cells)


def _plainly(table: pa.Table) -> str:
    """The content hash as it is defined: the rows sorted by all columns, as text."""
    schema = json.dumps([[field.name, str(field.type)] for field in table.schema]).encode()
    text = io.BytesIO()
    pacsv.write_csv(
        table.sort_by([(name, "ascending") for name in table.column_names]), text, pacsv.WriteOptions(include_header=False)
    )  # fmt: skip
    return hashlib.sha256(schema + text.getvalue()).hexdigest()


def _in_a_dictionary(table: pa.Table, cut: int) -> pa.Table:
    """The same table in two parts, the text of each in a dictionary of its own."""
    coded = [(field.name, pa.dictionary(pa.int32(), pa.string()) if field.name == "text" else field.type) for field in table.schema]  # fmt: skip
    return pa.concat_tables([part.cast(pa.schema(coded)) for part in (table[:cut], table[cut:])])


@pytest.mark.parametrize("room", ["as it is", "next to none"])
def test_the_hash_is_that_of_the_sorted_rows_as_text(room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if room == "next to none":
        for name, value in {"SLICE": 7, "LARGEST": 60, "FEW": 2, "LONGEST": 0}.items():
            monkeypatch.setattr(hashing, name, value)

    @settings(max_examples=120, deadline=None, derandomize=True, database=None)
    @given(table=_tables(), cut=st.integers(0, 40))
    def holds(table: pa.Table, cut: int) -> None:
        ordered = table.sort_by([(name, "ascending") for name in table.column_names])
        assert hashing.is_in_order(ordered)
        assert content_hash(table) == content_hash(ordered) == _plainly(table)
        assert content_hash(_in_a_dictionary(table, cut)) == _plainly(table)
        if not hashing.is_in_order(table):
            assert hashing._order(table.columns).tolist() == pc.sort_indices(table, [(name, "ascending") for name in table.column_names]).to_pylist()  # fmt: skip

    holds()


WORDS = ["aaaaaaaa", "aaaaaaab", "baaaaaaa", "é" * 4, "zzzzzz\x7f\x7f"]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    texts=st.lists(st.tuples(*[st.sampled_from(WORDS)] * 3).map("".join), min_size=1, max_size=12),
    cut=st.integers(0, 11),
)
def test_texts_of_one_length_have_the_rank_that_arrow_gives_them(texts: list[str], cut: int) -> None:
    values = pa.array(texts).slice(min(cut, len(texts) - 1))
    assert hashing._dense_ranks(values).tolist() == pc.rank(values, tiebreaker="dense").to_pylist()


_NOISE = random.Random(4)
_HARD = {
    "zeros of both signs are tied": pa.table({"a": [0.0, -0.0, 0.0, -0.0], "b": [4, 3, 2, 1]}),
    "so are all that are no numbers": pa.table({"a": [-math.nan, math.nan, math.nan, -math.nan], "b": [4, 3, 2, 1]}),
    "what is no number comes after the numbers": pa.table({"a": [math.nan, 1.0]}),
    "only the parts are out of order": pa.concat_tables([pa.table({"a": [1, 3]}), pa.table({"a": [2, 4]})]),
    "parts that are empty": pa.concat_tables([pa.table({"a": [3]}), pa.table({"a": pa.array([], pa.int64())}), pa.table({"a": [1]})]),
    "more columns than one number holds": pa.table(
        {str(place): [_NOISE.choice([0, 1, 1 if place < 4 else 60_000]) for _ in range(2_000)] for place in range(12)}
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", _HARD)
def test_the_hash_is_that_of_the_sorted_rows_where_it_is_hard(case: str) -> None:
    assert content_hash(_HARD[case]) == _plainly(_HARD[case])


def test_text_that_is_missing_in_a_dictionary_is_missing() -> None:
    places = pa.array([0, 1, None, 1, 2, 0, None], pa.int32())
    coded = pa.DictionaryArray.from_arrays(places, pa.array(["b", None, "a"]))
    other = list(range(7, 0, -1))
    plain = pa.table({"a": ["b", None, None, None, "a", "b", None], "b": other})
    assert content_hash(pa.table({"a": coded, "b": other})) == _plainly(plain)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(table=_tables(), cut=st.integers(1, 40))
def test_what_is_in_order_is_known_to_be_and_nothing_else_however_it_is_cut(table: pa.Table, cut: int) -> None:
    by = [(name, "ascending") for name in table.column_names]
    order = pc.sort_indices(table, by).to_pylist()
    parts = pa.concat_tables([table[:cut], table[cut:]])
    assert hashing.is_in_order(table) == hashing.is_in_order(parts) == (order == list(range(table.num_rows)))


BASE = {"a": pa.array(["x", None]), "b": pa.array([1, 2])}


@pytest.mark.parametrize(
    "other",
    [
        {"a": pa.array(["x", ""]), "b": pa.array([1, 2])},
        {"a": pa.array(["x", "None"]), "b": pa.array([1, 2])},
        {"a": pa.array(["x", None]), "b": pa.array([2, 1])},
        {"a": pa.array(["x", None]), "b": pa.array([1, None])},
        {"a": pa.array(["x", None]), "b": pa.array([1, 2], pa.int32())},
        {"a": pa.array(["x", None]), "b": pa.array([1.0, 2.0])},
        {"a": pa.array(["x", None]), "b": pa.array(["1", "2"])},
        {"a": pa.array(["x", None]), "c": pa.array([1, 2])},
        {"a": pa.array(["x", None, None]), "b": pa.array([1, 2, 2])},
        {"a": pa.array(["x"]), "b": pa.array([1])},
    ],
)
def test_a_changed_value_name_type_or_row_is_another_hash(other: dict[str, pa.Array]) -> None:
    assert content_hash(pa.table(other)) != content_hash(pa.table(BASE))


def test_a_double_is_hashed_to_its_last_bit() -> None:
    assert content_hash(pa.table({"a": [0.1 + 0.2]})) != content_hash(pa.table({"a": [0.3]}))


def test_an_empty_table_is_named_by_its_columns() -> None:
    empty = {name: column[:0] for name, column in BASE.items()}
    assert content_hash(pa.table(empty)) != content_hash(pa.table({"a": empty["a"]}))


def test_named_parts_are_combined_whatever_their_order_and_without_running_together() -> None:
    assert combined_hash({"a": "1", "b": "2"}) == combined_hash({"b": "2", "a": "1"})
    assert combined_hash({"a": "1", "b": "2"}) != combined_hash({"a": "2", "b": "1"})
    assert combined_hash({"a": "1b", "c": "2"}) != combined_hash({"a": "1", "bc": "2"})


def test_code_is_named_by_paths_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("select 1")
    first = code_hash([tmp_path / "a.sql"], tmp_path)
    assert first == combined_hash({"a.sql": sha256_file(tmp_path / "a.sql")})
    (tmp_path / "a.sql").write_text("select 2")
    assert code_hash([tmp_path / "a.sql"], tmp_path) != first
    (tmp_path / "a.sql").write_text("select 1")
    (tmp_path / "a.sql").rename(tmp_path / "b.sql")
    assert code_hash([tmp_path / "b.sql"], tmp_path) != first
