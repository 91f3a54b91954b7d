"""`python -m benchmarks.calibrate`: measure the quality scale, write the codec's calibration.json.

For each photograph and quality it finds the parameter at which an encoder has the SSIMULACRA2 score
of Pillow's JPEG. The calibration is a polynomial of the photograph's content for each encoder and
quality, fitted with less weight for outliers. Each photograph is also predicted by the others: the
printed shares within 5 points are of these predictions. Needs halftone-jpeg to compute scores.

Efforts other than `balanced` are measured on every twelfth photograph, and differ from it by a
constant for each quality. `python -m benchmarks.calibrate balanced` measures only that effort; the
others keep their distance from it. Scores are kept in .halftone/bench/curves, so a run that was
stopped continues there; delete the folder when an encoder has changed.
"""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from math import log
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from PIL import Image

import halftone_jpeg
from benchmarks.photos import FOLDER
from benchmarks.real_photos import Sample, photographs
from halftone_shared.model.options import Effort
from halftone_workers.codec import content, encoders, quality_scale, requantising
from halftone_workers.codec.pixels import Picture
from halftone_workers.codec.quality_scale import Content, ContentRange, Range

TARGET = Path(quality_scale.__file__).with_name("calibration.json")
QUALITIES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
# Qualities at which the detail of JPEGs is measured, and at which predictions are checked.
_JPEG_QUALITIES = (5, 20, 35, 50, 60, 70, 80, 85, 90, 92, 94, 96, 98, 100)
_CHECKED = (30, 50, 70, 80, 90)
_NEAR = 5
# Other efforts are measured on every twelfth photograph, at the first parameters of their family.
_EVERY, _FEW = 12, 6
# Terms by format: JPEG only has those of the detail, since a JPEG is not decoded.
_TERMS = {"JPEG": 3, "WEBP": 6, "AVIF": 6}
# More saturation than this makes no difference to an encoder.
_FULL_SATURATION = 0.3
# Points from which on an error counts less than by its square (Huber).
_OUTLIER, _ROUNDS = 2.5, 4
# How many photographs say that a term does not matter (ridge regression).
_DOUBT = 1.0
_REFERENCE = "Pillow"

Encode = Callable[[bytes, Image.Image, float], bytes]


def _frames(image: Image.Image) -> encoders.Frames:
    return encoders.Frames([Picture(image, None)])


def _saved(image: Image.Image, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **how)
    return buffer.getvalue()


def _pillow(source: bytes, image: Image.Image, quality: float) -> bytes:
    return _saved(image, quality=round(quality))


def _requantised(effort: Effort, source: bytes, image: Image.Image, scale: float) -> bytes:
    pixels = image.width * image.height
    return requantising.requantise(source, (scale,), effort, max_pixels=pixels, icc=None, exif=b"")


def _plain(source: bytes, image: Image.Image, scale: float) -> bytes:
    return _saved(image, qtables=[list(table) for table in requantising.quantisers(scale)])


def _webp(effort: Effort, source: bytes, image: Image.Image, quality: float) -> bytes:
    return encoders.webp(_frames(image), quality, effort)


def _avif(effort: Effort, source: bytes, image: Image.Image, quality: float) -> bytes:
    return encoders.avif(_frames(image), quality, effort)


@dataclass(frozen=True)
class _Family:
    """Encoders whose parameter means the same. `tried`: the parameters that are measured.
    `is_scale`: the logarithm of the parameter is fitted, and a higher one gives a lower score.
    """

    encode: Mapping[str, Encode]
    tried: Sequence[float]
    is_scale: bool = False

    def fitted(self, parameter: float) -> float:
        """A parameter as it is fitted: greater is always better."""
        return -log(parameter) if self.is_scale else parameter


_FAMILIES = {
    "JPEG": _Family(
        {"plain": _plain} | {effort: partial(_requantised, effort) for effort in Effort},
        (0.93, 1.6, 0.58, 0.3, 0.75, 2.6, 1.2, 5, 0.18, 9, 16, 30),
        is_scale=True,
    ),
    "WEBP": _Family(
        {effort: partial(_webp, effort) for effort in Effort},
        (60, 30, 79, 90, 10, 45, 70, 97, 85, 0, 20, 100),
    ),
    "AVIF": _Family(
        {effort: partial(_avif, effort) for effort in Effort},
        (44, 32, 56, 75, 20, 38, 50, 90, 65, 0, 10, 97),
    ),
}


def _score(sample: Sample, name: str, encode: Encode, parameter: float) -> float:
    """Measured once, and then read from its file."""
    path = FOLDER / "curves" / f"{sample.name}~{name}~{parameter:g}.json"
    if path.exists():
        found: float = json.loads(path.read_text())["score"]
        return found
    source = sample.jpeg.read_bytes()
    image = Image.open(io.BytesIO(source)).convert("RGB")
    original = Image.open(sample.original).convert("RGB")
    shown = Image.open(io.BytesIO(encode(source, image, parameter))).convert("RGB")
    score: float = halftone_jpeg.ssimulacra2(original.tobytes(), shown.tobytes(), *image.size)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_suffix(f".{os.getpid()}")
    partial_path.write_text(json.dumps({"score": score}))
    partial_path.rename(path)
    return score


@dataclass(frozen=True)
class _Curve:
    """The scores of one photograph by one encoder, from the worst parameter to the best; parameters
    are as they are fitted.
    """

    parameters: Sequence[float]
    scores: Sequence[float]

    def at(self, parameter: float) -> float:
        return float(np.interp(parameter, self.parameters, self.scores))

    def parameter_for(self, score: float) -> float:
        rising = np.maximum.accumulate(self.scores)
        return float(np.interp(score, rising, self.parameters))

    def slope_at(self, parameter: float) -> float:
        """Points for each unit of the parameter; tiny instead of zero."""
        reach = (self.parameters[-1] - self.parameters[0]) / 40
        rise = self.at(parameter + reach) - self.at(parameter - reach)
        return max(rise / (2 * reach), 1e-3)


def _curve(sample: Sample, name: str, few: int | None = None) -> _Curve:
    kind, effort = name.split()
    family = _FAMILIES[kind]
    points = sorted(
        (family.fitted(parameter), _score(sample, name, family.encode[effort], parameter))
        for parameter in family.tried[:few]
    )
    return _Curve([parameter for parameter, _ in points], [score for _, score in points])


def _pillows(sample: Sample) -> dict[int, float]:
    return {each: _score(sample, _REFERENCE, _pillow, each) for each in QUALITIES}


@dataclass(frozen=True)
class _Photograph:
    """What is known of a photograph. `wanted`: the score of Pillow's JPEG by quality."""

    content: Content
    wanted: Mapping[int, float]
    curves: Mapping[str, _Curve]


def _measured(
    samples: Sequence[Sample], names: Sequence[str], few: int | None = None
) -> list[_Photograph]:
    with ProcessPoolExecutor() as pool:
        wanted = [pool.submit(_pillows, sample) for sample in samples]
        contents = [pool.submit(_content_of, sample) for sample in samples]
        curves = [
            {name: pool.submit(_curve, sample, name, few) for name in names} for sample in samples
        ]
        return [
            _Photograph(
                contents[at].result(),
                wanted[at].result(),
                {name: curve.result() for name, curve in curves[at].items()},
            )
            for at in range(len(samples))
        ]


def _content_of(sample: Sample) -> Content:
    with Image.open(sample.jpeg) as image:
        return content.content_of_pixels(image)


def _bits_of_jpegs(sample: Sample) -> list[float]:
    """ln(bits per pixel) of the photograph as a JPEG of each of _JPEG_QUALITIES."""
    with Image.open(sample.original) as image:
        original = image.convert("RGB")
    pixels = original.width * original.height
    return [
        content.log_bits(_saved(original, quality=quality), pixels) for quality in _JPEG_QUALITIES
    ]


def coefficients(
    terms: Sequence[Sequence[float]], parameters: Sequence[float], slopes: Sequence[float]
) -> list[float]:
    """Coefficients of the terms that give these parameters; one row of each for a photograph.

    An error counts in points: times the slope of its photograph's score. Outliers count less. Terms
    after the detail must earn their weight: a few photographs could support anything.
    """
    x, y, slope = (np.asarray(each) for each in (terms, parameters, slopes))
    doubt = _DOUBT * x.std(axis=0)
    doubt[:2] = 0
    weight = slope
    for _ in range(_ROUNDS):
        doubted = np.vstack([x * weight[:, None], np.diag(doubt * np.median(weight))])
        found, *_ = np.linalg.lstsq(doubted, [*y * weight, *doubt * 0], rcond=None)
        points = np.abs(y - x @ found) * slope
        weight = slope / np.sqrt(np.maximum(points / _OUTLIER, 1))
    return [float(each) for each in found]


@dataclass(frozen=True)
class _Fit:
    """Fits one encoder at one quality."""

    ranges: ContentRange
    name: str
    quality: int

    def row(self, photographs: Sequence[_Photograph]) -> list[float]:
        curves = [photograph.curves[self.name] for photograph in photographs]
        parameters = [
            curve.parameter_for(photograph.wanted[self.quality])
            for photograph, curve in zip(photographs, curves, strict=True)
        ]
        slopes = [
            curve.slope_at(parameter) for curve, parameter in zip(curves, parameters, strict=True)
        ]
        return coefficients([self._terms(each) for each in photographs], parameters, slopes)

    def predicted_errors(self, photographs: Sequence[_Photograph]) -> Iterator[float]:
        """How far each photograph is from the wanted score, by a fit of all others."""
        for at, photograph in enumerate(photographs):
            row = self.row([*photographs[:at], *photographs[at + 1 :]])
            terms = self._terms(photograph)
            parameter = sum(factor * term for factor, term in zip(row, terms, strict=True))
            reached = photograph.curves[self.name].at(parameter)
            yield reached - photograph.wanted[self.quality]

    def _terms(self, photograph: _Photograph) -> tuple[float, ...]:
        return self.ranges.terms_of(photograph.content)[: _TERMS[self.name.split()[0]]]


def _offset(photographs: Sequence[_Photograph], name: str, balanced: str, at: int) -> float:
    """By how much an effort's parameter typically differs from that of `balanced`."""
    quality = QUALITIES[at]
    return median(
        photograph.curves[name].parameter_for(photograph.wanted[quality])
        - photograph.curves[balanced].parameter_for(photograph.wanted[quality])
        for photograph in photographs
    )


def _names(*efforts: str) -> list[str]:
    return [
        f"{kind} {each}"
        for kind, one in _FAMILIES.items()
        for each in one.encode
        if each in efforts
    ]


def _rows(photographs: Sequence[_Photograph], ranges: ContentRange) -> dict[str, list[list[float]]]:
    """The coefficients of each encoder with `balanced`, by quality."""
    return {
        name: [_Fit(ranges, name, quality).row(photographs) for quality in QUALITIES]
        for name in _names(Effort.BALANCED)
    }


Rows = list[list[float]]


def _shifted(
    rows: Mapping[str, Rows], distance: Callable[[str, str, int], float]
) -> Iterator[tuple[str, Rows]]:
    """The coefficients of the other efforts, by name. `distance` takes an encoder, the same with
    `balanced`, and the place of a quality.
    """
    for name in _names("plain", Effort.FAST, Effort.BEST):
        balanced = f"{name.split()[0]} {Effort.BALANCED}"
        yield (
            name,
            [
                [row[0] + distance(name, balanced, at), *row[1:]]
                for at, row in enumerate(rows[balanced])
            ],
        )


def _distance_before(parameters: Mapping[str, Rows], name: str, balanced: str, at: int) -> float:
    return parameters[name][at][0] - parameters[balanced][at][0]


def _jpeg_detail(
    samples: Sequence[Sample], photographs: Sequence[_Photograph]
) -> dict[str, list[float]]:
    """How the detail follows from ln(bits per pixel) of a JPEG, by its quality."""
    with ProcessPoolExecutor() as pool:
        bits = np.asarray(list(pool.map(_bits_of_jpegs, samples)))
    details = np.asarray([photograph.content.detail for photograph in photographs])
    lines = [np.polyfit(column, details, 1) for column in bits.T]
    return {
        "qualities": list(_JPEG_QUALITIES),
        "intercepts": [round(float(intercept), 3) for _, intercept in lines],
        "slopes": [round(float(slope), 3) for slope, _ in lines],
    }


def _ranges(photographs: Sequence[_Photograph]) -> ContentRange:
    contents = [photograph.content for photograph in photographs]
    saturations = [min(each.saturation or 0, _FULL_SATURATION) for each in contents]
    return ContentRange(
        _range([each.detail for each in contents]),
        _range(saturations),
        _range([each.structure or 0 for each in contents]),
        _range([each.texture or 0 for each in contents]),
    )


def _range(values: Sequence[float]) -> Range:
    return Range(*(round(each, 2) for each in (min(values), median(values), max(values))))


def _print_shares(photographs: Sequence[_Photograph], ranges: ContentRange) -> None:
    for name in _names(Effort.BALANCED):
        for quality in _CHECKED:
            errors = list(_Fit(ranges, name, quality).predicted_errors(photographs))
            share = fmean(abs(error) <= _NEAR for error in errors)
            print(f"{name} at {quality}: {share:.0%} within {_NEAR}, mean {fmean(errors):+.1f}")


def main() -> None:
    samples = photographs()
    measured = _measured(samples, _names(Effort.BALANCED))
    data = json.loads(TARGET.read_text())
    distance = partial(_distance_before, data["parameters"])
    if sys.argv[1:] != [Effort.BALANCED]:
        distance = partial(_offset, _measured(samples[::_EVERY], _names("plain", *Effort), _FEW))
    ranges = _ranges(measured)
    rows = _rows(measured, ranges)
    data |= {
        "qualities": list(QUALITIES),
        "scores": [
            round(fmean(each.wanted[quality] for each in measured), 2) for quality in QUALITIES
        ],
        "content": {name: list(each.values()) for name, each in asdict(ranges).items()},
        "jpeg_detail": _jpeg_detail(samples, measured),
        "parameters": rows | dict(_shifted(rows, distance)),
    }
    TARGET.write_text(_as_text(data))
    _print_shares(measured, ranges)


def _as_text(data: dict[str, Any]) -> str:
    """JSON with one list of numbers per line."""
    parameters = ",\n".join(
        f"    {json.dumps(name)}: [\n{_lines(rows)}\n    ]"
        for name, rows in sorted(data["parameters"].items())
    )
    jpeg = ",\n".join(
        f'    "{name}": {json.dumps(each)}' for name, each in data["jpeg_detail"].items()
    )
    ranges = ",\n".join(
        f'    "{name}": {json.dumps(each)}' for name, each in data["content"].items()
    )
    tables = ",\n".join(f"    {json.dumps(table)}" for table in data["jpeg_quantisers"])
    return (
        f'{{\n  "qualities": {json.dumps(data["qualities"])},\n'
        f'  "scores": {json.dumps(data["scores"])},\n'
        f'  "content": {{\n{ranges}\n  }},\n'
        f'  "jpeg_detail": {{\n{jpeg}\n  }},\n'
        f'  "parameters": {{\n{parameters}\n  }},\n'
        f'  "jpeg_quantisers": [\n{tables}\n  ]\n}}\n'
    )


def _lines(rows: Sequence[Sequence[float]]) -> str:
    return ",\n".join(f"      {json.dumps([round(each, 3) for each in row])}" for row in rows)


if __name__ == "__main__":
    main()
