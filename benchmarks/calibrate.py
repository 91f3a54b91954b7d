"""`python -m benchmarks.calibrate`: measure the quality scale, write the codec's calibration.json.

For each encoder and effort, it finds the parameter that gives the mean SSIMULACRA2 score of
Pillow's JPEG at each quality, over real photographs. Needs halftone-jpeg to compute the score.
"""

import io
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image

import halftone_jpeg
from benchmarks.real_photos import photographs
from halftone_shared.model.options import Effort
from halftone_workers.codec import encoders, quality_scale, requantising
from halftone_workers.codec.pixels import Picture

TARGET = Path(quality_scale.__file__).with_name("calibration.json")
QUALITIES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
# The middle of every fourth photograph: measuring all encoders then takes minutes, not hours.
SIDE, EVERY = 640, 4
# Quality of the JPEG to requantise: as fine as the codec's own intermediate JPEG.
FINE_QUALITY = encoders.FINE_QUALITY


@dataclass(frozen=True)
class Crop:
    """A part of a photograph, and a JPEG of it with little loss."""

    original: Image.Image
    jpeg: bytes


Encode = Callable[[Crop, float], bytes]


def _frames(crop: Crop) -> encoders.Frames:
    return encoders.Frames([Picture(crop.original, None)])


def _pillow(crop: Crop, quality: float) -> bytes:
    return _saved(crop.original, quality=round(quality))


def _saved(image: Image.Image, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **how)
    return buffer.getvalue()


def _requantised(effort: Effort, crop: Crop, scale: float) -> bytes:
    return requantising.requantise(
        crop.jpeg, scale, effort, max_pixels=crop.original.width**2, icc=None, exif=b""
    )


def _plain(crop: Crop, scale: float) -> bytes:
    tables = [list(table) for table in requantising.quantisers(scale)]
    return _saved(_frames(crop).first, qtables=tables)


def _webp(effort: Effort, crop: Crop, quality: float) -> bytes:
    return encoders.webp(_frames(crop), quality, effort)


def _avif(effort: Effort, crop: Crop, quality: float) -> bytes:
    return encoders.avif(_frames(crop), quality, effort)


# The parameters at which each encoder is measured, from the worst to the best.
_SCALES = (30, 16, 9, 6, 4.5, 3.4, 2.6, 2, 1.5, 1.2, 1, 0.8, 0.6, 0.45, 0.32, 0.22, 0.15)
_LIBRARY_QUALITIES = (0, 5, 15, 25, 35, 45, 55, 65, 75, 85, 92, 98)
ENCODERS: dict[str, tuple[Encode, Sequence[float]]] = {
    "JPEG plain": (_plain, _SCALES),
    **{f"JPEG {effort}": (partial(_requantised, effort), _SCALES) for effort in Effort},
    **{f"WEBP {effort}": (partial(_webp, effort), _LIBRARY_QUALITIES) for effort in Effort},
    **{f"AVIF {effort}": (partial(_avif, effort), _LIBRARY_QUALITIES) for effort in Effort},
}


def crops() -> list[Crop]:
    found = []
    for sample in photographs()[::EVERY]:
        with Image.open(sample.original) as image:
            left, top = (max(0, (side - SIDE) // 2) for side in image.size)
            box = left, top, min(image.width, left + SIDE), min(image.height, top + SIDE)
            original = image.convert("RGB").crop(box)
        found.append(Crop(original, _saved(original, quality=FINE_QUALITY)))
    return found


def score(crop: Crop, encoded: bytes) -> float:
    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    return halftone_jpeg.ssimulacra2(crop.original.tobytes(), image.tobytes(), *image.size)


def mean_score(pictures: Sequence[Crop], encode: Encode, parameter: float) -> float:
    return fmean(score(crop, encode(crop, parameter)) for crop in pictures)


def parameters(scores: Sequence[float], measured: Sequence[tuple[float, float]]) -> list[float]:
    """The parameter for each score, interpolated between `measured` pairs of parameter and
    score.
    """
    rising = sorted((score, parameter) for parameter, score in measured)
    curve = quality_scale.Curve([score for score, _ in rising], [each for _, each in rising])
    return [round(curve.at(score), 3) for score in scores]


def _measured(name: str) -> list[tuple[float, float]]:
    pictures = crops()
    encode, tried = ENCODERS[name]
    return [(parameter, mean_score(pictures, encode, parameter)) for parameter in tried]


def main() -> None:
    """Measure all encoders, or only those whose names begin with an argument."""
    pictures = crops()
    scores = [mean_score(pictures, _pillow, quality) for quality in QUALITIES]
    found = {}
    wanted = [name for name in ENCODERS if name.startswith(tuple(sys.argv[1:]) or "")]
    with ProcessPoolExecutor(1) as pool:
        for name, measured in zip(wanted, pool.map(_measured, wanted), strict=True):
            found[name] = parameters(scores, measured)
            print(name, found[name], flush=True)
    data = json.loads(TARGET.read_text())
    data |= {"qualities": QUALITIES, "scores": [round(each, 2) for each in scores]}
    data["parameters"] |= found
    TARGET.write_text(_as_text(data))


def _as_text(data: dict[str, Any]) -> str:
    """JSON with one list per line."""
    parameters = ",\n".join(
        f"    {json.dumps(name)}: {json.dumps(each)}" for name, each in data["parameters"].items()
    )
    tables = ",\n".join(f"    {json.dumps(table)}" for table in data["jpeg_quantisers"])
    return (
        f'{{\n  "qualities": {json.dumps(data["qualities"])},\n'
        f'  "scores": {json.dumps(data["scores"])},\n'
        f'  "parameters": {{\n{parameters}\n  }},\n'
        f'  "jpeg_quantisers": [\n{tables}\n  ]\n}}\n'
    )


if __name__ == "__main__":
    main()
