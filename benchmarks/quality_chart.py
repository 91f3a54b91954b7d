"""Draws docs/pictures/quality.svg: `python -m benchmarks.quality_chart`, part of `make chart`.

Bytes at equal SSIMULACRA2, from the points that `make bench SECTIONS=quality` measured; points that
are missing are measured first. The picture follows the reader's light or dark mode.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from benchmarks.chart import STYLE
from benchmarks.quality import shares_of_pillows_bytes

PICTURE = Path("docs/pictures/quality.svg")
WIDTH, HEIGHT = 860, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 250, 62, 60
_HIGHEST, _GRID_STEP, _LABEL_HEIGHT = 1.1, 0.1, 18
# Encoders in the picture, and their names in it.
_LINES = {
    "Pillow, optimised": "Pillow, optimised",
    "mozjpeg (libvips)": "mozjpeg (libvips)",
    "jpegli (ajpegli)": "jpegli",
    "halftone balanced": "halftone JPEG",
    "halftone WebP balanced": "halftone WebP",
    "halftone AVIF balanced": "halftone AVIF",
}
_STYLE = (
    STYLE
    + """
  .line { fill: none; stroke: #8c959f; stroke-width: 2 } .mine { stroke: #0969da }
  .leader { stroke-width: 1 } .point { fill: #8c959f } .own { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    .line { stroke: #656c76 } .mine { stroke: #4493f8 } .point { fill: #656c76 }
    .own { fill: #4493f8 }
  }
"""
)


@dataclass(frozen=True)
class Line:
    label: str
    shares: Sequence[float]
    ours: bool


@dataclass(frozen=True)
class _Axes:
    """Qualities from left to right, shares from `lowest` at the bottom."""

    qualities: Sequence[float]
    lowest: float

    def x(self, quality: float) -> float:
        first, last = self.qualities[0], self.qualities[-1]
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (quality - first) / (last - first)

    def y(self, share: float) -> float:
        height = HEIGHT - _TOP - _BOTTOM
        return _TOP + height * (_HIGHEST - share) / (_HIGHEST - self.lowest)


def drawn(qualities: Sequence[float], lines: Sequence[Line]) -> str:
    """The chart as SVG. Each line has a share of Pillow's bytes for each quality."""
    least = min(share for line in lines for share in line.shares)
    axes = _Axes(qualities, int(least / _GRID_STEP) * _GRID_STEP)
    title = "Bytes at the SSIMULACRA2 score of Pillow's JPEG, as a share of Pillow's"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}"'
        f' height="{HEIGHT}" role="img" aria-labelledby="name">',
        f'<title id="name">{escape(_in_words(title, qualities, lines))}</title>',
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="24" y="34">{escape(title)}</text>',
        *_grid(axes),
    ]
    for line, label_y in zip(lines, _label_places(lines, axes), strict=True):
        parts += _drawn_line(line, label_y, axes)
    return "\n".join([*parts, "</svg>", ""])


def _in_words(title: str, qualities: Sequence[float], lines: Sequence[Line]) -> str:
    """The text for screen readers."""
    middle = len(qualities) // 2
    found = ", ".join(f"{line.label} {line.shares[middle]:.0%}" for line in lines)
    return f"{title}. At quality {qualities[middle]:g}: {found}"


def _grid(axes: _Axes) -> list[str]:
    left, right, bottom = axes.x(axes.qualities[0]), axes.x(axes.qualities[-1]), HEIGHT - _BOTTOM
    parts = []
    for tick in range(round(axes.lowest / _GRID_STEP), round(_HIGHEST / _GRID_STEP) + 1):
        y = axes.y(tick * _GRID_STEP)
        parts += [
            f'<line class="grid" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text class="quiet" x="{left - 10:.1f}" y="{y + 4:.1f}" text-anchor="end">'
            f"{tick * _GRID_STEP:.0%}</text>",
        ]
    for quality in axes.qualities:
        parts.append(
            f'<text class="quiet" x="{axes.x(quality):.1f}" y="{bottom + 20}"'
            f' text-anchor="middle">{quality:g}</text>'
        )
    parts.append(
        f'<text class="quiet" x="{(left + right) / 2:.1f}" y="{bottom + 42}"'
        ' text-anchor="middle">quality of Pillow\'s JPEG</text>'
    )
    return parts


def _label_places(lines: Sequence[Line], axes: _Axes) -> list[float]:
    """The height of each label: at the end of its line, moved down where it would cover another."""
    places: dict[int, float] = {}
    before = 0.0
    for number in sorted(range(len(lines)), key=lambda number: -lines[number].shares[-1]):
        before = max(axes.y(lines[number].shares[-1]), before + _LABEL_HEIGHT)
        places[number] = before
    return [places[number] for number in range(len(lines))]


def _drawn_line(line: Line, label_y: float, axes: _Axes) -> list[str]:
    points = [
        (axes.x(quality), axes.y(share))
        for quality, share in zip(axes.qualities, line.shares, strict=True)
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    kind, dot = ("line mine", "point own") if line.ours else ("line", "point")
    label = f"{line.label}: {line.shares[len(line.shares) // 2]:.0%} at 50"
    x, y = points[-1]
    return [
        f'<polyline class="{kind}" points="{path}"/>',
        # Leads from the end of the line to its label.
        f'<polyline class="{kind} leader" points="{x:.1f},{y:.1f} {x + 22:.1f},{label_y:.1f}"/>',
        *(f'<circle class="{dot}" cx="{at:.1f}" cy="{up:.1f}" r="4"/>' for at, up in points),
        f'<text x="{x + 28:.1f}" y="{label_y + 5:.1f}">{escape(label)}</text>',
    ]


def main() -> None:
    qualities, shares = shares_of_pillows_bytes()
    lines = [
        Line(label, shares[name], ours=name.startswith("halftone"))
        for name, label in _LINES.items()
    ]
    PICTURE.write_text(drawn(qualities, lines))
    print(PICTURE)


if __name__ == "__main__":
    main()
