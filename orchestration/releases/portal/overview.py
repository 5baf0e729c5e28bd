"""The first page: the few numbers, what the release says to the three questions, and where everything is."""

from __future__ import annotations

from dataclasses import dataclass

from orchestration.analysis.development import PATTERNS
from orchestration.analysis.grouping import ALL
from orchestration.analysis.showing.change import as_imputed
from orchestration.analysis.showing.hazards import own_rows
from orchestration.analysis.showing.source import is_missing, quarter, records
from orchestration.releases.portal.alliance import YEAR, dashed, pattern_counts
from orchestration.releases.portal.parts import Page, Writer
from orchestration.releases.portal.recidivism import widest


@dataclass(frozen=True)
class Card:
    """A number at the top of the page."""

    value: str
    label: str
    detail: str


@dataclass(frozen=True)
class Answer:
    """A question, what the release says to it, and the page with the evidence."""

    question: str
    said: str
    href: str


def overview_page(writer: Writer) -> Page:
    """The page that a visitor sees first."""
    words, about = writer.words, writer.content.about
    answers = [
        Answer(words("overview.question_1"), _development(writer), "alliance.html"),
        Answer(words("overview.question_2"), _determinants(writer), "change.html"),
        Answer(words("overview.question_3"), _recidivism(writer), "recidivism.html"),
    ]
    facts = [
        (words("overview.release"), about.tag), (words("overview.released_on"), about.released_on.isoformat()),
        (words("overview.version"), about.version_id), (words("overview.fit"), about.fit_id),
        (words("overview.register"), quarter(about.registry_cutoff_on)),
        (words("overview.data"), words("overview.simulated" if about.is_simulated else "overview.real")),
    ]  # fmt: skip
    sizes = writer.sizes(writer.frame("estimates")) if writer.has("estimates") else words("stated.nobody")
    stated = writer.stated(sizes, ["estimates", "determinants", "change_patterns"])
    extra = {"cards": _cards(writer), "answers": answers, "facts": facts, "stated": stated}
    return Page("index", words.of(about.study.title), words("overview.lead"), [], extra, "overview")


def _cards(writer: Writer) -> list[Card]:
    words, cards = writer.words, []
    rules = writer.content.spec.recidivism
    if writer.has("estimates"):
        own = own_rows(writer.frame("estimates"), rules.rater)
        own = own[(own["scale"] == rules.grouped_scale) & own["estimate"].notna()]
        for row in records(own[own["adjustment"] == widest(writer)])[:1]:
            outcome = words.name("outcome", row["outcome_id"])
            cards.append(Card(words.count(row["n"]), words("overview.followed"), words("overview.with_events", events=words.count(row["events"]), outcome=outcome)))  # fmt: skip
            ratio, _, interval = words.ratio(row).partition(" ")
            cards.append(Card(ratio, words("overview.ratio", scale=words.name("scale", row["scale"])), words("overview.ratio_detail", interval=interval, adjustment=words.name("adjustment", row["adjustment"]))))  # fmt: skip
    risks = writer.frame("absolute_risk") if writer.has("absolute_risk") else None
    if risks is not None:
        for row in records(risks[(risks["grouping"] == ALL) & (risks["months"] == YEAR)])[:1]:
            low, high = words.percent(row["conf_low"]), words.percent(row["conf_high"])
            cards.append(Card(words.percent(row["risk"]), words("overview.risk"), words("overview.risk_detail", interval=words.span(low, high))))  # fmt: skip
    if writer.has("benchmark"):
        frame = writer.frame("benchmark")
        cards.append(Card(words("overview.of", some=int(frame["agrees"].sum()), all=len(frame)), words("overview.benchmark"), words("overview.benchmark_detail")))  # fmt: skip
    return cards


def _development(writer: Writer) -> str:
    words, spec, said = writer.words, writer.content.spec, []
    scale, rules = spec.recidivism.grouped_scale, spec.determinants
    named = {"scale": words.name("scale", scale), "rater": words.name("rater", rules.rater)}
    if writer.has("change_patterns"):
        counts = pattern_counts(writer.frame("change_patterns"), rules.rater, scale, rules.span, rules.rules[0])
        total = counts.get("total", 0.0)
        shown = [
            words("overview.pattern", share=words.percent(counts[name] / total), pattern=words.name("pattern", name))
            for name in PATTERNS if name in counts and not is_missing(counts[name]) and total > 0
        ]  # fmt: skip
        if shown:
            said.append(words("overview.patterns", span=dashed(rules.span), parts=", ".join(shown), **named))
    if writer.has("growth"):
        frame = writer.frame("growth")
        own = frame[(frame["rater"] == rules.rater) & (frame["scale"] == scale) & (frame["term"] == "months")]
        for row in records(own[own["estimate"].notna()])[:1]:
            change = words.number(YEAR * row["estimate"], sign="+")
            said.append(words("overview.slope", change=change, interval=words.interval(row, factor=YEAR, sign="+"), **named))  # fmt: skip
    return " ".join(said) or words("overview.nothing")


def _determinants(writer: Writer) -> str:
    words, spec = writer.words, writer.content.spec
    if not writer.has("determinants"):
        return words("overview.nothing")
    rules, scale = spec.determinants, spec.recidivism.grouped_scale
    part = as_imputed(writer.frame("determinants"), rules.rater, rules.rules[0])
    part = part[(part["scale"] == scale) & (part["pattern"] == "deteriorating") & part["estimate"].notna()]
    shown = [row for row in records(part) if row["term"] in {one.name for one in rules.predictors}]
    if not shown:
        return words("overview.nothing")
    clear = [row for row in shown if row["conf_low"] > 0 or row["conf_high"] < 0]
    found = "; ".join(words("overview.odds", term=words.name("term", row["term"]), ratio=words.ratio(row)) for row in clear)  # fmt: skip
    return words(
        "overview.determinants" if clear else "overview.no_determinants", scale=words.name("scale", scale),
        rater=words.name("rater", rules.rater), found=found, number=len(shown),
    )  # fmt: skip


def _recidivism(writer: Writer) -> str:
    words, rules = writer.words, writer.content.spec.recidivism
    if not writer.has("estimates"):
        return words("overview.nothing")
    own = own_rows(writer.frame("estimates"), rules.rater)
    own = own[own["estimate"].notna()]
    first = own[(own["scale"] == rules.grouped_scale) & (own["adjustment"] == widest(writer))]
    said = [
        words(
            "overview.hazard", outcome=words.name("outcome", row["outcome_id"]), ratio=words.ratio(row),
            scale=words.name("scale", row["scale"]), rater=words.name("rater", rules.rater), adjustment=words.name("adjustment", row["adjustment"]),
        )
        for row in records(first)[:1]
    ]  # fmt: skip
    clear = int(((own["conf_low"] > 0) | (own["conf_high"] < 0)).sum())
    if len(own):
        said.append(words("overview.hazards", number=len(own), clear=clear, rater=words.name("rater", rules.rater)))
    return " ".join(said) or words("overview.nothing")
