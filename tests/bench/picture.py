"""Draws latency against load and writes the figures of the baseline into `deploy/PERFORMANCE.md`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.bench.outcome import BASELINE, read

DOCUMENT = Path("deploy") / "PERFORMANCE.md"
PICTURE = Path("deploy") / "performance.svg"
LABELS = {
    "durable p99": "durable, group commit",
    "verify_only p99": "verify only (nothing stored)",
    "commit_each p99": "one commit per request",
}


def write_performance() -> None:
    """Renew the picture and every table between `<!-- figures: NAME -->` and `<!-- end -->`."""
    draw(PICTURE)
    text = DOCUMENT.read_text()
    DOCUMENT.write_text(
        re.sub(
            r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)",
            lambda found: f"{found[1]}{_table(found[2])}{found[3]}",
            text,
            flags=re.DOTALL,
        )
    )


def draw(path: Path) -> None:
    """Draw latency against load, and work per notification against the number of calendars."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "punctual"  # the same figures give the same file
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.2))
    receiver, growth, outage = (read(name) for name in ("receiver", "growth", "outage"))
    if receiver:
        for name, label in LABELS.items():
            _line(left, receiver["curves"].get(name, []), label)
        _line(left, receiver["curves"].get("open loop p99", []), "durable, fixed rate, p99")
        _line(left, receiver["curves"].get("open loop p50", []), "durable, fixed rate, p50")
    left.set(
        title="Answer to a notification", xlabel="notifications a second", ylabel="ms", yscale="log"
    )
    if growth:
        _line(middle, growth["curves"]["rows"], "rows touched")
        _line(middle, growth["curves"]["ms"], "ms of work")
    middle.set(title="Work per notification", xlabel="calendars", xscale="log", yscale="log")
    if outage:
        _line(right, outage["curves"]["bot calls per 10 s"], "calls in ten seconds")
        right.axhline(100, linestyle=":", color="grey", label="Recall's limit")
    right.set(title="Recovery after an outage", xlabel="seconds since the provider is back")
    for axes in (left, middle, right):
        axes.grid(visible=True, alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
        axes.set_ylim(bottom=None if axes.get_yscale() == "log" else 0)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _line(axes: Any, points: list[list[float]], label: str) -> None:
    if points:
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=label)


def _table(name: str) -> str:
    found = read(name)
    if found is None:
        return f"Not measured yet: `{BASELINE.name}/{name}.json` is missing.\n"
    lines = [f"{found['machine']}; {found['at'][:10]}; scale {found['scale']:g}.", ""]
    lines += ["| figure | |", "|---|---:|"]
    lines += [f"| {figure} | {value:,g} |" for figure, value in found["figures"].items()]
    if found["demands"]:
        lines += ["", "| demand | |", "|---|---|"]
        lines += [
            f"| {demand} | {'met' if met else '**not met**'} |"
            for demand, met in found["demands"].items()
        ]
    return "\n".join(lines) + "\n"
