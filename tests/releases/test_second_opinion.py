"""The same tables through `acro`: where it hides other cells than we do, named with the reason."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pandas as pd
import pytest

from orchestration.releases.disclosure_counts import TOTAL, CountTable, Release, tabulate
from orchestration.releases.suppression import suppress
from tests.releases.attacker import Attacker, cells_of

CASES = {  # people by class of a and of b
    "nothing small": {("x", "u"): 30, ("x", "v"): 20, ("y", "u"): 22, ("y", "v"): 60},
    "one small": {("x", "u"): 3, ("x", "v"): 20, ("y", "u"): 22, ("y", "v"): 60},
    "two small in a row": {("x", "u"): 7, ("x", "v"): 9, ("y", "u"): 22, ("y", "v"): 60},
    "one class nearly everybody": {("x", "u"): 97, ("x", "v"): 10, ("y", "u"): 22, ("y", "v"): 60},
}
SECONDARY = "acro hides no second cell: the total less the others is the first"
DOMINANCE = "acro asks for dominance of magnitudes, not whether a class is nearly everybody of a group"
# Where we hide an inner cell and acro does not. There is none the other way round.
DISAGREEMENTS = {
    ("one small", "x", "v"): SECONDARY,
    ("one small", "y", "u"): SECONDARY,
    ("one small", "y", "v"): SECONDARY,
    ("two small in a row", "y", "u"): SECONDARY,
    ("two small in a row", "y", "v"): SECONDARY,
    ("one class nearly everybody", "x", "u"): DOMINANCE,
    ("one class nearly everybody", "x", "v"): SECONDARY,
    ("one class nearly everybody", "y", "u"): SECONDARY,
    ("one class nearly everybody", "y", "v"): SECONDARY,
}


def people(case: str) -> pd.DataFrame:
    rows = [{"a": a, "b": b} for (a, b), count in CASES[case].items() for _ in range(count)]
    return pd.DataFrame(rows).assign(c=["p", "q"] * (len(rows) // 2) + ["p"] * (len(rows) % 2))


pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:\\nA value is trying")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """An acro session that hides, in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.chdir(tmp_path_factory.mktemp("acro"))
        from acro import ACRO

        yield ACRO(suppress=True)


def theirs(asked: object, case: str, columns: str = "b") -> CountTable:
    """What acro would let out, margins included, as a released table; a cell that it leaves out or blank is hidden."""
    data = people(case)
    table = asked.crosstab(data["a"], data[columns], margins=True, show_suppressed=True)  # type: ignore[attr-defined]
    long = (
        table.rename(index={"All": TOTAL}, columns={"All": TOTAL})
        .rename_axis(index="a", columns=columns)
        .stack(future_stack=True)
    )
    cells = long.rename("count").reset_index().astype({"count": "Int64"})
    return CountTable(f"a by {columns}", ("a", columns), cells)


def hidden(table: CountTable) -> set[tuple[str, ...]]:
    return {labels for labels, count in cells_of(table) if pd.isna(count) and TOTAL not in labels}


def test_every_disagreement_with_acro_is_known_by_name_and_reason(asked: object) -> None:
    only_ours, only_theirs = set(), set()
    for case in CASES:
        ours = hidden(suppress(Release("1", (tabulate(people(case), ("a", "b"), "t"),))).release.tables[0])
        others = hidden(theirs(asked, case))
        only_ours |= {(case, *cell) for cell in ours - others}
        only_theirs |= {(case, *cell) for cell in others - ours}
    assert only_ours == set(DISAGREEMENTS)
    assert only_theirs == set()


def test_totals_that_acro_counts_again_and_a_table_beside_them_give_the_hidden_count_away(asked: object) -> None:
    first = theirs(asked, "one small")
    inner = CountTable("inner", ("a", "b"), first.cells[(first.cells["a"] != TOTAL) & (first.cells["b"] != TOTAL)])
    beside = theirs(asked, "one small", "c")
    assert hidden(inner) == {("x", "u")}
    assert [cell.is_recovered for cell in Attacker([Release("1", (inner, beside))]).attack()] == [True]


def test_ours_of_the_same_two_tables_do_not() -> None:
    data = people("one small")
    tables = (tabulate(data, ("a", "b"), "a by b"), tabulate(data, ("a", "c"), "a by c"))
    found = Attacker([suppress(Release("1", tables)).release]).attack()
    assert found and all(cell.width >= 10 for cell in found)
