"""Every rule that the code can name has words in both languages, and no words are left without a rule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestration import deliveries
from orchestration.deliveries.contracts import RULE_KINDS
from orchestration.deliveries.judgement import Judgement, Status, messages
from orchestration.deliveries.letter import finding

ROOMS = Path(deliveries.__file__).parents[1]
_CODE = re.compile(
    r"""["']((?:archive|correction|history|manifest|file|table|column|value|key|rule|relation|rows|platform)\.[a-z_]+)["']"""
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
