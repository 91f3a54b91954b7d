"""Figures: printed as a table, and saved as JSON to compare runs."""

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True)
class Figure:
    """One measured value. `goal`: its target, in words; `met`: whether it was reached, None without
    a goal.
    """

    name: str
    value: float
    unit: str
    goal: str = ""
    met: bool | None = None


def at_least(name: str, value: float, unit: str, goal: float) -> Figure:
    return Figure(name, value, unit, f"≥ {goal:g}", value >= goal)


def at_most(name: str, value: float, unit: str, goal: float) -> Figure:
    return Figure(name, value, unit, f"≤ {goal:g}", value <= goal)


def show(title: str, figures: Sequence[Figure]) -> None:
    table = Table(title=title, title_justify="left")
    for heading in ("", "measured", "goal", ""):
        table.add_column(heading, justify="right" if heading == "measured" else "left")
    for figure in figures:
        mark = {True: "✓", False: "✗", None: ""}[figure.met]
        table.add_row(figure.name, f"{figure.value:,.4g} {figure.unit}", figure.goal, mark)
    Console().print(table)


def save(name: str, figures: Sequence[Figure]) -> Path:
    """Write a section's figures to results/NAME.json, with a description of the machine."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    machine = {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    content = {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine,
    }
    path.write_text(
        json.dumps(content | {"figures": [asdict(figure) for figure in figures]}, indent=2) + "\n"
    )
    return path
