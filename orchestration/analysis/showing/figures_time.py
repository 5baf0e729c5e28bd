"""The pictures of what happens in time: survival, cumulative incidence, states. What may be shown is decided before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from orchestration.analysis.showing.drawing import GROUP_COLOURS, MARKERS, Stamp, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def survival(
    curves: pd.DataFrame,
    at_risk: pd.DataFrame,
    titles: Mapping[str, str],
    groups: Sequence[str],
    what: str,
    stamp: Stamp,
) -> bytes:
    """One panel per outcome: survival of each group at the points given, with 95 % intervals, and rounded numbers at risk.

    `curves`: outcome_id, group, month, survival, conf_*; `at_risk`: outcome_id, group, month, shown (text); `what`: the score that the groups
    (five at most) are of.
    """

    def draw() -> Figure:
        import matplotlib.pyplot as plt

        outcomes = list(titles)
        figure, axes = plt.subplots(1, max(len(outcomes), 1), figsize=(9.2, 4.6), sharey=True, squeeze=False)
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
        figure.subplots_adjust(left=0.085, right=0.985, top=0.92, bottom=0.36, wspace=0.06)
        return figure

    return drawn(draw, stamp)


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
        y = -0.33 - 0.07 * line
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


def incidence(curves: pd.DataFrame, titles: Mapping[str, str], labels: Mapping[str, str], stamp: Stamp) -> bytes:
    """One panel per outcome: cumulative incidence of each cause at the points given, with 95 % intervals.

    `curves`: outcome_id, cause, month, risk, conf_*; `labels`: causes in their order, and how the legend calls them.
    """

    def draw() -> Figure:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(1, max(len(titles), 1), figsize=(9.2, 3.6), sharey=True, squeeze=False)
        for axis, outcome in zip(axes[0], titles, strict=False):
            for number, (cause, label) in enumerate(labels.items()):
                part = curves[(curves["outcome_id"] == outcome) & (curves["cause"] == cause)].sort_values("month")
                month, risk, low, high = (
                    part[name].to_numpy(dtype=float) for name in ("month", "risk", "conf_low", "conf_high")
                )
                axis.errorbar(month, risk, yerr=[risk - low, high - risk], color=GROUP_COLOURS[number], marker=MARKERS[number], markersize=5,
                              linewidth=1.8, capsize=2.5, elinewidth=1, label=label if len(part) > 1 else f"{label} (too few)")  # fmt: skip
            axis.set_ylim(0, 1.02)
            axis.set_xlim(-1, 49)
            axis.set_xticks(range(0, 49, 12))
            axis.set_xlabel("months since the origin")
            axis.set_title(titles[outcome])
        axes[0][0].set_ylabel("cumulative incidence")
        axes[0][0].legend(loc="upper left", fontsize=9)
        figure.subplots_adjust(left=0.085, right=0.985, top=0.92, bottom=0.2, wspace=0.06)
        return figure

    return drawn(draw, stamp)
