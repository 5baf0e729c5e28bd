"""The status page: who is late and why stands in the first row of the first screen, in both languages, on paper, and anew at each request."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from orchestration.analysis.gate import CHECKS
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.ingest import ingest
from orchestration.deliveries.judgement import messages
from orchestration.deliveries.transports import WHY
from orchestration.readings import Withdrawal
from orchestration.settings import CHECKOUT
from orchestration.simulation.mutations import mutate
from orchestration.status import STATES, Line
from orchestration.stewards.status_page import overview as overviews
from orchestration.stewards.status_page import serving
from orchestration.stewards.status_page.overview import Notice, Overview, overview
from orchestration.stewards.status_page.page import LANGUAGES, file_name, page, policy, texts, write_pages
from tests.conftest import Platform
from tests.deliveries.making import deliver, delivery_in, publish_stand_in
from tests.releases import browser

Contracts = dict[str, Organisation]
MORNING = datetime(2026, 5, 20, 9, 5, tzinfo=UTC)
LATE = {"nl": ("Te laat", "Er is niets ontvangen."), "en": ("Late", "Nothing has been received.")}
needs_chromium = pytest.mark.skipif(browser.CHROMIUM is None, reason="chromium is not on PATH (apt: chromium)")


@pytest.fixture
def troubled(settled: Platform) -> Platform:
    """In May 2026: of the first quarter nothing came from SVG, what came from RN is blocked, and what came from LJ&R waits."""
    home = Platform(
        settled.settings.model_copy(update={"first_quarter": "2025-Q4", "first_registry_year": 2025}), settled.ledger
    )
    inbox = home.settings.inbox_path
    bad = deliver(delivery_in(inbox, "rn"), inbox, "spoiled", "2026-Q1", 2)
    mutate(bad, "wrong_hash")
    assert ingest(bad, home.settings, home.ledger).status == "rejected"
    deliver(delivery_in(inbox, "ljr"), inbox, "next", "2026-Q1", 2)
    return home


def seen(home: Platform, contracts: Contracts, moment: datetime = MORNING) -> Overview:
    return overview(home.settings, home.ledger, contracts, moment)


def nothing(*lines: Line, **terms: Any) -> Overview:
    """An overview with these lines and nothing else to tell."""
    titles = {line.organisation: {"nl": "Organisatie", "en": "Organisation"} for line in lines}
    known: dict[str, Any] = {
        "lines": lines, "titles": titles, "delivers_once": frozenset(), "notices": (), "version_id": None, "cutoff_on": None,
        "fit_id": None, "is_simulated": False, "written_at": MORNING,
    }  # fmt: skip
    return Overview(**{**known, **terms})


def _keys(value: Any, at: str = "") -> Iterator[tuple[str, frozenset[str]]]:
    """Every text of a file of words: where it stands and the names in braces in it."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _keys(part, f"{at}/{name}")
    else:
        yield at, frozenset(re.findall(r"{(\w+)}", str(value)))


def test_both_languages_say_the_same_things_with_the_same_names() -> None:
    assert dict(_keys(texts("nl"))) == dict(_keys(texts("en")))
    assert len(texts("nl")["months"]) == len(texts("en")["months"]) == 12


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_state_check_and_trouble_has_words(language: str) -> None:
    words = texts(language)
    assert set(words["states"]) == set(STATES)
    assert set(words["why"]) == {*STATES, "changing"}
    assert set(words["checks"]) == set(CHECKS)
    assert set(words["troubles"]) == set(WHY)


def test_the_late_organisation_comes_before_the_blocked_one_of_the_same_day(
    troubled: Platform, contracts: Contracts
) -> None:
    found = [(line.organisation, line.state) for line in seen(troubled, contracts).lines]
    assert found[:2] == [("svg", "late"), ("rn", "blocked")]
    assert ("ljr", "received") in found
    assert ("rn", "expected") in found


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_blocked_delivery_says_in_words_what_is_wrong_and_what_to_do(
    troubled: Platform, contracts: Contracts, language: str
) -> None:
    shown = page(seen(troubled, contracts), language)
    text = messages()["file.hash"][language]
    assert text["what"] in shown
    assert text["do"] in shown
    assert "5 dagen te laat" in shown if language == "nl" else "5 days late" in shown


def test_the_page_says_when_it_was_written_and_that_its_people_are_simulated(
    troubled: Platform, contracts: Contracts
) -> None:
    shown = page(seen(troubled, contracts), "nl")
    assert "20 mei 2026 om 09:05 UTC" in shown
    assert "<title>SIMULATED" in shown
    assert 'aria-label="SIMULATED"' in shown
    assert "SIMULATED" not in page(nothing(), "nl")


def test_where_all_is_well_the_page_says_so() -> None:
    published = Line("rn", "2026-Q1", "published", "", "one", 9, date(2026, 5, 15))
    assert texts("en")["all_well"] in page(nothing(published), "en")
    assert texts("en")["all_well"] not in page(nothing(replace(published, state="late")), "en")


def test_what_waits_for_somebody_stands_on_the_page_most_pressing_first(
    troubled: Platform, contracts: Contracts, tmp_path: Path
) -> None:
    ledger, settings = troubled.ledger, troubled.settings
    version = publish_stand_in(settings)
    ledger.record_held_fit("feedbeef", version.version_id, "moved", ["reference_predictions"])
    asked = Withdrawal("w1", "erase", "consent", "as asked", "k.devries", datetime(2026, 5, 2), 1, None)
    ledger.begin_withdrawal(asked, ["mark"])
    sources, waivers = tmp_path / "sources.yml", tmp_path / "waivers.yml"
    sources.write_text(yaml.safe_dump({"svg": {"url": "file:///nowhere"}, "rn": {"url": "file:///elsewhere"}}))
    for organisation, troubles in {
        "svg": (None, "source.timeout", "source.unreachable", "source.resting"), "rn": ("source.denied", None),
    }.items():  # fmt: skip
        for day, trouble in enumerate(troubles, start=10):
            ledger.record_fetching(organisation, datetime(2026, 5, day), trouble, 0, 0)
    entry = {"organisation": "rn", "period": "2026-Q1", "delivery": "spoiled", "reason": "known", "by": ["a", "b"]}
    ends = {"value.range": MORNING.date() + timedelta(days=14), "rule.order": MORNING.date() + timedelta(days=15), "table.empty": MORNING.date() - timedelta(days=1)}  # fmt: skip
    entries = [{**entry, "rule": rule, "until": until} for rule, until in ends.items()]
    entries.append({**entry, "rule": "rule.unique", "until": date(2026, 9, 1), "by": ["a"]})
    waivers.write_text(yaml.safe_dump(entries))
    settings = settings.model_copy(update={"sources": sources, "waivers": waivers})
    found = seen(Platform(settings, ledger), contracts)
    assert [notice.kind for notice in found.notices] == [
        "withdrawal", "fit_signing", "fetch", "waiver_ends", "waiver_signing",
    ]  # fmt: skip
    (fetch,) = [notice for notice in found.notices if notice.kind == "fetch"]
    assert (fetch.since, fetch.codes, fetch.values["times"]) == (date(2026, 5, 11), ("source.unreachable",), 3)
    (ending,) = [notice for notice in found.notices if notice.kind == "waiver_ends"]
    assert (ending.values["rule"], ending.values["days"]) == ("value.range", 14)
    for language in LANGUAGES:
        shown = page(found, language)
        assert texts(language)["troubles"]["source.unreachable"] in shown
        assert texts(language)["checks"]["reference_predictions"].replace("'", "&#39;") in shown
        assert "<code>delictvrij sign-off feedbeef</code>" in shown
        assert "k.devries" not in shown, "who asked for a withdrawal is nobody's business here"


def test_a_release_that_waits_for_approval_is_named_until_it_is_decided() -> None:
    class Drafts:
        def releases(self) -> list[dict[str, Any]]:
            return [
                {"tag": "2026.1.0", "state": "approved", "drafted_at": MORNING},
                {"tag": "2026.2.0", "state": "draft", "drafted_at": MORNING},
            ]

    (notice,) = overviews._drafts(Drafts())  # type: ignore[arg-type]
    shown = page(nothing(notices=(notice,)), "en")
    assert "2026.2.0" in shown
    assert "20 May 2026" in shown
    assert "2026.1.0" not in shown


def test_a_fit_that_nobody_can_sign_says_so_and_names_every_check() -> None:
    held = Notice("fit_held", date(2026, 5, 1), ("benchmark", "second_engine"), {"fit": "f", "version": "v", "given": 0, "needed": 2})  # fmt: skip
    shown = page(nothing(notices=(held,)), "en")
    assert texts("en")["checks"]["benchmark"] in shown
    assert texts("en")["checks"]["second_engine"] in shown
    assert "sign-off" not in shown


def test_what_a_partner_calls_a_delivery_is_escaped() -> None:
    line = Line("rn", "2026-Q1", "late", "", "<script>alert(1)</script>", 0, date(2026, 5, 15))
    shown = page(nothing(line), "en")
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


def test_the_page_of_one_file_links_to_no_other(troubled: Platform, contracts: Contracts) -> None:
    alone = page(seen(troubled, contracts), "nl", with_other=False)
    assert "href=" not in alone.replace('href="#main"', "")
    assert f'href="{file_name("en")}"' in page(seen(troubled, contracts), "nl")


def test_the_policy_allows_the_one_style_of_the_page_and_nothing_else(troubled: Platform, contracts: Contracts) -> None:
    shown = page(seen(troubled, contracts), "nl")
    assert policy().startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe-inline" not in shown
    assert "<script" not in shown
    assert " style=" not in shown


@needs_chromium
def test_who_is_late_and_why_stands_in_the_first_row_of_the_first_screen_without_scripts(
    troubled: Platform, contracts: Contracts
) -> None:
    written = write_pages(troubled.settings, seen(troubled, contracts))
    folder = troubled.settings.home_path
    assert [path.name for path in written] == ["status.nl.html", "status.en.html"]
    with browser.served(folder) as address, browser.chromium(is_scripted=False) as context:
        tab = context.new_page()
        for language in LANGUAGES:
            state, why = LATE[language]
            tab.goto(f"{address}/{file_name(language)}")
            row = tab.locator("tbody tr").first
            box = row.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] < 400, "the upper half of 1280 x 800"
            for said in ("svg", contracts["svg"].title[language], "2026-Q1", state, why):
                assert said in row.inner_text()
            second = tab.locator("tbody tr").nth(1)
            assert messages()["file.hash"][language]["what"] in second.inner_text()


@needs_chromium
def test_the_page_asks_for_nothing_and_axe_finds_nothing_serious(troubled: Platform, contracts: Contracts) -> None:
    write_pages(troubled.settings, seen(troubled, contracts))
    found = browser.looks(troubled.settings.home_path, [file_name(language) for language in LANGUAGES])
    assert [(look.path, look.rules, look.elsewhere, look.errors) for look in found if not look.is_clean] == []


@needs_chromium
def test_on_paper_the_page_keeps_its_heads_and_leaves_out_what_is_clicked(
    troubled: Platform, contracts: Contracts
) -> None:
    write_pages(troubled.settings, seen(troubled, contracts))
    with browser.served(troubled.settings.home_path) as address, browser.chromium() as context:
        tab = context.new_page()
        tab.goto(f"{address}/{file_name('nl')}")
        assert tab.locator(".language").is_visible()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 1280
        tab.emulate_media(media="print")
        tab.set_viewport_size({"width": 700, "height": 1000})  # A4 within its margins
        assert not tab.locator(".language").is_visible()
        assert tab.locator(".banner").is_visible()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 700
        looks = tab.evaluate(
            "[getComputedStyle(document.querySelector('thead')).display, getComputedStyle(document.querySelector('tbody tr')).breakInside]"
        )
        assert looks == ["table-header-group", "avoid"]
        assert tab.pdf(format="A4").startswith(b"%PDF")


def test_served_the_page_is_read_anew_at_each_request(troubled: Platform) -> None:
    client = TestClient(serving.app(troubled.settings), base_url="http://127.0.0.1:3001")
    first = client.get("/status.en.html")
    assert (first.status_code, first.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert first.headers["content-security-policy"] == policy()
    assert first.headers["cache-control"] == "no-store"
    assert ">next<" not in first.text
    assert "no-such-delivery" not in first.text
    inbox = troubled.settings.inbox_path
    bad = deliver(delivery_in(inbox, "svg"), inbox, "no-such-delivery", "2026-Q1", 2)
    mutate(bad, "wrong_hash")
    ingest(bad, troubled.settings, troubled.ledger)
    assert "no-such-delivery" in client.get("/status.en.html").text


def test_the_front_door_leads_to_the_language_of_the_browser(troubled: Platform) -> None:
    client = TestClient(serving.app(troubled.settings), base_url="http://localhost:3001", follow_redirects=False)
    for asked, language in (("en-GB,en;q=0.9", "en"), ("nl", "nl"), ("de", "nl")):
        found = client.get("/", headers={"accept-language": asked})
        assert found.headers["location"] == f"/{file_name(language)}"


def test_nobody_else_is_served_and_nothing_is_written(troubled: Platform) -> None:
    app = serving.app(troubled.settings)
    assert TestClient(app, base_url="http://probation.example").get("/status.nl.html").status_code == 400
    client = TestClient(app, base_url="http://127.0.0.1")
    assert client.post("/status.nl.html").status_code == 405
    assert client.get("/ledger.sqlite").status_code == 404


def test_without_a_home_the_server_says_how_to_make_one(tmp_path: Path) -> None:
    from tests.conftest import settings_in

    found = TestClient(serving.app(settings_in(tmp_path)), base_url="http://127.0.0.1").get("/status.nl.html")
    assert found.status_code == 503
    assert "delictvrij init" in found.text


def test_the_server_loads_neither_dagster_nor_the_gate_and_ends_with_who_started_it(troubled: Platform) -> None:
    code = (
        "import sys; from orchestration.stewards.status_page import serving\n"
        "from starlette.testclient import TestClient; from orchestration.settings import Settings\n"
        f"app = serving.app(Settings(home={str(troubled.settings.home)!r}, inbox={str(troubled.settings.inbox)!r}))\n"
        "assert TestClient(app, base_url='http://127.0.0.1').get('/status.nl.html').status_code == 200\n"
        "print([name for name in ('dagster', 'great_expectations', 'pandas', 'dbt') if name in sys.modules])\n"
        "sys.argv[1:] = ['0']; serving.main(); print('ended')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, input="", capture_output=True, text=True, check=True,
        timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["[]", "ended"]
