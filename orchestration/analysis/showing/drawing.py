"""How every picture of a report is drawn: its looks, what is stamped into it, and how it becomes PNG bytes. What is drawn stands in
`figures*.py`."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


def drawn(draw: Callable[[], Figure], stamp: Stamp) -> bytes:
    """A figure as PNG, stamped; the same bytes for the same drawing."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    import matplotlib.pyplot as plt

    with plt.rc_context(_style()):  # type: ignore[arg-type]
        figure = draw()
        figure.text(0.995, 0.004, stamp.source, ha="right", va="bottom", fontsize=6.6, color="#6a7077")
        if stamp.is_simulated:
            figure.text(
                0.005, 0.004, "SIMULATED DATA", ha="left", va="bottom", fontsize=9, fontweight="bold", color="white",
                bbox={"facecolor": "#b3261e", "edgecolor": "none", "pad": 2.5},
            )  # fmt: skip
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
        plt.close(figure)
    return buffer.getvalue()
