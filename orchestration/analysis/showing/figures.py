"""The pictures of a report, as PNG bytes: no data inside, the same bytes for the same frames. What may be shown is decided before."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE, GREY, INK = "#0b5fa5", "#c8500a", "#1b7f5c", "#8a4a9e", "#8a8f98", "#22262b"
GROUP_COLOURS = (ORANGE, PURPLE, BLUE, INK, GREY)  # by the place of a group
MARKERS = ("o", "s", "D", "^", "v")


@dataclass(frozen=True)
class Stamp:
    """What every figure says of itself: where its numbers come from, and whether they are simulated."""

    source: str
    is_simulated: bool


def _style() -> dict[str, object]:
    return {
        "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left",
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#9aa0a6", "axes.labelcolor": INK, "text.color": INK,
        "axes.grid": True, "grid.color": "#e7e9ec", "grid.linewidth": 0.8, "axes.axisbelow": True, "xtick.color": "#4b5158",
        "ytick.color": "#4b5158", "legend.frameon": False, "figure.facecolor": "white", "savefig.facecolor": "white",
    }  # fmt: skip


def _drawn(draw: Callable[[], Figure], stamp: Stamp) -> bytes:
    import matplotlib

    matplotlib.use("Agg", force=False)
    import matplotlib.pyplot as plt

    with plt.rc_context(_style()):  # type: ignore[arg-type]
        figure = draw()
        figure.text(0.995, 0.004, stamp.source, ha="right", va="bottom", fontsize=7.5, color="#6a7077")
        if stamp.is_simulated:
            figure.text(
                0.005, 0.004, "SIMULATED DATA", ha="left", va="bottom", fontsize=9, fontweight="bold", color="white",
                bbox={"facecolor": "#b3261e", "edgecolor": "none", "pad": 2.5},
            )  # fmt: skip
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
        plt.close(figure)
    return buffer.getvalue()


def alliance_by_wave(means: pd.DataFrame, labels: Mapping[str, str], stamp: Stamp) -> bytes:
    """Small multiples by scale: mean and 95 % interval of both raters at each wave. Rows: rater, scale, wave, mean, conf_*."""

    def draw() -> Figure:
        import matplotlib.pyplot as plt

        scales = list(dict.fromkeys(means["scale"]))
        waves = sorted(means["wave"].unique())
        figure, axes = plt.subplots(1, max(len(scales), 1), figsize=(9.2, 3.5), sharey=True, squeeze=False)
        for axis, scale in zip(axes[0], scales, strict=False):
            for rater, colour, marker, shift in (("client", BLUE, "o", -0.07), ("officer", ORANGE, "s", 0.07)):
                part = means[(means["scale"] == scale) & (means["rater"] == rater)].sort_values("wave")
                x = np.array([waves.index(wave) for wave in part["wave"]]) + shift
                mean, low, high = (part[name].to_numpy(dtype=float) for name in ("mean", "conf_low", "conf_high"))
                axis.errorbar(
                    x,
                    mean,
                    yerr=[mean - low, high - mean],
                    color=colour,
                    marker=marker,
                    markersize=5,
                    linewidth=1.6,
                    capsize=2.5,
                    label=rater,
                )
            axis.set_title(labels.get(scale, scale))
            axis.set_xticks(range(len(waves)), waves)
            axis.set_xlim(-0.4, len(waves) - 0.6)
        axes[0][0].set_ylabel("mean score")
        axes[0][0].legend(loc="best", fontsize=9, title="rated by", title_fontsize=9)
        figure.subplots_adjust(left=0.065, right=0.99, top=0.91, bottom=0.16, wspace=0.08)
        return figure

    return _drawn(draw, stamp)


def survival(
    curves: pd.DataFrame,
    at_risk: pd.DataFrame,
    titles: Mapping[str, str],
    groups: Sequence[str],
    what: str,
    stamp: Stamp,
) -> bytes:
    """One panel per outcome: survival of each group at the points given, with 95 % intervals, and rounded numbers at risk.

    `what`: the score that the groups (five at most) are of. `curves`: outcome_id, group, month, survival, conf_*; `at_risk`: outcome_id, group, month, shown (text).
    """

    def draw() -> Figure:
        import matplotlib.pyplot as plt

        outcomes = list(titles)
        figure, axes = plt.subplots(1, max(len(outcomes), 1), figsize=(9.2, 4.3), sharey=True, squeeze=False)
        for axis, outcome in zip(axes[0], outcomes, strict=False):
            for number, group in enumerate(groups):
                part = curves[(curves["outcome_id"] == outcome) & (curves["group"] == group)].sort_values("month")
                if len(part):
                    month, alive, low, high = (
                        part[name].to_numpy(dtype=float) for name in ("month", "survival", "conf_low", "conf_high")
                    )
                    x = month + (number - (len(groups) - 1) / 2) * 0.35 * (month > 0)
                    axis.errorbar(x, alive, yerr=[alive - low, high - alive], color=GROUP_COLOURS[number], marker=MARKERS[number], markersize=5,
                                  linewidth=1.8, capsize=2.5, elinewidth=1, label=group if len(part) > 1 else f"{group} (too few events)")  # fmt: skip
            axis.set_ylim(0, 1.02)
            axis.set_xlim(-1, 49)
            axis.set_xticks(range(0, 49, 12))
            axis.set_xlabel("months at risk since the origin")
            axis.set_title(titles[outcome])
            _risk_table(axis, at_risk[at_risk["outcome_id"] == outcome], groups)
        axes[0][0].set_ylabel("without recidivism")
        axes[0][0].legend(loc="lower left", fontsize=9, title=what, title_fontsize=9)
        figure.subplots_adjust(left=0.085, right=0.985, top=0.92, bottom=0.34, wspace=0.06)
        return figure

    return _drawn(draw, stamp)


def _risk_table(axis: Axes, rows: pd.DataFrame, groups: Sequence[str]) -> None:
    axis.text(
        -1,
        -0.26,
        "at risk (rounded to 5)",
        transform=axis.get_xaxis_transform(),
        fontsize=8,
        color="#4b5158",
        ha="left",
    )
    for line, group in enumerate(groups):
        y = -0.34 - 0.075 * line
        part = rows[rows["group"] == group]
        for month, shown in zip(part["month"], part["shown"], strict=True):
            axis.text(
                month,
                y,
                shown,
                transform=axis.get_xaxis_transform(),
                ha="center",
                fontsize=8.5,
                color=GROUP_COLOURS[line],
            )


def forest(
    rows: pd.DataFrame,
    titles: Mapping[str, str],
    scales: Mapping[str, str],
    adjustments: Mapping[str, str],
    stamp: Stamp,
) -> bytes:
    """One panel per outcome: hazard ratio and 95 % interval for a point more on each scale, one mark per adjustment.

    Rows: outcome_id, scale, adjustment, estimate, conf_low, conf_high (log hazard ratios).
    """

    def draw() -> Figure:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

        outcomes = list(titles)
        figure, axes = plt.subplots(
            1, max(len(outcomes), 1), figsize=(9.2, 4.0), sharey=True, sharex=True, squeeze=False
        )
        colours, markers = (GREY, GREEN, BLUE, ORANGE), ("o", "s", "D", "^")
        for axis, outcome in zip(axes[0], outcomes, strict=False):
            axis.axvline(1, color="#5b6168", linewidth=1)
            for place, scale in enumerate(scales):
                for number, adjustment in enumerate(adjustments):
                    part = rows[
                        (rows["outcome_id"] == outcome) & (rows["scale"] == scale) & (rows["adjustment"] == adjustment)
                    ]
                    if not len(part):
                        continue
                    one = part.iloc[0]
                    y = place + (number - (len(adjustments) - 1) / 2) * 0.22
                    ratio, low, high = np.exp([one["estimate"], one["conf_low"], one["conf_high"]])
                    axis.errorbar([ratio], [y], xerr=[[ratio - low], [high - ratio]], color=colours[number], marker=markers[number],
                                  markersize=5.5, linewidth=1.6, capsize=2.5, label=adjustments[adjustment] if place == 0 else None)  # fmt: skip
            axis.set_xscale("log")
            axis.set_title(titles[outcome])
            axis.set_xlabel("hazard ratio for one point more (log scale)")
            axis.xaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.33, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10]))
            axis.xaxis.set_minor_locator(NullLocator())
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_yticks(range(len(scales)), list(scales.values()))
            axis.grid(axis="y", visible=False)
        axes[0][0].set_ylim(len(scales) - 0.5, -0.5)
        handles, names = axes[0][0].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="lower center", bbox_to_anchor=(0.5, 0.035), ncols=len(adjustments), fontsize=9
        )
        figure.subplots_adjust(left=0.175, right=0.985, top=0.92, bottom=0.23, wspace=0.05)
        return figure

    return _drawn(draw, stamp)


def specification_curve(rows: pd.DataFrame, stamp: Stamp) -> bytes:
    """Hazard ratios of every model from low to high with 95 % intervals, and below each what it was made of: outcome, scale,
    rater, adjustment. Dark where the p-value corrected by Holm is below .05. Rows: as `multiverse.COLUMNS`.
    """

    def draw() -> Figure:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

        ordered = rows.sort_values(["estimate", "model_id"], kind="stable").reset_index(drop=True)
        choices = [
            (name, value)
            for name in ("outcome_id", "scale", "rater", "adjustment")
            for value in dict.fromkeys(rows[name].astype(str))
        ]
        figure, (above, below) = plt.subplots(
            2,
            1,
            figsize=(9.2, 4.2 + 0.17 * len(choices)),
            sharex=True,
            height_ratios=[3.4, max(0.17 * len(choices), 0.5)],
        )
        x = np.arange(len(ordered))
        ratio, low, high = (
            np.exp(ordered[name].to_numpy(dtype=float)) for name in ("estimate", "conf_low", "conf_high")
        )
        is_left = (ordered["p_holm"] < 0.05).to_numpy(dtype=bool)
        above.axhline(1, color="#5b6168", linewidth=1)
        for mask, colour, label in ((~is_left, GREY, "not below .05 by Holm"), (is_left, BLUE, "below .05 by Holm")):
            above.vlines(x[mask], low[mask], high[mask], color=colour, linewidth=0.8, alpha=0.7)
            above.plot(x[mask], ratio[mask], ".", color=colour, markersize=4, label=label)
        above.set_yscale("log")
        above.yaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.33, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10]))
        above.yaxis.set_minor_locator(NullLocator())
        above.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        above.set_ylabel("hazard ratio for one point more")
        above.legend(loc="upper left", fontsize=9)
        for y, (name, value) in enumerate(choices):
            hit = x[(ordered[name].astype(str) == value).to_numpy()]
            below.plot(hit, np.full(len(hit), y), "|", color=INK, markersize=5)
        below.set_yticks(range(len(choices)), [value.replace("_", " ") for _, value in choices], fontsize=7.5)
        below.set_ylim(len(choices) - 0.5, -0.5)
        below.set_xticks([])
        below.set_xlabel("models, by hazard ratio")
        figure.subplots_adjust(left=0.235, right=0.985, top=0.98, bottom=0.07, hspace=0.03)
        return figure

    return _drawn(draw, stamp)


def benchmark(rows: pd.DataFrame, stamp: Stamp) -> bytes:
    """Published intervals as grey bands, ours as points: they must cover each other. Rows: term, published and computed low, ratio, high."""

    def draw() -> Figure:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

        figure, axis = plt.subplots(figsize=(9.2, 2.7))
        axis.axvline(1, color="#5b6168", linewidth=1)
        for y, row in enumerate(rows.to_dict("records")):
            axis.plot([row["published_low"], row["published_high"]], [y, y], color="#c9ced4", linewidth=9, solid_capstyle="butt",
                      label="published" if y == 0 else None)  # fmt: skip
            axis.errorbar([row["ratio"]], [y], xerr=[[row["ratio"] - row["low"]], [row["high"] - row["ratio"]]], color=GREEN, marker="o", markersize=5.5,
                          linewidth=1.6, capsize=3, label="computed here" if y == 0 else None)  # fmt: skip
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(FixedLocator([0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.5]))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_yticks(range(len(rows)), list(rows["term"]))
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.grid(axis="y", visible=False)
        axis.set_xlabel("hazard ratio (log scale)")
        axis.legend(loc="upper right", fontsize=9)
        figure.subplots_adjust(left=0.1, right=0.985, top=0.97, bottom=0.24)
        return figure

    return _drawn(draw, stamp)
