"""Lines and bars on logarithmic axes, one panel beside the other, as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_INCHES = 3.2, 2.9
_DASHED = "limit"
"""A line whose name has this word is no measurement."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Groups of bars, one colour for each name."""

    up: str
    groups: Sequence[str]
    bars: Mapping[str, Sequence[float | None]]
    """name → height in each group; ``None``: there is none."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines over one axis."""

    across: str
    up: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    title: str = ""


def draw(panels: Sequence[Panel | Bars], path: Path) -> str:
    """Draw *panels* into *path*, and return its name."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    # The same numbers give the same file: no date in it, and no random ids. Texts stay texts.
    steady = {"svg.hashsalt": "keepstate", "svg.fonttype": "none"}
    with mpl.rc_context({**steady, "font.size": 8, "axes.grid": True, "grid.alpha": 0.3}):
        size = _INCHES[0] * len(panels), _INCHES[1]
        figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
        for panel, axis in zip(panels, axes[0], strict=True):
            _bars(panel, axis) if isinstance(panel, Bars) else _lines(panel, axis)
            axis.set(yscale="log", ylabel=panel.up)
            axis.legend(fontsize=6)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
    return path.name


def _lines(panel: Panel, axis: Any) -> None:
    for name, points in panel.lines.items():
        style = "--" if _DASHED in name else "o-"
        axis.plot(*zip(*points, strict=True), style, label=name, markersize=3, linewidth=1.2)
    axis.set(xscale="log", xlabel=panel.across, title=panel.title)


def _bars(panel: Bars, axis: Any) -> None:
    width = 0.8 / len(panel.bars)
    for number, (name, heights) in enumerate(panel.bars.items()):
        there = [(group, height) for group, height in enumerate(heights) if height is not None]
        places = [group + (number - (len(panel.bars) - 1) / 2) * width for group, _ in there]
        axis.bar(places, [height for _, height in there], width, label=name)
    axis.set_xticks(range(len(panel.groups)), panel.groups)
