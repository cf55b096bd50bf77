"""Line charts as SVG inside the page, whose colours follow its light or dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Line", "chart"]

WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 56, 10, 12, 42
# The style sheet has so many colours for lines.
COLOURS = 12


@dataclass(frozen=True)
class Line:
    """A named line.

    Attributes
    ----------
    name : str
    x, y : sequence of float
        Points without a finite value are left out, as are those not above 0 on a logarithmic axis.
    colour : int
        Which of the page's colours.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int


def chart(
    lines: Sequence[Line], x_label: str, y_label: str, log_x: bool = False, log_y: bool = False
) -> str:
    """The chart as an SVG element, or "" where no line has a point.

    >>> chart([Line("tv", [1, 2], [math.nan, math.nan], 0)], "iteration", "change")
    ''
    """
    drawn = [(line, _points(line, log_x, log_y)) for line in lines]
    drawn = [(line, points) for line, points in drawn if points]
    if not drawn:
        return ""
    flat = [point for _, points in drawn for point in points]
    x_axis, y_axis = (_axis([p[i] for p in flat]) for i in (0, 1))
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(y_label)} against {escape(x_label)}">'
    ]
    parts += _grid(x_axis, log_x, vertical=True) + _grid(y_axis, log_y, vertical=False)
    for line, points in drawn:
        places = [(_x(px, x_axis), _y(py, y_axis)) for px, py in points]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        title = f"<title>{escape(line.name)}</title>"
        style = f"curve c{line.colour % COLOURS}"
        if len(places) == 1:
            cx, cy = places[0]
            parts.append(f'<circle class="dot {style}" cx="{cx:.1f}" cy="{cy:.1f}" r="3">{title}')
            parts.append("</circle>")
        else:
            parts.append(f'<polyline class="{style}" points="{path}">{title}</polyline>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
        f'<text transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text></svg>"
    )
    return "".join(parts)


def _points(line: Line, log_x: bool, log_y: bool) -> list[tuple[float, float]]:
    found = []
    for px, py in zip(line.x, line.y, strict=True):
        if (log_x and not px > 0) or (log_y and not py > 0):
            continue
        if math.isfinite(px) and math.isfinite(py):
            found.append((math.log10(px) if log_x else px, math.log10(py) if log_y else py))
    return found


def _axis(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _x(value: float, axis: tuple[float, float]) -> float:
    return LEFT + (value - axis[0]) / (axis[1] - axis[0]) * (WIDTH - LEFT - RIGHT)


def _y(value: float, axis: tuple[float, float]) -> float:
    return HEIGHT - BOTTOM - (value - axis[0]) / (axis[1] - axis[0]) * (HEIGHT - TOP - BOTTOM)


def _ticks(axis: tuple[float, float], log: bool) -> list[tuple[float, str]]:
    """Places on the axis with their labels, of round numbers."""
    low, high = axis
    if log:
        powers = range(math.floor(low), math.ceil(high) + 1)
        places = [math.log10(m) + p for p in powers for m in (1, 2, 5)]
        inside = [v for v in places if low <= v <= high]
        whole = [float(p) for p in powers if low <= p <= high]
        if len(inside) > 6 and len(whole) > 1:
            inside = whole[:: -(-len(whole) // 6)]
        if len(inside) > 1:
            return [(v, f"{10**v:.6g}") for v in inside]
    size = 10 ** math.floor(math.log10(high - low))
    step = next(s * size for s in (0.2, 0.5, 1.0, 2.0) if (high - low) / (s * size) <= 6)
    count = range(math.ceil(low / step), math.floor(high / step) + 1)
    return [(k * step, f"{10 ** (k * step) if log else k * step:.3g}") for k in count]


def _grid(axis: tuple[float, float], log: bool, vertical: bool) -> list[str]:
    parts = []
    for value, label in _ticks(axis, log):
        if vertical:
            x = _x(value, axis)
            parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">')
        else:
            y = _y(value, axis)
            parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">')
        parts.append(f"{escape(label)}</text>")
    return parts
