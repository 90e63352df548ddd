"""What a benchmark found: figures by name, the demands it was held to, and how they compare with before."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

BASELINE = Path(__file__).parent / "baseline"
#: A figure that is further from the baseline than this is pointed out; machines are noisy.
NOTEWORTHY = 0.25


@dataclass(frozen=True, slots=True)
class Demand:
    """A figure and the bound it has to keep: at least, or at most."""

    figure: str
    at_least: float | None = None
    at_most: float | None = None

    def is_met(self, figures: Mapping[str, float]) -> bool:
        found = figures[self.figure]
        return (self.at_least is None or found >= self.at_least) and (
            self.at_most is None or found <= self.at_most
        )

    def __str__(self) -> str:
        bound = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        return f"{self.figure} {bound}"


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures by name, with unit or as a ratio; *curves* are for the picture: name to points (x, y)."""

    name: str
    figures: dict[str, float]
    demands: Sequence[Demand] = ()
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def unmet(self) -> list[Demand]:
        return [demand for demand in self.demands if not demand.is_met(self.figures)]

    def write(self, folder: Path, *, scale: float) -> Path:
        """Write a small JSON file and return where it is."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        content = {
            "name": self.name,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
            f"Python {platform.python_version()}",
            "scale": scale,
            "figures": {name: rounded(value) for name, value in self.figures.items()},
            "demands": {str(demand): demand.is_met(self.figures) for demand in self.demands},
            "curves": {
                name: [[rounded(x), rounded(y)] for x, y in points]
                for name, points in self.curves.items()
            },
        }
        path.write_text(json.dumps(content, indent=2) + "\n")
        return path


def report(measured: Measured) -> str:
    """Say what was measured, beside the committed baseline where there is one."""
    before = read(measured.name)
    known: dict[str, float] = before["figures"] if before else {}
    lines = [f"\n{measured.name}"]
    for name, value in measured.figures.items():
        line = f"  {name:<58}{rounded(value):>12g}"
        if known.get(name):
            change = value / known[name] - 1
            mark = "  <--" if abs(change) > NOTEWORTHY else ""
            line += f"   baseline {known[name]:g} ({change:+.0%}){mark}"
        lines.append(line)
    lines += [
        f"  {'met    ' if demand.is_met(measured.figures) else 'NOT MET'} {demand}"
        for demand in measured.demands
    ]
    return "\n".join(lines)


def read(name: str, folder: Path = BASELINE) -> dict[str, Any] | None:
    """Return a benchmark's file, None when there is none."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def be_quiet() -> None:
    """Have this process log errors alone: a line for each of thousands of steps is not what is measured."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def rounded(value: float) -> float:
    """Keep three digits: more would be noise."""
    return float(f"{value:.3g}") if abs(value) < 1000 else float(round(value))


def quantile(ascending: Sequence[float], share: float) -> float:
    """Return the value that *share* of the sorted values do not exceed."""
    return ascending[min(len(ascending) - 1, int(len(ascending) * share))]
