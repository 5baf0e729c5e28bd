"""Model cards and checklists of a release: all that the platform knows is filled in, and in public only from what was judged."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from orchestration.analysis.fit import recovery_badge
from orchestration.analysis.showing.checklists import AUTHOR, filled, read_checklists, unfilled
from orchestration.analysis.showing.facts import facts
from orchestration.analysis.showing.report import outcome_labels, source_of
from orchestration.releases.cards import CARDS_DATA, NEEDED, judged_tables, public_pages, zone_pages
from orchestration.releases.disclosure import Judged
from orchestration.releases.disclosure_scan import Allowed, Secrets, may_leave, scan_folder
from orchestration.settings import Settings
from tests.releases.conftest import small_specification

VERSION = {"version_id": "0f0f", "simulated": True, "registry_cutoff_on": "2025-12-31"}
MANIFEST: Mapping[str, Any] = {
    "fit_id": "0e0e", "imputations": 2, "models_hash": "a" * 16, "code_hash": "b" * 16, "packages": {"numpy": "2"},
    "engines_agree": True, "benchmark_agrees": True,
}  # fmt: skip


def definitions() -> pd.DataFrame:
    """The outcome definitions as the code has them."""
    return pd.read_csv(Settings().dbt_project / "seeds" / "outcome.csv")


@pytest.fixture(scope="module")
def leaving(judged: Judged) -> dict[str, bytes]:
    return public_pages(judged.frames, MANIFEST, VERSION, definitions(), small_specification(), 10)


def test_every_item_that_the_platform_knows_is_filled_from_what_was_judged_and_the_others_are_the_authors(
    judged: Judged,
) -> None:
    tables, spec = judged_tables(judged.frames, definitions()), small_specification()
    if not len(tables["baseline"]):  # no rule lets Table 1 out of this fit
        tables["baseline"] = pd.DataFrame({"outcome_id": ["general_landmark"]})
    source = source_of(MANIFEST, VERSION, "0e0e", 10)
    outcomes = outcome_labels(tables["absolute_risk"])
    known = facts(tables, MANIFEST, spec, outcomes, recovery_badge(), source)
    for checklist in read_checklists():
        assert unfilled(checklist, known) == [], checklist.name
        assert {filled(item, known) for item in checklist.items if not item.known} == {AUTHOR}


def test_the_pages_of_a_release_hold_a_card_for_each_model_and_both_checklists(
    fit_tables: Mapping[str, pd.DataFrame], leaving: dict[str, bytes]
) -> None:
    zone = zone_pages(fit_tables, MANIFEST, VERSION, small_specification(), 10)
    assert set(zone) == set(leaving) == {"model-cards.html", "checklists.html", CARDS_DATA}
    models = {name for name in fit_tables["estimates"]["model_id"] if not name.endswith(".split")}
    assert {card["model_id"] for card in json.loads(zone[CARDS_DATA])["cards"]} == models
    assert all("SIMULATED" in page.decode() for name, page in zone.items() if name.endswith(".html"))
    assert b"TRIPOD+AI" in zone["checklists.html"]
    assert b"STROBE" in zone["checklists.html"]


def test_a_model_that_did_not_leave_has_no_card_in_public(judged: Judged) -> None:
    one = judged.frames["estimates"]["model_id"].iloc[0]
    fewer = {**judged.frames, "estimates": judged.frames["estimates"].query("model_id != @one")}
    pages = public_pages(fewer, MANIFEST, VERSION, definitions(), small_specification(), 10)
    assert one not in {card["model_id"] for card in json.loads(pages[CARDS_DATA])["cards"]}
    assert one.encode() not in b"".join(pages.values())


def test_numbers_of_people_in_public_are_rounded_and_say_so(leaving: dict[str, bytes]) -> None:
    said = [dict(card["said"])["n, events"] for card in json.loads(leaving[CARDS_DATA])["cards"]]
    numbers = [int(number) for text in said for number in re.findall(r"\d+", text)]
    assert numbers
    assert all(number % 5 == 0 for number in numbers)
    for name in ("model-cards.html", "checklists.html"):
        assert b"to the nearest 5" in leaving[name], name


def test_the_pages_may_leave(leaving: dict[str, bytes], fit_tables: Mapping[str, pd.DataFrame], tmp_path: Path) -> None:
    for name, content in leaving.items():
        (tmp_path / name).write_bytes(content)
    dates = frozenset({str(recovery_badge().get("made_on", ""))[:10]})
    verdicts = scan_folder(tmp_path, Allowed(dates=dates), Secrets.of(fit_tables["imputed"]))
    assert may_leave(verdicts), verdicts[["item", "reason"]].to_dict("records")


def test_a_fit_that_lacks_what_cards_read_has_none(fit_tables: Mapping[str, pd.DataFrame]) -> None:
    assert zone_pages({"estimates": fit_tables["estimates"]}, MANIFEST, VERSION, small_specification(), 10) == {}
    assert set(NEEDED) <= set(fit_tables)
