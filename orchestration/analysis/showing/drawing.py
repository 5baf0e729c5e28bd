"""How every picture of a report is drawn: its looks, what is stamped into it, and how it becomes PNG bytes. What is drawn stands in
`figures*.py`."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE, GREY, INK = "#0b5fa5", "#c8500a", "#1b7f5c", "#8a4a9e", "#8a8f98", "#22262b"
GROUP_COLOURS = (ORANGE, PURPLE, BLUE, INK, GREY)  # by the place of a group
MARKERS = ("o", "s", "D", "^", "v")


_INCH_OF_MARK, _INCH_OF_SOURCE = 0.105, 0.052  # width of a letter, so that the two lines at the foot do not meet


@dataclass(frozen=True)
class Stamp:
    """What every figure says of itself: where its numbers come from, and whether they are simulated.

    `words`: what the drawing code says -> what is to stand there, where the picture is not in English; one that ends or begins
    with a space is a part of a text. `decimal`: the mark in the numbers of the axes.
    """

    source: str
    is_simulated: bool
    words: Mapping[str, str] = field(default_factory=dict)
    decimal: str = "."


def _style() -> dict[str, object]:
    return {
        "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left",
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#9aa0a6", "axes.labelcolor": INK, "text.color": INK,
        "axes.grid": True, "grid.color": "#e7e9ec", "grid.linewidth": 0.8, "axes.axisbelow": True, "xtick.color": "#4b5158",
        "ytick.color": "#4b5158", "legend.frameon": False, "figure.facecolor": "white", "savefig.facecolor": "white",
    }  # fmt: skip


def _translate(figure: Figure, stamp: Stamp) -> None:
    """Put the words and the decimal mark of another language into a drawn figure."""
    from matplotlib.text import Text

    if stamp.decimal != ".":
        axes = [axis for one in figure.axes for axis in (one.xaxis, one.yaxis)]
        for formatter in {id(axis.get_major_formatter()): axis.get_major_formatter() for axis in axes}.values():
            _use_decimal(formatter, stamp.decimal)
    if not stamp.words:
        return
    parts = {said: other for said, other in stamp.words.items() if said != said.strip()}
    for text in figure.findobj(Text):
        said = str(text.get_text())
        for part, other in parts.items():
            said = said.replace(part, other)
        text.set_text(stamp.words.get(said, said))


def _use_decimal(formatter: Any, decimal: str) -> None:
    made = formatter.format_ticks
    formatter.format_ticks = lambda values: [re.sub(r"\.(?=\d)", decimal, tick) for tick in made(values)]


def drawn(draw: Callable[[], Figure], stamp: Stamp) -> bytes:
    """A figure as PNG, stamped; the same bytes for the same drawing."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    import matplotlib.pyplot as plt

    with plt.rc_context(_style()):  # type: ignore[arg-type]
        figure = draw()
        _translate(figure, stamp)
        mark = stamp.words.get("SIMULATED DATA", "SIMULATED DATA") if stamp.is_simulated else ""
        room = int((figure.get_figwidth() - _INCH_OF_MARK * len(mark)) / _INCH_OF_SOURCE)
        source = "\n".join(textwrap.fill(line, room) for line in stamp.source.splitlines())
        figure.text(0.995, 0.004, source, ha="right", va="bottom", fontsize=6.6, color="#6a7077")
        if mark:
            figure.text(
                0.005, 0.004, mark, ha="left", va="bottom", fontsize=9, fontweight="bold", color="white",
                bbox={"facecolor": "#b3261e", "edgecolor": "none", "pad": 2.5},
            )  # fmt: skip
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
        plt.close(figure)
    return buffer.getvalue()
