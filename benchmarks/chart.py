"""Draws docs/pictures/performance.svg from results/: `python -m benchmarks.chart`, or `make chart`.

Run the section peers first. The picture follows the reader's light or dark mode.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.figures import RESULTS
from benchmarks.peers.side_by_side import BALANCED, CELERY, FAST, IMG2DATASET, MOZJPEG, SHARP

PICTURE = Path("docs/pictures/performance.svg")
WIDTH, LABELS, MARGIN = 860, 250, 24
BAR, GAP, HEADING, FOOT = 22, 10, 62, 50
STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 }
  .quiet { fill: #59636e; font-size: 12px }
  .bar { fill: #8c959f } .ours { fill: #0969da }
  .grid { stroke: #d1d9e0 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .quiet { fill: #9198a1 }
    .bar { fill: #656c76 } .ours { fill: #4493f8 } .grid { stroke: #3d444d }
  }
"""


@dataclass(frozen=True)
class Bar:
    label: str
    value: float
    ours: bool


@dataclass(frozen=True)
class Panel:
    title: str
    axis: str
    bars: Sequence[Bar]

    @property
    def height(self) -> int:
        return HEADING + len(self.bars) * (BAR + GAP) + FOOT


class SectionMissing(Exception):
    """A section was not run; the message says which."""


def _section(name: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise SectionMissing(f"{path} is missing: run `make bench SECTIONS={name}`.")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _cores(section: str) -> int:
    return int(_section(section)["machine"]["cores"])


def _value(section: str, name: str) -> float:
    for figure in _section(section)["figures"]:
        if figure["name"] == name:
            return float(figure["value"])
    raise SectionMissing(
        f"The section has no figure {name!r}: run `make bench SECTIONS={section}`."
    )


def _panels() -> list[Panel]:
    return [
        _panel("photographs", "Photographs of 1500 × 1500, two a product"),
        _panel("small", "Small images of 240 × 240, twenty a product"),
    ]


def _panel(setting: str, title: str) -> Panel:
    bars = [
        Bar(name, _value("peers", f"{setting}: {name}"), ours=name.startswith("halftone"))
        for name in (FAST, BALANCED, SHARP, MOZJPEG, IMG2DATASET, CELERY)
    ]
    return Panel(f"{title}: {_cores('peers')} cores, end to end", "images a second", bars)


def _drawn(panels: Sequence[Panel]) -> str:
    height = sum(panel.height for panel in panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" role="img" aria-labelledby="name">',
        f'<title id="name">{escape("; ".join(_in_words(panel) for panel in panels))}</title>',
        f"<style>{STYLE}</style>",
    ]
    top = 0
    for panel in panels:
        parts += _drawn_panel(panel, top)
        top += panel.height
    return "\n".join([*parts, "</svg>", ""])


def _in_words(panel: Panel) -> str:
    """The text for screen readers."""
    return f"{panel.title}, {panel.axis}: " + ", ".join(
        f"{bar.label} {bar.value:.0f}" for bar in panel.bars
    )


def _drawn_panel(panel: Panel, top: int) -> list[str]:
    step = _step(max(bar.value for bar in panel.bars))
    ticks = (
        int(max(bar.value for bar in panel.bars) / step + 0.5) + 1
    )  # leaves room for the longest bar's value
    scale = (WIDTH - LABELS - 2 * MARGIN - 30) / (ticks * step)
    left, bars_top = MARGIN + LABELS, top + HEADING
    bottom = bars_top + len(panel.bars) * (BAR + GAP)
    parts = [f'<text class="title" x="{MARGIN}" y="{top + 34}">{escape(panel.title)}</text>']
    for tick in range(ticks + 1):
        x = left + tick * step * scale
        parts += [
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{bars_top - 6}" y2="{bottom}"/>',
            f'<text class="quiet" x="{x:.1f}" y="{bottom + 16}"'
            f' text-anchor="middle">{tick * step}</text>',
        ]
    for number, bar in enumerate(panel.bars):
        y, length = bars_top + number * (BAR + GAP), bar.value * scale
        parts += [
            f'<text x="{left - 10}" y="{y + 16}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect class="{"ours" if bar.ours else "bar"}" x="{left}" y="{y}"'
            f' width="{length:.1f}" height="{BAR}"/>',
            f'<text x="{left + length + 7:.1f}" y="{y + 16}">{bar.value:.0f}</text>',
        ]
    middle = left + ticks * step * scale / 2
    parts.append(
        f'<text class="quiet" x="{middle:.1f}" y="{bottom + 34}"'
        f' text-anchor="middle">{panel.axis}</text>'
    )
    return parts


def _step(most: float) -> int:
    """The distance between grid lines, chosen so that there are four to eight lines."""
    return next(
        (step for step in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500) if most / step <= 7), 1000
    )


def main() -> None:
    try:
        PICTURE.write_text(_drawn(_panels()))
    except SectionMissing as missing:
        sys.exit(str(missing))
    print(PICTURE)


if __name__ == "__main__":
    main()
