"""What lies beside the page: model cards, checklists, tables for a manuscript; and the numbers shown, held against R."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis.fit import FitResult, recovery_badge
from orchestration.analysis.grouping import groupings
from orchestration.analysis.inputs import DAYS_PER_MONTH, Inputs
from orchestration.analysis.recidivism import outcome_cohort
from orchestration.analysis.showing.checked import recovery_tables
from orchestration.analysis.showing.checklists import filled, read_checklists, unfilled
from orchestration.analysis.showing.facts import facts
from orchestration.analysis.showing.pages import BESIDE, CARDS, CHECKLISTS, TABLES, write_pages
from orchestration.analysis.showing.report import outcome_labels, source_of
from orchestration.analysis.showing.source import Source, p_text
from orchestration.analysis.specification import Specification
from tests.analysis.reference_r import ask_r, needs_r

SIMULATED = {"version_id": "cafe", "simulated": True, "registry_cutoff_on": "2025-12-31"}
OUTCOME = "general_landmark"


@pytest.fixture(scope="module")
def written(fit_folder: Path, spec: Specification, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with everything that is written of the fit."""
    out = tmp_path_factory.mktemp("pages")
    assert {path.name for path in write_pages(fit_folder, SIMULATED, out / "report.html", spec=spec)} == {*BESIDE, "report.html"}  # fmt: skip
    return out


@pytest.fixture(scope="module")
def known(result: FitResult, fit_folder: Path, spec: Specification) -> dict[str, str]:
    manifest = json.loads((fit_folder / "manifest.json").read_text())
    source = source_of(manifest, SIMULATED, "f00d", 10)
    return facts(dict(result.tables), manifest, spec, outcome_labels(result.absolute_risk), recovery_badge(), source)


def test_the_checklists_have_all_their_items_and_everything_that_the_platform_can_know_is_filled(
    known: dict[str, str],
) -> None:
    tripod, strobe = read_checklists()
    for checklist, count in ((tripod, 27), (strobe, 22)):
        assert {int(re.match(r"\d+", item.number)[0]) for item in checklist.items} == set(range(1, count + 1))  # type: ignore[index]
        assert unfilled(checklist, known) == []
    items = [item for checklist in (tripod, strobe) for item in checklist.items]
    assert {filled(item, known) for item in items if not item.known} == {"author"}
    assert sum(bool(item.known) for item in items) > 45
    assert unfilled(tripod, {**known, "imbalance": ""}) == ["13"]


def test_the_checklists_page_says_what_is_the_authors(written: Path) -> None:
    page = (written / CHECKLISTS).read_text(encoding="utf-8")
    items = [item for checklist in read_checklists() for item in checklist.items]
    assert page.count("<td>author</td>") == sum(not item.known for item in items)
    assert "SIMULATED" in page and "version cafe" in page


def test_every_model_has_a_card_that_says_what_it_is_not_for_and_where_it_ends(
    written: Path, result: FitResult
) -> None:
    page = (written / CARDS).read_text(encoding="utf-8")
    models = {str(name) for name in result.estimates["model_id"] if not str(name).endswith(".split")}
    assert set(re.findall(r'<details id="([^"]+)"', page)) == models
    for label in ("Not for", "Outcome", "n, events", "Events for each parameter", "Missing data", "Performance", "Calibration", "Limits", "Checked", "Version"):  # fmt: skip
        assert page.count(f"<dt>{label}</dt>") == len(models), label
    assert page.count("fewer than 10 events for each parameter") == sum(
        result.estimates.groupby("model_id")["events_per_parameter"].min().loc[sorted(models)] < 10
    )


def test_what_lies_beside_fetches_nothing_and_names_nobody(written: Path, result: FitResult) -> None:
    people = set(result.imputed["client_id"]) | set(result.imputed["cluster"])
    for name in (CARDS, CHECKLISTS):
        page = (written / name).read_text(encoding="utf-8")
        assert not re.search(r"https?:|<script|@import|url\(", page)
        assert set(re.findall(r'href="([^"]+)"', page)) == {"report.html"}
        assert not any(person in page for person in people)


def test_the_document_has_the_tables_of_the_page_in_the_style_of_a_manuscript(written: Path) -> None:
    import docx

    document = docx.Document(str(written / TABLES))
    page = (written / "report.html").read_text(encoding="utf-8")
    numbered = re.findall(r"<caption>(Table \d+)\. ", page)
    said = [paragraph.text for paragraph in document.paragraphs]
    assert [text for text in said if re.fullmatch(r"Table \d+", text)] == numbered
    assert len(document.tables) == len(numbered) == 7
    assert sum(text.startswith("Note. ") and "version cafe" in text and "SIMULATED" in text for text in said) == 7
    assert document.sections[0].header.paragraphs[0].text.startswith("SIMULATED")
    cells = [cell.text for table in document.tables[2:] for row in table.rows for cell in row.cells]
    assert any(re.fullmatch(r"\.\d{3}", cell) for cell in cells), "p without its leading zero"
    assert not any(re.fullmatch(r"0\.\d{3}", cell) for cell in cells)
    assert any(re.fullmatch(r"\d+\.\d\d \[\d+\.\d\d,\s\d+\.\d\d\]", cell) for cell in cells)
    shown = set(re.split(r"</?t[hd][^>]*>", html.unescape(page)))
    assert set(cells) <= shown | {""}


def test_everything_is_the_same_each_time(written: Path, fit_folder: Path, spec: Specification, tmp_path: Path) -> None:
    """Pictures and the document too: the same fit gives the same bytes."""
    for path in write_pages(fit_folder, SIMULATED, tmp_path / "report.html", spec=spec):
        assert path.read_bytes() == (written / path.name).read_bytes(), path.name


def test_an_older_badge_without_mutants_shows_the_right_method_alone() -> None:
    source = Source("v", "f", True, 10)
    old = {"studies": 200, "coverage": {"Trust": 0.95}, "bias": {"Trust": 0.01}, "se_ratio": {"Trust": 1.0}}
    (table,) = recovery_tables(old, source)
    assert table.rows == [["Trust", "the method of this page", "–", "–", "+0.010", "0.950", "1.00", "–"]]
    effect = {"name": "Trust, one imputation", "role": "mutant", "truth": -0.7, "studies": 200, "mean": -0.7, "bias": 0.0, "coverage": 0.85, "se_ratio": 0.7, "width": 0.9}  # fmt: skip
    new = {**old, "effects": [effect], "bars": [{"name": "Trust", "found": "x", "asked": "y", "is_met": False}]}
    effects, bars = recovery_tables(new, source)
    assert effects.rows[0][:2] == ["Trust, one imputation", "broken on purpose"] and bars.flags == ["bad"]
    assert recovery_tables({"is_proven": False, "said": "nothing"}, source) == []


R_OF_THE_TABLES = """
library(survival)
people <- frame("people")
rated <- people[people$group != "not_rated", ]
test <- survdiff(Surv(duration, event) ~ group, data = rated); say("chisq", test$chisq)
low <- survfit(Surv(duration, event) ~ 1, data = rated[rated$group == "low", ])
days <- frame("months")$days
say("survival", summary(low, times = days)$surv)
say("rmst", summary(low, rmean = frame("horizon")$days)$table["rmean"])
whole <- survfit(Surv(duration, event) ~ 1, data = people)
say("whole", summary(whole, rmean = frame("horizon")$days)$table["rmean"])
imputed <- frame("imputed"); groups <- length(unique(imputed$cluster))
fits <- lapply(split(imputed, imputed$imputation), function(one)
  coxph(Surv(duration_days, event) ~ client_trust_t2 + log_prior_cases + has_prior_custody, data = one, cluster = cluster, ties = "efron"))
coefficient <- sapply(fits, coef); variance <- sapply(fits, function(one) diag(vcov(one))) * groups / (groups - 1)
m <- ncol(coefficient)
say("estimate", rowMeans(coefficient))
say("error", sqrt(rowMeans(variance) + (1 + 1 / m) * apply(coefficient, 1, var)))
"""


@needs_r
def test_the_numbers_shown_are_those_of_r(
    result: FitResult, inputs: Inputs, spec: Specification, written: Path, tmp_path: Path
) -> None:
    """Kaplan-Meier, log-rank, restricted mean and Cox of the written tables against R's survival, and as the page prints them."""
    cohort = outcome_cohort(inputs.analysis_cohort, OUTCOME, spec)
    (third,) = [one for one in groupings(cohort, inputs.alliance_change, spec) if (one.rater, one.scale, one.name) == ("client", "trust", "tertile")]  # fmt: skip
    people = pd.DataFrame({"duration": cohort.duration, "event": cohort.event.astype(int), "group": third.label})

    def drawn(table: pd.DataFrame) -> pd.DataFrame:
        is_drawn = (table["outcome_id"] == OUTCOME) & (table["rater"] == "client") & (table["scale"] == "trust")
        return table[is_drawn & (table["grouping"] == "tertile")]

    curve = drawn(result.survival_curves)
    curve = curve[(curve["group"] == "low") & (curve["at_risk"] > 0)].sort_values("month")
    imputed = result.imputed[result.imputed["outcome_id"] == OUTCOME]
    answers = ask_r(
        tmp_path, R_OF_THE_TABLES, people=people, imputed=imputed.assign(event=imputed["event"].astype(int)),
        months=pd.DataFrame({"days": curve["month"] * DAYS_PER_MONTH}), horizon=pd.DataFrame({"days": [spec.recidivism.restricted_mean_months * DAYS_PER_MONTH]}),
    )  # fmt: skip

    test = drawn(result.log_rank).iloc[0]
    means = drawn(result.restricted_mean)
    low = means[(means["group"] == "low") & (means["compared_with"] == "")].iloc[0]
    model = result.estimates[result.estimates["model_id"] == f"{OUTCOME}.client.trust.criminal_history"]
    assert set(model["method"]) == {"partial likelihood"}
    np.testing.assert_allclose(curve["survival"], answers["survival"], rtol=0, atol=1e-6)
    assert test["statistic"] == pytest.approx(answers["chisq"][0], abs=1e-6)
    assert low["days"] == pytest.approx(answers["rmst"][0], abs=1e-6 * 730)
    np.testing.assert_allclose(model["estimate"], answers["estimate"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(model["std_error"], answers["error"], rtol=0, atol=1e-6)

    page = (written / "report.html").read_text(encoding="utf-8")
    assert (
        f"<td>{answers['chisq'][0]:.2f}</td><td>2</td><td>{p_text(test['p_value']).replace('<', '&lt;')}</td>" in page
    )
    assert f"<td>{answers['whole'][0]:.1f}</td>" in page
    assert f"<td>{np.exp(answers['estimate'][0]):.2f}</td>" in page
