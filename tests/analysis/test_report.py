"""The page: complete, marked, self-contained, accessible, and without small counts."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from orchestration.analysis.fit import FitResult, run_fit, write_fit
from orchestration.analysis.showing.report import Source, flow_tables, render_report
from orchestration.analysis.specification import Specification
from tests.analysis.synthetic import synthetic_inputs

SIMULATED = {"version_id": "cafe", "simulated": True, "registry_cutoff_on": "2025-12-31"}
CHROMIUM = shutil.which("chromium")


class Elements(HTMLParser):
    """Every element with its attributes, and all text outside styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link", "br"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self._inside:
            self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def page(fit_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return render_report(fit_folder, SIMULATED, tmp_path_factory.mktemp("page") / "report.html").read_text(
        encoding="utf-8"
    )


@pytest.fixture(scope="module")
def real_page(fit_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same fit, as if its deliveries were real."""
    out = tmp_path_factory.mktemp("page") / "real.html"
    return render_report(fit_folder, {**SIMULATED, "simulated": False}, out).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def elements(page: str) -> Elements:
    return Elements(page)


def test_a_simulated_cohort_is_marked_on_the_page_and_in_its_title(page: str, elements: Elements) -> None:
    assert "SIMULATED: the cohort on this page does not exist" in page
    assert re.search(r"<title>SIMULATED", page)
    assert page.count('class="mark">Simulated') >= 4  # data line and each figure but the benchmark's


def test_real_deliveries_carry_no_such_mark(real_page: str) -> None:
    assert "SIMULATED" not in real_page and 'class="mark">Simulated' not in real_page


def test_every_figure_of_a_simulated_cohort_says_so_in_its_pixels(page: str, real_page: str) -> None:
    """The same fit drawn as real differs in three of four images: all but the benchmark."""
    ours, theirs = (re.findall(r'src="(data:image/png;base64,[^"]+)"', text) for text in (page, real_page))
    assert [one != other for one, other in zip(ours, theirs, strict=True)] == [True, True, True, False]


def test_nothing_is_fetched_from_anywhere(page: str, elements: Elements) -> None:
    for tag, attributes in elements.found:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/png", "#")), (tag, name)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]+", "", page))
    assert not elements.of("script") and not re.search(r"\son\w+=", page)


def test_the_page_can_be_read_without_seeing_it(elements: Elements) -> None:
    assert elements.of("html")[0]["lang"] == "en"
    assert all(len(str(image.get("alt"))) > 40 for image in elements.of("img")) and len(elements.of("img")) == 4
    assert len(elements.of("h1")) == 1 and len(elements.of("h2")) == 8
    assert len(elements.of("caption")) == len(elements.of("table"))
    assert all(header.get("scope") in ("col", "row") for header in elements.of("th"))


def test_figures_hold_no_data_and_are_the_same_each_time(page: str, fit_folder: Path, tmp_path: Path) -> None:
    again = render_report(fit_folder, SIMULATED, tmp_path / "again.html").read_text(encoding="utf-8")
    assert again == page
    for encoded in re.findall(r"data:image/png;base64,([^\"]+)", page):
        png = base64.b64decode(encoded)
        assert png.startswith(b"\x89PNG") and b"tEXt" not in png and b"iTXt" not in png


def test_every_table_states_version_and_fit(elements: Elements) -> None:
    text = "".join(elements.text)
    assert text.count("version cafe · fit f00d") >= len(elements.of("table"))


def test_no_person_and_no_count_below_ten_is_on_the_page(elements: Elements, result: FitResult) -> None:
    text = "".join(elements.text)
    assert not any(client in text for client in set(result.imputed["client_id"]) | set(result.imputed["cluster"]))
    assert not re.search(r"(?<![\d.,])[1-9] \(\d+ %\)", text), "a pattern count below ten"
    assert not re.search(r"n = [1-9](?!\d|,)", text), "a group size below ten"


def test_small_exclusions_are_hidden_and_cannot_be_subtracted() -> None:
    source = Source("v", "f", True, 10)
    flow = pd.DataFrame(
        {"outcome_id": "o", "step": [1, 2, 3], "step_name": ["rated_at_t1", "linked", "at_risk"], "n_in": [230, 200, 196],
         "n_out": [30, 4, 0], "n_remaining": [200, 196, 196]}
    )  # fmt: skip
    rows = flow_tables(flow, {"o": "Outcome"}, source)[0].rows
    assert [row[1:] for row in rows] == [["", "230"], ["few", "·"], ["few", "·"], ["0", "196"]]
    only_few = flow.assign(n_in=[200, 200, 196], n_out=[0, 4, 0])
    rows = flow_tables(only_few, {"o": "Outcome"}, source)[0].rows
    assert [row[1:] for row in rows] == [["", "about 200"], ["0", "·"], ["few", "·"], ["0", "196"]]


def test_labels_are_escaped(fit_folder: Path, tmp_path: Path) -> None:
    hostile = {**SIMULATED, "version_id": "<script>alert(1)</script>"}
    page = render_report(fit_folder, hostile, tmp_path / "hostile.html").read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page


def test_a_tiny_cohort_gives_a_page_that_shows_next_to_nothing(spec: Specification, tmp_path: Path) -> None:
    few = synthetic_inputs(12, seed=2)
    write_fit(run_fit(few, spec), tmp_path / "fit", {"fit_id": "tiny", "version_id": "cafe", "simulated": True})
    elements = Elements(render_report(tmp_path / "fit", SIMULATED, tmp_path / "tiny.html").read_text(encoding="utf-8"))
    assert len(elements.of("img")) <= 2
    assert "not estimable" in "".join(elements.text)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH (apt: chromium)")
def test_a_browser_lays_it_out(page: str, tmp_path: Path) -> None:
    source, picture = tmp_path / "report.html", tmp_path / "report.png"
    source.write_text(page, encoding="utf-8")
    subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,2400", f"--screenshot={picture}", source.as_uri()],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert picture.stat().st_size > 50_000


def test_the_page_of_other_models_names_what_they_are_of(fit_folder: Path, spec: Specification, tmp_path: Path) -> None:
    """The officer first, Bond by the first rating in groups, and another treatment of ties."""
    other = replace(
        spec.recidivism, raters=("officer", "client"), grouped_scale="bond", wave="t1", ties="breslow",
        exposures={"score": {"score": "t1"}},
    )  # fmt: skip
    page = render_report(
        fit_folder, SIMULATED, tmp_path / "other.html", spec=replace(spec, recidivism=other)
    ).read_text()
    for said in ("officer-rated Bond at T1", "each officer-rated scale at T1", "Breslow&#39;s treatment of ties", "Bond, in 3 groups", "those of the officer are shown"):  # fmt: skip
        assert said in page, said
    assert "Trust at T2" not in page and "client-rated" not in page
