"""Every rule that the code can name has words in both languages, and no words are left without a rule."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration import deliveries
from orchestration.deliveries.contracts import RULE_KINDS
from orchestration.deliveries.judgement import Judgement, Status, expected_in, messages
from orchestration.deliveries.letter import finding

ROOMS = Path(deliveries.__file__).parents[1]
_CODE = re.compile(
    r"""["']((?:archive|correction|drift|history|manifest|file|table|column|value|key|rule|relation|rows|platform)\.[a-z_]+)["']"""
)
_NO_RULES = {"manifest.json"}


def _codes_in_the_source() -> set[str]:
    sources = [*(ROOMS / "deliveries").glob("*.py"), *(ROOMS / "warehouse").glob("*.py")]
    found = {code for path in sources for code in _CODE.findall(path.read_text(encoding="utf-8"))}
    return (found | {f"rule.{kind}" for kind in RULE_KINDS}) - _NO_RULES


def test_every_rule_that_the_code_can_name_has_words_and_the_reverse() -> None:
    assert _codes_in_the_source() == set(messages())


@pytest.mark.parametrize("rule", sorted(messages()))
def test_a_rule_says_what_is_wrong_and_what_to_do_in_dutch_and_in_english(rule: str) -> None:
    texts = messages()[rule]
    assert set(texts) == {"nl", "en"}
    for text in texts.values():
        assert set(text) == {"what", "do"}
        assert all(isinstance(words, str) and words.endswith(".") and len(words) > 10 for words in text.values())
    assert texts["nl"]["what"] != texts["en"]["what"]
    for language in ("nl", "en"):
        assert texts[language]["what"] in finding(Judgement(rule, Status.FAILED), language)


def test_a_finding_says_where_how_many_what_was_expected_and_what_to_do() -> None:
    judgement = Judgement(
        "value.code", Status.FAILED, table="clients", column="Geslacht", evaluated=40, failed=2, rows=(3, 7), expected="2 agreed codes"
    )  # fmt: skip
    assert finding(judgement, "en").splitlines() == [
        "[value.code] A code is not in the agreed list.",
        "  where: clients, Geslacht",
        "  how many: 2 of 40",
        "  first row numbers: 3, 7",
        "  expected: 2 agreed codes",
        "  what to do: Use an agreed code or ask for the list to be extended.",
    ]
    assert "waar: clients, Geslacht" in finding(judgement, "nl")


ENGLISH = re.compile(
    r"\b(the|at|most|least|rows?|columns?|files?|cells?|with|without|and|each|no|not|parts?|lines?|names?|changed|number|whole|text|date|"
    r"agreed|packed|about|entry|swapped|moved|answers?|once|than|that|as|a|an)\b"
)


def _texts(node: ast.AST) -> Iterator[str]:
    """The texts in an expression, with a number in the place of each value."""
    if isinstance(node, ast.JoinedStr):
        texts = [item.value if isinstance(item, ast.Constant) else "7" for item in node.values]
        yield "".join(map(str, texts)).replace("77", "7")
    elif isinstance(node, ast.Constant):
        yield str(node.value)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)


def _expectations() -> Iterator[str]:
    """Whatever the code can say that it expected."""
    for path in (ROOMS / "deliveries").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "expected":
                yield from _texts(node.value)


def test_what_was_expected_is_said_in_dutch_too() -> None:
    found = {text for text in _expectations() if ENGLISH.search(text)}
    assert len(found) > 25
    left = {text: expected_in(text, "nl") for text in found if ENGLISH.search(expected_in(text, "nl"))}
    assert left == {}
    assert expected_in("at most 2% of 300 rows", "nl") == "hoogstens 2% van 300 rijen"
    assert expected_in("at most 2% of 300 rows", "en") == "at most 2% of 300 rows"
