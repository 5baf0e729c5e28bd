"""What is hidden of a count table, case by case; and that it cannot be found again, by the attacker and by trying everything."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations

import numpy as np
import pandas as pd
import pytest

from orchestration.releases.disclosure_counts import (
    TOTAL,
    CountTable,
    NotACountTable,
    Release,
    movement,
    said,
    tabulate,
)
from orchestration.releases.suppression import CannotProtect, Rules, cliques, primary, suppress
from tests.releases.attacker import Attacker, cells_of
from tests.releases.attacks import Tally, naive, table_set, tried, tried_naively


def one_way(*counts: int, name: str = "t", is_sensitive: bool = True) -> CountTable:
    labels = [f"c{i}" for i in range(len(counts))]
    cells = pd.DataFrame({"class": [*labels, TOTAL], "count": [*counts, sum(counts)]})
    return CountTable(name, ("class",), cells, is_sensitive=is_sensitive)


def two_way(inner: list[list[int]], name: str = "t", row: str = "row", column: str = "column") -> CountTable:
    body = np.array(inner)
    whole = np.block([[body, body.sum(1, keepdims=True)], [body.sum(0, keepdims=True), body.sum(keepdims=True)]])
    rows = [*(f"{row[0]}{i}" for i in range(len(body))), TOTAL]
    columns = [*(f"{column[0]}{i}" for i in range(body.shape[1])), TOTAL]
    cells = [{row: r, column: c, "count": int(whole[i, j])} for i, r in enumerate(rows) for j, c in enumerate(columns)]
    return CountTable(name, (row, column), pd.DataFrame(cells))


def shown(table: CountTable) -> list[int | None]:
    return [None if pd.isna(count) else int(count) for count in table.cells["count"]]


def left(*tables: CountTable, rules: Rules | None = None) -> tuple[CountTable, ...]:
    return suppress(Release("1", tables), (), rules).release.tables


@pytest.mark.parametrize(
    ("counts", "rules"),
    [
        ((40, 30, 9), ["", "", "small", ""]),
        ((40, 30, 10), ["", "", "", ""]),
        ((40, 30, 0), ["", "", "zero", ""]),
        ((0, 70, 0), ["zero", "class", "zero", ""]),
        ((90, 10), ["class", "", ""]),
        ((89, 11), ["", "", ""]),
    ],
)
def test_the_primary_rules_name_small_empty_full_and_dominant_classes(
    counts: tuple[int, ...], rules: list[str]
) -> None:
    assert primary(one_way(*counts), Rules()).tolist() == rules


def test_where_a_class_says_nothing_of_a_person_only_few_people_are_hidden() -> None:
    assert primary(one_way(0, 190, 12, is_sensitive=False), Rules()).tolist() == ["", "", "", ""]
    assert primary(one_way(3, 190, 12, is_sensitive=False), Rules()).tolist() == ["small", "", "", ""]


def test_a_class_is_judged_within_every_group_that_it_is_in() -> None:
    table = two_way([[95, 5], [50, 50]])
    rule = dict(
        zip([tuple(cell) for cell in table.cells[["row", "column"]].to_numpy()], primary(table, Rules()), strict=True)
    )
    assert (rule["r0", "c0"], rule["r0", "c1"], rule["r1", "c1"]) == ("class", "small", "class")  # 50 of the 55 of c1


def test_one_small_count_takes_the_cheapest_other_with_it() -> None:
    assert shown(left(one_way(100, 20, 3))[0]) == [100, None, None, 123]


def test_a_total_that_would_bound_what_is_hidden_goes_too() -> None:
    assert shown(left(one_way(4, 3))[0]) == [None, None, None]


def test_a_table_without_small_counts_leaves_as_it_is() -> None:
    assert shown(left(one_way(40, 30, 20))[0]) == [40, 30, 20, 90]


def test_a_small_count_of_a_two_way_table_takes_a_rectangle_with_it() -> None:
    table = left(two_way([[3, 40, 50], [60, 30, 20], [25, 35, 45]]))[0]
    hidden = [labels for labels, count in cells_of(table) if pd.isna(count)]
    assert len(hidden) == 4 and all(TOTAL not in labels for labels in hidden)
    assert len({row for row, _ in hidden}) == len({column for _, column in hidden}) == 2


def test_that_nearly_everybody_is_in_a_class_stays_uncertain_where_its_count_alone_would_not_give_it_away() -> None:
    """95 of the 100 of r0 are in c0; hidden with r1 alone, they could only be 90 to 100."""
    table, rules = two_way([[95, 5], [10, 5], [60, 40]]), Rules(threshold=5)
    attacker = Attacker([Release("1", left(table, rules=rules))])
    assert not attacker.is_class_certain(0, table, ("r0", "c0"), ("r0", TOTAL), 0.9)
    alone = (
        table.cells["count"]
        .astype("Int64")
        .mask(table.cells["row"].isin(["r0", "r1"]) & (table.cells["column"] != TOTAL))
    )
    weak = Attacker([Release("1", (replace(table, cells=table.cells.assign(count=alone)),))])
    assert weak.is_class_certain(0, table, ("r0", "c0"), ("r0", TOTAL), 0.9)
    assert all(cell.width >= 5 for cell in weak.attack())


def test_the_choice_is_the_cheapest_of_all_that_the_attacker_cannot_break() -> None:
    """Every choice of cells of a 2 x 2 table with margins is tried, from the cheapest up."""
    table, rules = two_way([[4, 30], [25, 41]]), Rules(threshold=10)
    chosen = {i for i, count in enumerate(shown(left(table, rules=rules)[0])) if count is None}
    loss = table.cells["count"].to_numpy() + 1

    def is_safe(hidden: set[int]) -> bool:
        counts = table.cells["count"].astype("Int64").mask([i in hidden for i in range(len(table.cells))])
        attacked = Attacker([Release("1", (replace(table, cells=table.cells.assign(count=counts)),))]).attack()
        return all(cell.width >= rules.threshold for cell in attacked)

    others = [i for i in range(len(table.cells)) if i != 0]
    choices = [{0, *more} for more in chain.from_iterable(combinations(others, size) for size in range(len(others)))]
    cheaper = [one for one in choices if sum(loss[list(one)]) < sum(loss[list(chosen)])]
    assert is_safe(chosen) and cheaper
    assert not any(is_safe(one) for one in cheaper)


def test_the_same_count_in_two_tables_is_hidden_in_both() -> None:
    inner = two_way([[3, 40], [60, 30]], "inner")
    margin = CountTable("margin", ("row",), pd.DataFrame({"row": ["r0", "r1", TOTAL], "count": [43, 90, 133]}))
    first, second = left(inner, margin)
    of_rows = {labels[0]: count for labels, count in cells_of(first) if labels[1] == TOTAL}
    assert {label: pd.isna(count) for label, count in of_rows.items()} == {
        labels[0]: pd.isna(count) for labels, count in cells_of(second)
    }


def test_a_hidden_count_of_last_year_is_not_given_away_this_year() -> None:
    rules = Rules(difference=1)
    first = suppress(Release("1", (one_way(100, 20, 3),)), (), rules)
    bands = {"people": said(0, 10)}
    second = suppress(Release("2", (one_way(100, 24, 12),), {"people": said(13, 10)}, bands), [first.release], rules)
    found = Attacker([first.release, second.release]).attack()
    assert found and all(cell.width >= 10 for cell in found)


def test_what_moved_by_a_few_people_is_not_shown_again_and_what_stayed_is() -> None:
    first = suppress(Release("1", (one_way(100, 40, 30),)))
    second = suppress(Release("2", (one_way(100, 42, 45),), {"people": (10, 19)}, {"people": (0, 9)}), [first.release])
    assert shown(second.release.tables[0])[:2] == [100, None]
    assert second.hidden.set_index("rule").loc["difference", "cells"] == 1


def test_a_number_that_is_public_anyway_is_shown_and_cannot_protect() -> None:
    cells = one_way(6, 2).cells.assign(known=[False, False, True])
    with pytest.raises(CannotProtect, match="coarsen"):
        left(replace(one_way(6, 2), cells=cells))


def test_tables_that_contradict_each_other_are_refused_without_a_number() -> None:
    other = CountTable("other", ("class",), one_way(41, 30, 9).cells)
    with pytest.raises(NotACountTable, match="differently") as refused:
        left(one_way(40, 30, 9), other)
    assert not any(digit in str(refused.value) for digit in "4139")


def test_the_order_of_rows_decides_nothing() -> None:
    inner = two_way([[3, 40, 22], [60, 30, 7]])
    mixed = replace(inner, cells=inner.cells.sample(frac=1, random_state=3))
    whole = {table.name: dict(cells_of(table)) for table in left(inner)}
    again = {table.name: dict(cells_of(table)) for table in left(mixed)}
    assert str(sorted(whole["t"].items())) == str(sorted(again["t"].items()))


def test_joint_counts_are_not_needed_where_tables_form_a_tree() -> None:
    a, b, c = "abc"
    assert cliques([frozenset((a, b)), frozenset((b, c))])[0] == [frozenset((a, b)), frozenset((b, c))]
    assert cliques([frozenset((a, b)), frozenset((b, c)), frozenset((a, c))])[0] == [frozenset((a, b, c))]


def test_release_notes_say_bands_and_whoever_changed_class_left_and_entered() -> None:
    assert [said(count, 10) for count in (0, 9, 10, 27)] == [(0, 9), (0, 9), (10, 19), (20, 29)]
    before = pd.DataFrame({"id": [1, 2, 3], "a": ["x", "y", "y"]})
    after = pd.DataFrame({"id": [2, 3, 4], "a": ["y", "x", "y"]})
    assert movement(before, after, "id", ["a"]) == (2, 2)


def test_all_margins_and_named_classes_are_counted() -> None:
    people = pd.DataFrame({"a": ["x", "x", "y"], "b": ["u", "v", None]})
    counts = dict(cells_of(tabulate(people, ("a", "b"), "t", categories={"a": ["z"]})))
    assert (counts["x", TOTAL], counts["y", "unknown"], counts["z", TOTAL], counts[TOTAL, TOTAL]) == (2, 1, 0, 3)


@pytest.mark.parametrize("number", [0, 1, 4, 6, 8, 11, 13, 15, 20, 22, 26, 28])  # of the 200 of `make proof`
def test_nothing_hidden_is_found_again_over_tables_and_releases(number: int) -> None:
    tally = Tally()
    tried(table_set(number), tally)
    assert (tally.recovered, tally.narrow, tally.certain, tally.shown_small) == (0, 0, 0, 0)
    assert tally.cells


def test_the_same_attacker_breaks_tables_that_hide_small_cells_only() -> None:
    tally = Tally()
    for number in (1, 3, 5, 6):
        tried_naively(table_set(number), tally)
    assert tally.naive_tried and tally.naive_broken >= tally.naive_tried / 2


def test_the_attacker_subtracts_totals_that_were_counted_again_without_the_hidden_cells() -> None:
    """The margins of the cells that are left tell nothing by themselves; beside a one-way table of the same people they do."""
    table, rules = two_way([[3, 20], [22, 60]]), Rules()
    hidden = naive(Release("1", (table,)), rules).tables[0]
    inner = replace(hidden, cells=hidden.cells[(hidden.cells["row"] != TOTAL) & (hidden.cells["column"] != TOTAL)])
    margin = CountTable("row", ("row",), pd.DataFrame({"row": ["r0", "r1"], "count": [23, 82]}))
    assert [cell.is_recovered for cell in Attacker([Release("1", (inner, margin))]).attack()] == [True]


def test_the_attacker_finds_a_hidden_count_from_the_release_after() -> None:
    first = Release("1", (replace(one_way(3, 20), cells=one_way(3, 20).cells.assign(count=[pd.NA, 20, pd.NA])),))
    second = Release("2", (one_way(3, 20),), {"people": (0, 0)}, {"people": (0, 0)})
    assert all(cell.is_recovered for cell in Attacker([first, second]).attack())
    banded = replace(second, entered={"people": (0, 2)}, left={"people": (0, 2)})
    assert {cell.width for cell in Attacker([first, banded]).attack()} <= {2, 3, 4, 5}
