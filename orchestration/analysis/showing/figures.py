"""The pictures of ratings and models, as PNG bytes: no data inside, the same bytes for the same frames. What may be shown is decided
before; curves over time are in `figures_time.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from orchestration.analysis.showing.drawing import BLUE, GREEN, GREY, INK, ORANGE, Stamp, drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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

    return drawn(draw, stamp)


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
            handles, names, loc="lower center", bbox_to_anchor=(0.5, 0.05), ncols=len(adjustments), fontsize=9
        )
        figure.subplots_adjust(left=0.175, right=0.985, top=0.92, bottom=0.23, wspace=0.05)
        return figure

    return drawn(draw, stamp)


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
        longest = max((len(value) for _, value in choices), default=0)
        left = max(0.235, (0.056 * longest + 0.1) / figure.get_figwidth())  # inches of a letter at that size
        figure.subplots_adjust(left=left, right=0.985, top=0.98, bottom=0.07, hspace=0.03)
        return figure

    return drawn(draw, stamp)


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

    return drawn(draw, stamp)


def flow(columns: Mapping[str, list[tuple[str, str, str]]], stamp: Stamp) -> bytes:
    """The way from all clients to those analysed (STROBE, item 13): one column per outcome, a box for who is left and one beside it
    for who is left out.

    `columns`: title -> (step, left out, remaining), as the tables say them; the first step is the beginning.
    """

    def draw() -> Figure:
        import textwrap

        import matplotlib.pyplot as plt

        most = max(map(len, columns.values()), default=1)
        height = 0.62 * most + 0.9
        above = 0.2 * max((title.count("\n") for title in columns), default=0)  # inches for further lines of a title
        figure, axes = plt.subplots(1, max(len(columns), 1), figsize=(9.2, height + above), squeeze=False)
        frame = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "#9aa0a6"}
        for axis, (title, steps) in zip(axes[0], columns.items(), strict=False):
            axis.set_axis_off()
            axis.set_xlim(0, 1)
            axis.set_ylim(most - 0.5, -0.5)
            axis.set_title(title)
            for y, (step, left_out, remaining) in enumerate(steps):
                if y:
                    axis.annotate("", (0.3, y - 0.3), (0.3, y - 0.7), arrowprops={"arrowstyle": "-|>", "color": INK})
                if y and left_out != "0":
                    axis.annotate("", (0.72, y - 0.5), (0.3, y - 0.5), arrowprops={"arrowstyle": "-|>", "color": GREY})
                    axis.text(0.73, y - 0.5, f"left out: {left_out}", ha="left", va="center", fontsize=7.5, bbox=frame)
                said = textwrap.fill(step, 42 if len(columns) < 3 else 28) + (f"\nn = {remaining}" if remaining else "")
                axis.text(0.3, y, said, ha="center", va="center", fontsize=7, bbox=frame, linespacing=1.1)
        figure.subplots_adjust(left=0.02, right=0.99, top=0.94 - above / (height + above), bottom=0.05, wspace=0.02)
        return figure

    return drawn(draw, stamp)


def calibration(rows: pd.DataFrame, titles: Mapping[str, str], stamp: Stamp) -> bytes:
    """Predicted against observed risk with 95 % intervals, one panel per model. Rows: model_id, predicted, observed, conf_*."""

    def draw() -> Figure:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(1, max(len(titles), 1), figsize=(9.2, 3.5), sharey=True, squeeze=False)
        for axis, (model, title) in zip(axes[0], titles.items(), strict=False):
            part = rows[rows["model_id"] == model].sort_values("predicted")
            predicted, observed, low, high = (part[name].to_numpy(dtype=float) for name in ("predicted", "observed", "conf_low", "conf_high"))  # fmt: skip
            axis.plot([0, 1], [0, 1], color="#5b6168", linewidth=1)
            axis.errorbar(predicted, observed, yerr=[observed - low, high - observed], color=BLUE, marker="o", linestyle="none", capsize=2.5)  # fmt: skip
            axis.set_xlim(0, 1)
            axis.set_ylim(0, 1)
            axis.set_title(title, fontsize=7.5)
            axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
            axis.set_xlabel("predicted")
        axes[0][0].set_ylabel("observed")
        figure.subplots_adjust(left=0.06, right=0.985, top=0.86, bottom=0.23, wspace=0.08)
        return figure

    return drawn(draw, stamp)
