"""Who is in the study: the flow from all clients to those analysed, Table 1, and how many reoffended how often."""

from __future__ import annotations

import textwrap

import pandas as pd

from orchestration.analysis.baseline import YES_NO
from orchestration.analysis.grouping import ALL
from orchestration.analysis.showing import figures
from orchestration.analysis.showing.source import NBSP, Record, Table, is_missing, records
from orchestration.releases.portal.parts import Block, Figure, Page, Part, Section, Writer

TITLE = 28  # characters in a line above a column of the flow diagram
FLOW, EVENTS, ENTRY = "flow.", "events.", "flow.entry"


def cohort_page(writer: Writer) -> Page:
    """The page of people."""
    words = writer.words
    sections = [
        Section(
            "flow",
            words("cohort.flow_title"),
            [Block("", _flow(writer)), *_other_flows(writer)],
            words("cohort.flow_lead"),
        ),
        Section("baseline", words("cohort.baseline_title"), _baseline(writer), words("cohort.baseline_lead")),
        Section("events", words("cohort.events_title"), [Block("", _events(writer))], words("cohort.events_lead")),
    ]
    return Page("cohort", words("cohort.title"), words("cohort.lead"), sections)


def _flow(writer: Writer) -> list[Part]:
    if not writer.has("cohort_flow"):
        return [writer.absent("cohort_flow")]
    frame = writer.frame("cohort_flow")
    drawn = _drawn(writer, [str(name) for name in dict.fromkeys(frame["table"])])
    return [*_flow_picture(writer, frame, drawn), *(_flow_table(writer, frame, name) for name in drawn)]


def _drawn(writer: Writer, names: list[str]) -> list[str]:
    """The shared steps and the outcomes that models were fitted of; where none of these left, the first."""
    modelled = (
        {f"{FLOW}{name}" for name in writer.frame("estimates")["outcome_id"]} if writer.has("estimates") else set()
    )
    return [name for name in names if name == ENTRY or name in modelled] or names[:1]


def _other_flows(writer: Writer) -> list[Block]:
    if not writer.has("cohort_flow"):
        return []
    frame = writer.frame("cohort_flow")
    names = [str(name) for name in dict.fromkeys(frame["table"])]
    drawn = _drawn(writer, names)
    others = [_flow_table(writer, frame, name) for name in names if name not in drawn]
    return [Block(writer.words("cohort.other_flows"), others, is_open=False)] if others else []


def flow_steps(frame: pd.DataFrame, name: str) -> list[Record]:
    """The steps of one judged flow in order: step, out and after; counts missing where hidden. First who enters, step None."""
    cells = frame[frame["table"] == name].set_index("class")["count"]
    steps = [label for label in cells.index if f"after {label}" in cells.index]
    first: Record = {"step": None, "out": None, "after": cells["total"]}
    return [first, *({"step": step, "out": cells[step], "after": cells[f"after {step}"]} for step in steps)]


def _flow_title(writer: Writer, name: str) -> str:
    return writer.words("cohort.entry") if name == ENTRY else writer.words.name("outcome", name.removeprefix(FLOW))


def _flow_table(writer: Writer, frame: pd.DataFrame, name: str) -> Table:
    words = writer.words
    rows = [
        [_step(writer, one, name), "" if one["step"] is None else _count(writer, one["out"]), _count(writer, one["after"])]
        for one in flow_steps(frame, name)
    ]  # fmt: skip
    return writer.table(
        _flow_title(writer, name), [words("cohort.step"), words("cohort.left_out"), words("cohort.remaining")], rows,
        _flow_sizes(writer, frame, name), ["cohort_flow"], words("cohort.flow_note"),
    )  # fmt: skip


def _step(writer: Writer, one: Record, name: str) -> str:
    if one["step"] is None:
        return writer.words("cohort.known" if name == ENTRY else "cohort.entered")
    return writer.words.name("step", one["step"])


def _flow_sizes(writer: Writer, frame: pd.DataFrame, name: str) -> str:
    left = flow_steps(frame, name)[-1]["after"]
    return writer.words("stated.flow", n=writer.words("stated.not_shown") if is_missing(left) else _count(writer, left))


def _flow_picture(writer: Writer, frame: pd.DataFrame, names: list[str]) -> list[Figure]:
    columns = {}
    for name in names:
        steps = flow_steps(frame, name)
        kept = [one for one in steps if one["step"] is None or one is steps[-1] or one["out"] != 0]
        columns[textwrap.fill(_flow_title(writer, name), TITLE)] = [
            (_step(writer, one, name), "" if one["step"] is None else _count(writer, one["out"]), "" if is_missing(one["after"]) else _count(writer, one["after"]))
            for one in kept
        ]  # fmt: skip
    words = writer.words
    return [
        writer.figure(
            "flow", lambda stamp: figures.flow(columns, stamp), words("cohort.flow_caption"), words("cohort.flow_alternative"),
            _flow_sizes(writer, frame, names[0]), ["cohort_flow"],
        )
    ]  # fmt: skip


def _count(writer: Writer, value: object) -> str:
    return writer.words("hidden") if is_missing(value) else writer.words.count(float(str(value)))


def _baseline(writer: Writer) -> list[Block]:
    if not writer.has("baseline"):
        return [Block("", [writer.absent("baseline")])]
    frame = writer.frame("baseline")
    outcomes = [str(name) for name in dict.fromkeys(frame["outcome_id"])]
    return [
        Block(writer.words.name("outcome", outcome), [_baseline_table(writer, frame[frame["outcome_id"] == outcome])], is_open=place == 0)
        for place, outcome in enumerate(outcomes)
    ]  # fmt: skip


def _baseline_table(writer: Writer, frame: pd.DataFrame) -> Table:
    words = writer.words
    groups = [str(group) for group in dict.fromkeys(frame["group"])]
    groups = [*(group for group in groups if group == ALL), *(group for group in groups if group != ALL)]
    cells = {(row["term"], row["group"]): row for row in records(frame)}
    rows = []
    for term in dict.fromkeys(str(name) for name in frame["term"]):
        found = [cells.get((term, group)) for group in groups]
        kind = next(row["kind"] for row in found if row is not None)
        name = described_name(writer, term)
        rows.append(
            [
                f"{name}, {words('cohort.share' if kind == YES_NO else 'cohort.mean')}",
                *[_described(writer, row) for row in found],
            ]
        )
    sizes = frame.drop_duplicates("group").set_index("group")["n"] if "n" in frame else pd.Series(dtype=float)
    heads = [f"{words.name('group', group)} (n = {words.count(sizes[group])})" if group in sizes and not is_missing(sizes[group]) else words.name("group", group) for group in groups]  # fmt: skip
    outcome = str(frame["outcome_id"].iloc[0])
    return writer.table(
        words("cohort.baseline_caption", outcome=words.name("outcome", outcome)), [words("cohort.characteristic"), *heads], rows,
        writer.sizes(frame[frame["group"] == ALL]), ["baseline"], words("cohort.baseline_note"),
    )  # fmt: skip


def described_name(writer: Writer, term: str) -> str:
    """A row of Table 1 in words: a covariate as it was measured, before any logarithm or division, or a score (`client_trust_t1`)."""
    names = writer.words.texts["names"]
    if term in names["described"] or term in names["term"]:
        return writer.words.name("described" if term in names["described"] else "term", term)
    return _score(writer, term)


def _score(writer: Writer, column: str) -> str:
    rater, _, rest = column.partition("_")
    scale, _, wave = rest.rpartition("_")
    words = writer.words
    return words("score", scale=words.name("scale", scale), wave=wave.upper(), rater=words.name("rater", rater))


def _described(writer: Writer, row: Record | None) -> str:
    words = writer.words
    if row is None:
        return words("hidden")
    if row["kind"] == YES_NO:
        return words("hidden") if is_missing(row.get("share")) else words.percent(row["share"])
    if is_missing(row.get("mean")):
        return words("hidden")
    return f"{words.number(row['mean'])}{NBSP}({words.number(row['sd'])})"


def _events(writer: Writer) -> list[Part]:
    if not writer.has("event_counts"):
        return [writer.absent("event_counts")]
    frame, words = writer.frame("event_counts"), writer.words
    names = [str(name) for name in dict.fromkeys(frame["table"])]
    classes = sorted({str(name) for name in frame["class"]} - {"total"}, key=lambda name: (len(name), name))
    counts = {(row["table"], row["class"]): row["count"] for row in records(frame)}
    rows = [
        [words.name("outcome", name.removeprefix(EVENTS)), *[_count(writer, counts[name, one]) if (name, one) in counts else "" for one in (*classes, "total")]]
        for name in names
    ]  # fmt: skip
    total = frame.loc[frame["class"] == "total", "count"].max()
    return [
        writer.table(
            words("cohort.events_caption"), [words("outcome"), *[words("cohort.times", number=one) for one in classes], words("total")],
            rows, words("stated.counted", n=_count(writer, total)), ["event_counts"], words("cohort.events_note"),
        )
    ]  # fmt: skip
