"""Lines in an SVG: requests a second over hours, on a logarithmic scale, one panel a scenario."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 300, 220, 54, 46, 30
_COLOURS = ("#0b6e4f", "#b23a48")
_MOST_POINTS = 480
_LEAST, _MOST = -1.0, 4.0  # powers of ten


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One scenario: a line for each policy."""

    title: str
    lines: Sequence[Sequence[float]]
    """Requests a second by minute."""
    first_hour: float
    """The hour at which the lines begin."""


def draw(panels: Sequence[Panel], labels: Sequence[str], *, heading: str, hours: str) -> str:
    """Return the picture.

    Args:
        panels: side by side.
        labels: of the lines.
        heading: over all.
        hours: what the hours count from.
    """
    width = _LEFT + len(panels) * (_WIDTH + _GAP)
    height = _TOP + _HEIGHT + 62
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        "<style>text {font: 11px sans-serif}</style>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-size="14">{heading}</text>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, _LEFT + number * (_WIDTH + _GAP), labelled=number == 0)
    below = _TOP + _HEIGHT
    parts.append(f'<text x="{_LEFT}" y="{below + 32}">{hours}</text>')
    for number, label in enumerate(labels):
        x, colour = _LEFT + 260 * number, _COLOURS[number]
        parts.append(
            f'<path d="M{x} {below + 48}h22" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{x + 28}" y="{below + 52}">{label}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: float, *, labelled: bool) -> list[str]:
    minutes = max(map(len, panel.lines))
    parts = [
        f'<text x="{left}" y="{_TOP - 8}" font-weight="bold">{panel.title}</text>',
        f'<rect x="{left}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#999"/>',
    ]
    for power in range(int(_LEAST), int(_MOST) + 1):
        y = _y(10.0**power)
        parts.append(f'<path d="M{left} {y:.1f}h{_WIDTH}" stroke="#ddd"/>')
        if labelled:
            parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}/s</text>')
    step = max(1, round(minutes / 60 / 6))
    for hour in range(0, minutes // 60 + 1, step):
        x = left + hour * 60 / minutes * _WIDTH
        shown = hour + round(panel.first_hour)
        parts.append(f'<text x="{x:.1f}" y="{_TOP + _HEIGHT + 14}" text-anchor="middle">{shown}</text>')
    for line, colour in reversed(list(zip(panel.lines, _COLOURS, strict=True))):
        # The busiest minute of each few stands for them: no peak is drawn away.
        few = max(1, minutes // _MOST_POINTS)
        points = " ".join(
            f"{left + number / minutes * _WIDTH:.1f},{_y(max(line[number : number + few])):.1f}"
            for number in range(0, len(line), few)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1"/>')
    return parts


def _y(value: float) -> float:
    power = log10(value) if value > 0 else _LEAST
    share = (min(max(power, _LEAST), _MOST) - _LEAST) / (_MOST - _LEAST)
    return _TOP + _HEIGHT * (1 - share)
