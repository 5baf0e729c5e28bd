"""The portal: complete in two languages, stated, marked, self-contained, accessible, and of nothing but what was judged."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
import yaml

from orchestration.analysis.explanation import KINDS
from orchestration.analysis.showing.source import Table
from orchestration.analysis.specification import read_specification
from orchestration.releases import disclosure
from orchestration.releases.disclosure import Judged
from orchestration.releases.disclosure_scan import Allowed, may_leave, scan_folder
from orchestration.releases.metadata import read_study
from orchestration.releases.portal.alliance import alliance_page, pattern_counts
from orchestration.releases.portal.content import Edition, PortalContent
from orchestration.releases.portal.moves import TOGETHER, judged_moves
from orchestration.releases.portal.parts import Page, Writer
from orchestration.releases.portal.people import cohort_page, flow_steps
from orchestration.releases.portal.quality import (
    delivery_counts,
    judged_by_quarter,
    judged_ratings,
    period_counts,
    quarters_between,
)
from orchestration.releases.portal.recidivism import multiverse_page
from orchestration.releases.portal.reference import changes_page, quality_page
from orchestration.releases.portal.site import (
    IN_ORDER,
    STATIC,
    vouched,
    write_portal,
    write_portal_index,
    write_tombstone,
)
from orchestration.releases.portal.words import FOLDER, read_words
from orchestration.settings import Settings
from orchestration.warehouse.diff import PAST, PROGRESS
from tests.analysis.test_report import Elements
from tests.releases import browser
from tests.releases.browser import looks
from tests.releases.sites import EDITIONS, RULES, content_of, explanation, ratings, records, with_multiverse

LANGUAGES = ("nl", "en")
needs_chromium = pytest.mark.skipif(browser.CHROMIUM is None, reason="chromium is not on PATH (apt: chromium)")


@pytest.fixture(scope="session")
def content(judged: Judged, fit_tables: Mapping[str, pd.DataFrame]) -> PortalContent:
    return content_of(judged, fit_tables)


@pytest.fixture(scope="session")
def site(content: PortalContent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, where a release has it, beside its page above all releases and two tombstones; look, do not touch."""
    releases = tmp_path_factory.mktemp("portal") / "releases"
    write_portal(releases / EDITIONS[0].portal, content)
    for edition in EDITIONS[1:]:
        write_tombstone(releases / edition.portal, edition, content.about.study, True, "../../..")
    write_portal_index(releases, EDITIONS, content.about.study, True)
    return releases / EDITIONS[0].portal


@pytest.fixture(scope="session")
def pages(site: Path) -> dict[str, str]:
    """Every page by its path in the site."""
    return {
        path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))
    }


def text_of(page: str) -> str:
    return " ".join("".join(Elements(page).text).split())


# ------------------------------------------------------------------------------------------------------------ language


def texts(language: str) -> dict[str, str]:
    """Every text of a language file by its key; `names` and what stands in pictures apart, whose keys are codes."""

    def below(found: object, key: str) -> Iterator[tuple[str, str]]:
        if isinstance(found, dict):
            for name, value in found.items():
                yield from below(value, f"{key}.{name}")
        else:
            yield key, str(found)

    raw = yaml.safe_load((FOLDER / f"{language}.yml").read_text(encoding="utf-8"))
    return dict(below({name: value for name, value in raw.items() if name != "figure_words"}, ""))


def test_both_languages_say_the_same_things_with_the_same_values() -> None:
    nl, en = texts("nl"), texts("en")
    assert nl.keys() == en.keys()
    named = {
        key: [{name for _, name, _, _ in string.Formatter().parse(said[key]) if name} for said in (nl, en)]
        for key in nl
    }
    assert {key: both for key, both in named.items() if both[0] != both[1]} == {}


def test_what_the_models_and_rules_name_has_a_name_in_both_languages() -> None:
    spec = read_specification()
    terms = {*spec.covariates, *(one.name for one in spec.determinants.predictors)}
    outcomes = set(pd.read_csv(Settings().dbt_project / "seeds" / "outcome.csv")["outcome_id"])
    judged = {
        *disclosure.ROWS,
        *disclosure.CURVES,
        *disclosure.FREE,
        *disclosure.ZONE,
        "cohort_flow",
        "change_patterns",
        "event_counts",
        "pattern_agreement",
    }
    for language in LANGUAGES:
        names = read_words(language).texts["names"]
        assert terms - set(names["term"]) == set()
        assert outcomes - set(names["outcome"]) == set()
        assert set(disclosure.REASONS) - set(names["rule"]) == set()
        assert judged - set(names["item"]) == set()
        assert set(spec.recidivism.adjustments) == set(names["adjustment"]) and set(spec.recidivism.scales) == set(
            names["scale"]
        )
        assert set(spec.recidivism.reference.people) == set(names["person"])


def test_numbers_read_as_each_language_writes_them() -> None:
    row = {"estimate": 0.0, "conf_low": -0.5, "conf_high": 6.0}
    assert read_words("en").ratio(row) == "1.00 [0.61,\N{NO-BREAK SPACE}>100]"
    assert read_words("nl").ratio(row) == "1,00 [0,61;\N{NO-BREAK SPACE}>100]"
    assert read_words("nl").count(12345) == "12.345" and read_words("nl").p(0.0004) == "<0,001"
    assert read_words("en").number(-0.25, sign="+") == "−0.25"


# --------------------------------------------------------------------------------------------------------------- pages


def test_every_page_is_there_in_both_languages_and_leads_to_the_other(
    pages: dict[str, str], content: PortalContent
) -> None:
    expected = {*IN_ORDER, *(f"tables/{table.name}" for table in content.catalogue.tables)}
    for language, other in (("nl", "en"), ("en", "nl")):
        own = {
            path.removeprefix(f"{language}/").removesuffix(".html") for path in pages if path.startswith(f"{language}/")
        }
        assert own == expected
        for path in own:
            elements = Elements(pages[f"{language}/{path}.html"])
            assert elements.of("html")[0]["lang"] == language
            assert [link["href"] for link in elements.of("a") if link.get("hreflang")] == [
                "../" * (1 + path.count("/")) + f"{other}/{path}.html"
            ]


def test_every_link_leads_somewhere(site: Path, pages: dict[str, str]) -> None:
    dead = []
    for path, page in pages.items():
        for tag, name in (("a", "href"), ("img", "src"), ("link", "href"), ("script", "src")):
            for one in Elements(page).of(tag):
                target, _, anchor = str(one[name]).partition("#")
                file = (site / path).parent / target if target else site / path
                if target.endswith("tables/index.csv"):  # what a release puts beside the portal
                    continue
                is_there = file.is_file() and (not anchor or f'id="{anchor}"' in file.read_text(encoding="utf-8"))
                dead += [] if is_there else [(path, one[name])]
    assert dead == []


def test_a_page_can_be_read_without_seeing_it(pages: dict[str, str]) -> None:
    for path, page in pages.items():
        elements = Elements(page)
        assert len(elements.of("h1")) == 1, path
        assert all(len(str(image["alt"])) > 40 for image in elements.of("img")), path
        assert len(elements.of("caption")) == len(elements.of("table")), path
        assert all(header.get("scope") in ("col", "row") for header in elements.of("th")), path
        ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
        assert len(ids) == len(set(ids)), path
        if path != "index.html":
            assert next(link for link in elements.of("a"))["href"] == "#main", f"{path}: the skip link comes first"


def test_nothing_is_inline_and_nothing_comes_from_elsewhere(pages: dict[str, str]) -> None:
    for path, page in pages.items():
        policy = next(
            str(meta["content"])
            for meta in Elements(page).of("meta")
            if meta.get("http-equiv") == "Content-Security-Policy"
        )
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "data:" not in policy
        assert not re.search(r"https?:|<style|\sstyle=|\son\w+=|<script(?! src=)|<svg|@import", page), path
    assert not re.search(r"url\(|@import|https?:", (STATIC / "portal.css").read_text(encoding="utf-8"))


STATED = {
    "release": r"release 2026\.1\.0|uitgave 2026\.1\.0",
    "n": r"n = ((about |circa )?\d[\d.,]*|not shown|niet getoond)|n and events|n en gebeurtenissen",
    "events": r"events?\b|gebeurtenissen",
    "follow-up end": r"register (to|tot en met) 2025-Q4",
    "suppression": r"(counts|aantallen) (below|onder) 10 (not shown|niet getoond)",
    "mark": r"SIMULATED",
}


def unstated(page: str) -> list[tuple[str, str]]:
    """What a figure or table does not state of itself: the beginning of its text, and what is missing."""
    found = []
    for match in re.finditer(r"<figure>.*?</figure>|<table[ >].*?</table>", page, re.DOTALL):
        stated = match[0][
            match[0].rfind("<figcaption") if match[0].startswith("<figure") else match[0].rfind("<tfoot") :
        ]
        found += [
            (text_of(match[0])[:60], name)
            for name, pattern in STATED.items()
            if not re.search(pattern, text_of(stated))
        ]
    return found


def test_every_figure_and_table_states_release_sizes_follow_up_suppression_and_simulation(
    pages: dict[str, str],
) -> None:
    assert {path: missing for path, page in pages.items() if (missing := unstated(page))} == {}
    shown = [len(re.findall(f"<{tag}[ >]", page)) for tag in ("figure", "table") for page in pages.values()]
    assert sum(shown) > 80
    assert not any("2025-12" in page for page in pages.values()), "the register's cut-off is a quarter"


@pytest.mark.parametrize("name", STATED)
def test_the_scanner_sees_what_one_table_does_not_state(pages: dict[str, str], name: str) -> None:
    page = pages["en/recidivism.html"]
    start = page.index("<tfoot>")
    end = page.index("</tfoot>", start)
    without = re.sub(STATED[name], "", page[start:end])
    assert name in {missing for _, missing in unstated(page[:start] + without + page[end:])}


def test_a_figure_has_its_numbers_beside_it(pages: dict[str, str]) -> None:
    for path in ("en/recidivism.html", "en/multiverse.html", "en/alliance.html", "en/diagnostics.html"):
        places = [match.start() for match in re.finditer("<figure>", pages[path])]
        assert places, path
        for start, end in zip(places, [*places[1:], len(pages[path])], strict=True):
            assert "<table" in pages[path][start:end], path


def test_a_real_release_carries_no_mark(content: PortalContent) -> None:
    real = replace(content, about=replace(content.about, is_simulated=False))
    shown = changes_page(Writer(real, read_words("en")))
    assert not any(
        part.is_simulated
        for section in shown.sections
        for block in section.blocks
        for part in block.parts
        if part.kind == "table"
    )


# ---------------------------------------------------------------------------------------------------- what may be shown


def test_the_whole_site_may_leave(site: Path, content: PortalContent) -> None:
    found = scan_folder(site.parent, vouched(content))
    assert may_leave(found), found.loc[found["verdict"] != "pass", ["item", "rule"]].to_string()
    assert {Path(name).suffix for name in found["item"]} == {".html", ".png", ".css", ".js"}


def test_a_script_that_is_not_ours_and_a_page_that_asks_for_one_do_not_leave(
    tmp_path: Path, content: PortalContent
) -> None:
    allowed = vouched(content)
    for name in allowed.assets:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((STATIC / Path(name).name).read_bytes())
    page = tmp_path / "portal" / "nl" / "index.html"
    page.parent.mkdir()
    page.write_text(
        '<link rel="stylesheet" href="../assets/portal.css"><script src="../assets/portal.js" defer></script>'
    )
    assert may_leave(scan_folder(tmp_path, allowed))
    assert not may_leave(scan_folder(tmp_path, Allowed())), "nobody vouched for it"
    page.write_text('<script src="../assets/other.js" defer></script>')
    assert not may_leave(scan_folder(tmp_path, allowed))
    page.write_text("<p>nothing</p>")
    (tmp_path / "portal" / "assets" / "portal.js").write_text("alert(1)")
    assert scan_folder(tmp_path, allowed).set_index("item").loc["portal/assets/portal.js", "rule"] == "asset"


def test_no_count_of_few_people_is_on_any_page(pages: dict[str, str]) -> None:
    for path, page in pages.items():
        text = text_of(page)
        assert not re.search(r"(?<![\d.,])[1-9] \(\d+.%\)", text), f"{path}: a pattern of fewer than ten"
        assert not re.search(r"n = (about |circa )?[1-9](?![\d.,])", text), f"{path}: a group of fewer than ten"


def shown_text(page: Page) -> str:
    """All cells and sentences of a page."""
    parts = [part for section in page.sections for block in section.blocks for part in block.parts]
    tables = [" ".join(" ".join(row) for row in part.rows) for part in parts if part.kind in ("table", "words")]
    return " ".join([*tables, *(part.text for part in parts if part.kind in ("text", "absent"))])


def test_counts_of_people_since_the_release_before_are_bands(content: PortalContent) -> None:
    page = changes_page(Writer(content, read_words("en")))
    text = shown_text(page)
    assert "0 to 9" in text and "10 to 19" in text and "180 to 189" in text
    assert not re.search(r"\b(183|186|17|366|372)\b", text)
    assert "wave 0 to 9" in text and text.count("0 to 9") > len(PAST) + len(PROGRESS), (
        "what changed for nobody stands there as well"
    )
    assert "exit_day" not in text and "+ maturity" in text, "a column is named where it came or went alone"
    assert "read up to 2025-Q4; it was 2024-Q4" in text and "Deliveries added: rn 2025-Q4" in text


def test_outcomes_of_the_past_that_changed_are_told_for_every_quarter_of_enrolment(content: PortalContent) -> None:
    known = content.difference
    assert known is not None
    changed = replace(known, by_quarter={"general_landmark": {"2022-Q2": 14}})
    (section,) = (one for one in changes_page(Writer(replace(content, difference=changed), read_words("en"))).sections if one.anchor == "outcomes")  # fmt: skip
    table = section.blocks[0].parts[1]
    assert isinstance(table, Table)
    assert table.headers[1:] == ["2022-Q1", "2022-Q2"]
    cells = {name: row for name, *row in table.rows}
    changed_one, *others = (cells.pop(read_words("en").name("outcome", "general_landmark")), *cells.values())
    assert changed_one == ["0 to 9", "10 to 19"]
    assert others and all(row == ["0 to 9", "0 to 9"] for row in others), (
        "those that changed for nobody stand there too"
    )


def test_what_did_not_leave_is_named_with_its_rule(content: PortalContent) -> None:
    gone = replace(
        content,
        frames={name: frame for name, frame in content.frames.items() if name not in ("baseline", "cohort_flow")},
    )
    text = shown_text(cohort_page(Writer(gone, read_words("en"))))
    assert re.search(r"Table 1 did not leave, because: [a-z ]{10,}", text)


def test_a_release_of_nothing_still_has_every_page(content: PortalContent) -> None:
    verdicts = content.verdicts.assign(verdict="refused", rule="few_people", rows=0)
    nothing = replace(
        content, frames={}, verdicts=verdicts, difference=None, moves=None, quality=None, editions=(), downloads=()
    )
    from orchestration.releases.portal.site import pages_of

    shown = pages_of(nothing, "nl")
    assert len(shown) == len(IN_ORDER) + len(content.catalogue.tables)
    assert "te weinig mensen" in " ".join(map(shown_text, shown))


def test_the_multiverse_is_that_of_every_definition_where_it_was_made(content: PortalContent) -> None:
    words = read_words("en")
    assert "did not leave, because: it was not made" in shown_text(multiverse_page(Writer(content, words)))
    assert "The multiverse" not in shown_text(multiverse_page(Writer(with_multiverse(content), words)))


def test_a_flow_is_read_in_order_with_what_is_hidden(judged: Judged) -> None:
    cells = pd.DataFrame(
        {"table": "flow.o", "class": ["a", "b", "analysed", "after a", "after b", "total"], "count": [30, None, 160, None, 160, 200]}
    )  # fmt: skip
    steps = flow_steps(cells, "flow.o")
    assert [one["step"] for one in steps] == [None, "a", "b"]
    assert (
        [one["after"] for one in steps][::2] == [200, 160] and pd.isna(steps[1]["after"]) and pd.isna(steps[2]["out"])
    )


def test_the_counts_of_a_rule_are_those_of_its_own_table(content: PortalContent) -> None:
    counts = pattern_counts(content.frames["change_patterns"].assign(count=1.0), "client", "trust", "T1-T2", "rci")
    assert set(counts) == {"stable", "improving", "deteriorating", "total"}
    assert pattern_counts(content.frames["change_patterns"], "client", "trust", "T1-T2", "no such rule") == {}


# ------------------------------------------------------------------------------------------------------ moves, quality


def test_the_part_of_few_people_in_a_move_is_put_together_with_another(content: PortalContent) -> None:
    estimates = content.frames["estimates"]
    parts = judged_moves(explanation(estimates), estimates, estimates, RULES).parts
    assert len(parts) and parts["new_people"].isna().all() and parts["corrected_records"].isna().all()
    assert parts["withdrawals"].isna().all(), "that nobody withdrew is as telling as that somebody did"
    assert parts[TOGETHER].to_numpy() == pytest.approx(0.45) and parts["code_and_libraries"].to_numpy() == pytest.approx(0.05)  # fmt: skip


def test_where_all_kinds_are_of_few_people_no_part_is_shown(content: PortalContent) -> None:
    estimates = content.frames["estimates"]
    record = {**explanation(estimates), "people": [{"outcome_id": estimates["outcome_id"].iloc[0], "kind": "new_people", "clients": 4}]}  # fmt: skip
    parts = judged_moves(record, estimates, estimates, RULES).parts
    assert len(parts) and parts[[*KINDS, TOGETHER]].isna().all(axis=None) and parts["move"].notna().all()


def test_kinds_that_few_have_are_one_part_once_they_are_enough_together(content: PortalContent) -> None:
    estimates = content.frames["estimates"]
    record = explanation(estimates)
    outcome = estimates["outcome_id"].iloc[0]
    record["people"] = [
        {"outcome_id": outcome, "kind": kind, "clients": n}
        for kind, n in (("new_people", 40), ("corrected_records", 6), ("withdrawals", 7))
    ]
    parts = judged_moves(record, estimates, estimates, RULES).parts
    assert parts["new_people"].notna().all() and parts["corrected_records"].isna().all()
    assert parts[TOGETHER].to_numpy() == pytest.approx(0.013)


def test_a_move_is_shown_of_terms_that_left_in_both_releases(content: PortalContent) -> None:
    estimates = content.frames["estimates"]
    record = explanation(estimates)
    assert len(judged_moves(record, estimates, estimates, RULES).parts) > 0
    assert len(judged_moves(record, estimates, estimates.iloc[:0], RULES).parts) == 0


def test_a_small_organisation_takes_another_with_it() -> None:
    wave, client = ratings({"rn": (60, 80), "svg": (20, 42), "ljr": (3, 30)})
    found = judged_ratings(wave, client, RULES).set_index("organisation")
    assert found["done"].to_dict() == pytest.approx({"ljr": float("nan"), "rn": 0.75, "svg": float("nan")}, nan_ok=True)
    assert found.loc["rn", "n"] == 80 and found.loc[["ljr", "svg"], "n"].isna().all()


def test_deliveries_are_counted_by_verdict() -> None:
    found = delivery_counts(records({"rn": "accepted", "svg": "rejected"})).set_index("organisation")
    assert found.loc["rn", ["received", "accepted", "rejected"]].tolist() == [1, 1, 0]
    assert found.loc["svg", ["accepted", "rejected", "last_period"]].tolist() == [0, 1, ""]


# ------------------------------------------------------------------------------------------------- tombstones, releases


def test_a_tombstone_takes_the_place_of_a_site(tmp_path: Path) -> None:
    folder = tmp_path / "portal"
    folder.mkdir()
    (folder / "old.html").write_text("estimates")
    write_tombstone(folder, EDITIONS[1], read_study(), True)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "index.html", "nl/index.html", "en/index.html", "assets/portal.css", "assets/portal.js"
    }  # fmt: skip
    assert "2026.1.0" in text_of((folder / "en" / "index.html").read_text(encoding="utf-8"))
    assert [path.name for path in tmp_path.iterdir()] == ["portal"]


def test_a_release_that_counts_gets_no_tombstone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"2026\.1\.0 is approved"):
        write_tombstone(tmp_path / "portal", EDITIONS[0], read_study(), True)
    assert not (tmp_path / "portal").exists()


def test_the_page_above_all_releases_leads_to_each(site: Path) -> None:
    releases = site.parents[2]
    for language in LANGUAGES:
        page = (releases / language / "index.html").read_text(encoding="utf-8")
        links = [str(link["href"]) for link in Elements(page).of("a") if "portal" in str(link["href"])]
        assert len(links) == 3 and all((releases / language / link).is_file() for link in links)
        assert read_words(language).name("state", "withdrawn") in page


def quarters(done: dict[str, tuple[int, int]], total: float | None = 0.6) -> dict[str, bool]:
    """Ratings of one organisation by quarter, so many done of so many; which quarters are shown. `total`: its share, None where hidden."""
    rows = [
        (f"{quarter}{i}", quarter, "done" if i < some else "missed")
        for quarter, (some, everybody) in done.items()
        for i in range(everybody)
    ]
    people = pd.DataFrame(rows, columns=["client_id", "start_quarter", "status"]).assign(organisation="rn")
    wave = people[["client_id", "status"]].assign(rater="client", wave="T2")
    whole = pd.DataFrame([("rn", "client", "T2", 100.0, total)], columns=["organisation", "rater", "wave", "n", "done"])
    found = judged_by_quarter(wave, people[["client_id", "organisation", "start_quarter"]], whole, "T2", RULES)
    return {row.start_quarter: bool(pd.notna(row.done)) for row in found.itertuples()}


def test_the_ratings_of_a_quarter_are_shown_where_no_total_gives_a_small_one_away() -> None:
    assert quarters({"Q1": (20, 40), "Q2": (15, 30)}) == {"Q1": True, "Q2": True}
    assert quarters({"Q1": (20, 40), "Q2": (15, 30), "Q3": (3, 20)}) == {"Q1": True, "Q2": False, "Q3": False}
    assert quarters({"Q1": (20, 40), "Q2": (15, 30)}, total=None) == {"Q1": False, "Q2": False}


def test_deliveries_are_told_by_period_organisation_and_verdict(content: PortalContent) -> None:
    twice = [*records({"rn": "rejected"}), *records({"rn": "rejected"}), *records({"svg": "accepted"})]
    found = period_counts(twice)
    assert found.to_dict("split")["data"] == [["2025-Q4", "rn", "rejected", 2], ["2025-Q4", "svg", "accepted", 1]]
    assert content.quality is not None
    page = quality_page(Writer(replace(content, quality=replace(content.quality, periods=found)), read_words("en")))
    assert "2025-Q4 2 × blocked accepted" in shown_text(page)


def test_quarters_run_from_one_day_to_another() -> None:
    assert quarters_between(date(2022, 11, 3), date(2023, 4, 1)) == ("2022-Q4", "2023-Q1", "2023-Q2")


def test_whether_client_and_officer_come_nearer_is_shown_where_it_left(content: PortalContent) -> None:
    page = alliance_page(Writer(content, read_words("en")))
    captions = [part.caption for section in page.sections for block in section.blocks for part in block.parts if part.kind == "table"]  # fmt: skip
    assert "Whether client and officer come nearer in time" in captions
    without = replace(content, frames={name: one for name, one in content.frames.items() if name != "rater_convergence"})  # fmt: skip
    assert "come nearer did not leave, because" in shown_text(alliance_page(Writer(without, read_words("en"))))


# -------------------------------------------------------------------------------------------------------------- looks


def test_no_two_regions_of_a_page_have_the_same_name(pages: dict[str, str]) -> None:
    for path, page in pages.items():
        names = re.findall(r'role="region" aria-label="([^"]*)"', page)
        assert len(names) == len(set(names)), path


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def palettes() -> dict[str, dict[str, str]]:
    """The colours of the style sheet by name, light and, after it, dark."""
    blocks = re.findall(r":root \{ (--ink[^}]*)\}", (STATIC / "portal.css").read_text(encoding="utf-8"))
    colours = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in blocks]
    return dict(zip(("light", "dark"), colours, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("text", "below", "least"),
    [(text, below, 4.5) for text in ("ink", "soft", "accent") for below in ("paper", "wash")]
    + [("absent", "absent-wash", 4.5), ("ink", "absent-wash", 4.5), ("rule", "paper", 3.0)],
)
def test_text_stands_out_enough_in_light_and_dark(scheme: str, text: str, below: str, least: float) -> None:
    """WCAG 2.2 AA: 4.5 for text, 3 for what is no text."""
    colours = palettes()[scheme]
    light, dark = sorted((luminance(colours[text]), luminance(colours[below])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= least


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_white_stands_out_enough_on_what_it_stands_on(scheme: str) -> None:
    assert all(1.05 / (luminance(palettes()[scheme][name]) + 0.05) >= 4.5 for name in ("deep", "alarm"))


# ------------------------------------------------------------------------------------------------------------- browser

FEW = ("index", "recidivism", "codebook", "tables/client")


@needs_chromium
def test_a_browser_finds_nothing_grave_and_fetches_nothing_from_elsewhere(site: Path) -> None:
    """A sample of the pages; `python -m tests.releases.portal` looks at all."""
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    paths = [*(f"{language}/{path}.html" for path, language in zip(FEW, LANGUAGES * 2, strict=True)), "index.html"]
    seen = looks(site, paths)
    seen += looks(site.parents[2], ["en/index.html", f"{EDITIONS[1].portal}/nl/index.html"])
    assert {one.path: (one.elsewhere, one.errors, one.rules) for one in seen if not one.is_clean} == {}
    assert "landmark-unique" not in {rule for one in seen for rule in one.rules}


@needs_chromium
def test_a_browser_that_asks_for_dark_pages_gets_them_and_finds_nothing_grave(site: Path) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    seen = looks(site, ["en/index.html", "nl/recidivism.html"], scheme="dark")
    assert {one.path: one.rules for one in seen if not one.is_clean} == {}
    with browser.served(site) as address, browser.chromium(scheme="dark") as context:
        page = context.new_page()
        page.goto(f"{address}/en/index.html")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 24, 29)"


@needs_chromium
def test_hostile_labels_are_text(content: PortalContent, tmp_path: Path) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    evil = "</td><script>alert(1)</script><img src=http://evil.invalid/x onerror=alert(2)>"
    table = content.catalogue.tables[0]
    variable = replace(table.variables[0], label={"nl": evil, "en": evil}, description=evil)
    tables = (replace(table, description={"nl": evil, "en": evil}, variables=(variable,)),)
    estimates = content.frames["estimates"].assign(outcome_id=evil, note=evil)
    verdicts = content.verdicts.assign(rule=lambda rows: rows["rule"].replace("zone", "<script>alert(3)</script>"))
    edition = Edition("2020.1.0", date(2020, 1, 1), "withdrawn", "x", None, {"nl": evil, "en": evil})
    hostile = replace(
        content, catalogue=replace(content.catalogue, tables=tables), frames={"proportional_hazards": content.frames["proportional_hazards"], "process_estimates": content.frames["process_estimates"].assign(outcome_id=evil), "estimates_few": estimates, "benchmark": content.frames["benchmark"].assign(name=evil)},
        verdicts=verdicts, editions=(edition,), about=replace(content.about, study=replace(content.about.study, title={"nl": evil, "en": evil})),
    )  # fmt: skip
    write_portal(tmp_path / "portal", hostile)
    pages = ("index", "codebook", "changes", "disclosure", "diagnostics", "recidivism", f"tables/{table.name}")
    seen = looks(tmp_path / "portal", [f"en/{path}.html" for path in pages], with_axe=False)
    assert all(one.is_clean for one in seen) and len(seen) == 7
    assert "&lt;script&gt;alert(1)" in (tmp_path / "portal" / "en" / "codebook.html").read_text(encoding="utf-8")


@needs_chromium
@pytest.mark.parametrize("is_scripted", [True, False])
def test_the_codebook_is_whole_without_a_script_and_searched_with_one(site: Path, is_scripted: bool) -> None:
    pytest.importorskip("playwright", reason="playwright is not installed")
    with browser.served(site) as address, browser.chromium(is_scripted) as context:
        page = context.new_page()
        page.goto(f"{address}/en/codebook.html")
        columns = page.locator("ul.columns > li:visible")
        whole = columns.count()
        assert whole > 30 and page.locator("#search").is_visible() is is_scripted
        if is_scripted:
            page.fill("#wanted", "client.sex")
            assert 0 < columns.count() < 5
            assert page.locator("#found").inner_text() == f"{columns.count()} of {whole} columns"
