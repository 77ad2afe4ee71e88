"""The tables, as text that is readable as it is and as Markdown, and their place in docs/performance.md."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from goals import GOALS
from programs import Failed
from works import DATABASES, EMBEDDED, MATRIX, OURS, OURS_CROWDED, PEER, Outcome, Reading, Work

_VERDICT = {True: "met", False: "**missed**", None: "not measured"}


def verdicts(outcome: Outcome) -> str:
    """Return the table of what had to be reached."""
    lines = []
    for goal in GOALS:
        value = goal.value(outcome)
        sign = "≥" if goal.at_least else "≤"
        lines.append([
            goal.what, goal.unit, number(goal.figure(outcome, PEER)), number(goal.figure(outcome, OURS)),
            number(value) if goal.relative else "", f"{sign} {goal.limit:g}{'' if goal.relative else ' ' + goal.unit}",
            _VERDICT[goal.met(outcome)],
        ])  # fmt: skip
    return table(["work", "unit", PEER, OURS, "ratio", "goal", ""], lines)


def matrix(outcome: Outcome) -> str:
    """Return a table of all that was measured for each database, and what the nodes took."""
    parts = []
    for database, title in DATABASES.items():
        works = [each for each in MATRIX if each.database == database and (OURS, each) in outcome.readings]
        if works:
            lines = [_cell(outcome, product, work) for work in works for product in (PEER, OURS, OURS_CROWDED)
                     if (product, work) in outcome.readings]  # fmt: skip
            parts.append(f"On {title}:\n\n" + table(_COLUMNS[: 8 if database != EMBEDDED else 7], lines))
    lines = [
        [product, number(outcome.start(product)), number(outcome.memory(product)), number(outcome.resident(product))]
        for product in (PEER, OURS, OURS_CROWDED)
        if outcome.start(product) is not None
    ]
    if lines:
        parts.append(
            "The nodes themselves. *Memory* counts a page that n processes share as one n-th for each, *resident* as a "
            "whole one for each:\n\n"
            + table(["node", "start to first healthy answer, s", "memory under load, MiB", "resident, MiB"], lines)
        )
    return "\n\n".join(parts)


_COLUMNS = ("work", "C", "node", "answers/s", "p50 ms", "p99 ms", "node CPU s/1000", "database CPU s/1000")


def _cell(outcome: Outcome, product: str, work: Work) -> list[str]:
    def middle(figure: str) -> float:
        value = outcome.middle(product, work, lambda each: float(getattr(each, figure)))
        assert value is not None
        return value

    cell = [work.name, str(work.connections), product, f"{middle('rate'):.0f}", number(middle("p50")),
            number(middle("p99")), number(middle("node_cost"))]  # fmt: skip
    wrong = sum(each.failed for each in outcome.readings[product, work])
    if wrong:
        cell[2] += f" ({wrong} answers were wrong)"
    return [*cell, *([number(middle("database_cost"))] if work.database != EMBEDDED else [])]


def machine(workers: int, *, rounds: int | None = None) -> str:
    """Return in one sentence what was measured where, and when."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )  # fmt: skip
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({model}) shared by node, database and load generator; "
        f"Python {platform.python_version()}, {workers} {'worker' if workers == 1 else 'workers'}"
        f"{'' if rounds is None else f'; medians of {rounds}'}."
    )


def number(value: float | None) -> str:
    """Write a figure with what is worth reading of it."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"  # noqa: PLR2004


def table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown whose columns also stand under each other in a terminal."""
    widths = [max(len(line[column]) for line in [columns, *lines]) for column in range(len(columns))]

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([row(columns), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(row, lines)])


def put(document: Path, name: str, text: str) -> None:
    """Replace what stands between two marks of a document.

    Args:
        document: Markdown.
        name: of the marks ``<!-- bench: NAME -->`` and ``<!-- end of NAME -->``.
        text: takes the place.

    Raises:
        Failed: the marks are not there.
    """
    begin, end = f"<!-- bench: {name} -->\n", f"<!-- end of {name} -->"
    old = document.read_text()
    head, found, rest = old.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise Failed(f"{document} has no place for {name}")
    document.write_text(f"{head}{begin}\n{text}\n\n{end}{tail}")


def growth(outcome: Outcome) -> str:
    """Return a table of an empty database beside one that has grown."""
    lines = []
    for work in dict.fromkeys(work for _, work in outcome.readings):
        costs = [outcome.middle(name, work, lambda each: each.cost) for name in ("empty", "grown")]
        waits = [outcome.middle(name, work, lambda each: each.p99) for name in ("empty", "grown")]
        assert costs[0]
        assert costs[1]
        ratio = costs[1] / costs[0]
        lines.append([
            work.name, str(work.connections), *map(number, costs), f"{ratio:.2f}", *map(number, waits),
            _VERDICT[ratio <= _MOST_GROWTH],
        ])  # fmt: skip
    columns = ["work", "C", "empty, CPU s/1000", "grown, CPU s/1000", "ratio", "empty, p99 ms", "grown, p99 ms",
               f"≤ {_MOST_GROWTH}"]  # fmt: skip
    return table(columns, lines)


_MOST_GROWTH = 1.15


def endurance(hours: Sequence[Reading]) -> str:
    """Return a table of what the node took over many renewals, some hours of them, and whether its memory grew."""
    shown = sorted({0, 1, len(hours) // 4, len(hours) // 2, len(hours) * 3 // 4, len(hours) - 1})
    lines = [
        [
            str(hour + 1), f"{sum(each.requests for each in hours[: hour + 1]):,}", f"{hours[hour].rate:.0f}",
            number(hours[hour].node_cost), number(hours[hour].p99), number(hours[hour].node_memory),
        ]
        for hour in shown
    ]  # fmt: skip
    settled, last = hours[len(hours) // 4].node_memory, hours[-1].node_memory
    return (
        table(["hour", "renewals until then", "answers/s", "CPU s/1000", "p99 ms", "memory, MiB"], lines)
        + f"\n\nFrom the end of the first quarter to the last hour the memory changed by {last - settled:+.1f} MiB."
    )


_SHOWN = 18


def profile(own: Counter[str], below: Counter[str]) -> str:
    """Return two tables: the functions that take most by themselves, and those of ours with all that they call."""
    total = own.total()
    # What is always there, from the command line to the loop, tells nothing.
    ours = [(name, count) for name, count in below.most_common()
            if name.startswith(("online/", "shared/")) and count < _ALWAYS * total]  # fmt: skip
    return "\n\n".join(
        table([title, "share"], [[f"`{name}`", f"{count / total:.1%}"] for name, count in counts[:_SHOWN]])
        for title, counts in (
            ("by itself, with C code that it calls", own.most_common()),
            ("with all that it calls", ours),
        )
    )


_ALWAYS = 0.95
