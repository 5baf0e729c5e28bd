"""Writing so that a reader never sees half of it, and hashes by which content is named."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pyarrow as pa
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


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(rows=st.lists(st.tuples(st.sampled_from([None, 1, 2]), st.sampled_from([None, "a", "\u00e9", "Z"]), st.sampled_from([None, -0.5, 2.0])), max_size=6))  # fmt: skip
def test_what_is_in_order_already_is_known_to_be_and_nothing_else(
    rows: list[tuple[int | None, str | None, float | None]],
) -> None:
    given_rows = pa.table({name: pa.array([row[place] for row in rows], kind) for place, (name, kind) in enumerate([("a", pa.int64()), ("b", pa.string()), ("c", pa.float64())])})  # fmt: skip
    ordered = given_rows.sort_by([(name, "ascending") for name in given_rows.column_names])
    assert hashing._is_in_order(ordered)
    assert hashing._is_in_order(given_rows) == given_rows.equals(ordered)
    assert content_hash(given_rows) == content_hash(ordered)


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
