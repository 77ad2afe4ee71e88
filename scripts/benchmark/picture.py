"""Bars in an SVG: what ours costs beside step-ca's, with what was to be reached."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from goals import Goal
from works import Outcome

_LEFT, _WIDTH, _ROW, _TOP = 330, 420, 26, 60
_MET, _MISSED, _GOAL = "#0b6e4f", "#b23a48", "#222"


def draw(outcome: Outcome, goals: Sequence[Goal], *, heading: str) -> str:
    """Return the picture: shorter is better, and the line at 1 is step-ca.

    Args:
        outcome: what was seen.
        goals: those for a ratio are drawn; of more answers, the inverse.
        heading: over all.
    """
    bars = [(goal, value) for goal in goals if goal.relative and (value := _as_cost(goal, goal.value(outcome)))]
    most = max([1.1, *(value * 1.05 for _, value in bars)])
    scale = _WIDTH / most
    height = _TOP + _ROW * len(bars) + 40
    width = _LEFT + _WIDTH + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        "<style>text {font: 12px sans-serif}</style>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="16" y="22" font-size="14">{escape(heading)}</text>',
        '<text x="16" y="42" fill="#555">coldroot divided by step-ca, of the same run; shorter is better</text>',
    ]
    for number, (goal, value) in enumerate(bars):
        y = _TOP + number * _ROW
        aim = _as_cost(goal, goal.limit) or 0.0
        colour = _MET if goal.met(outcome) else _MISSED
        name = f"{goal.what}: {'time of an answer' if goal.at_least else goal.unit}"
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
            f'<path d="M{_LEFT} {y + 11}h{value * scale:.1f}" stroke="{colour}" stroke-width="16"/>',
            f'<text x="{_LEFT + value * scale + 6:.1f}" y="{y + 15}">{value:.2f}</text>',
            f'<path d="M{_LEFT + aim * scale:.1f} {y}v22" stroke="{_GOAL}" stroke-width="2"/>',
        ]
    below = _TOP + _ROW * len(bars)
    parts += [
        f'<path d="M{_LEFT + scale:.1f} {_TOP - 6}V{below + 4}" stroke="#999" stroke-dasharray="4 3"/>',
        f'<text x="{_LEFT + scale:.1f}" y="{below + 18}" text-anchor="middle" fill="#555">step-ca</text>',
        f'<path d="M16 {below + 8}v14" stroke="{_GOAL}" stroke-width="2"/>',
        f'<text x="24" y="{below + 20}" fill="#555">what was to be reached</text>',
    ]
    return "\n".join([*parts, "</svg>", ""])


def _as_cost(goal: Goal, value: float | None) -> float | None:
    return 1 / value if goal.at_least and value else value
