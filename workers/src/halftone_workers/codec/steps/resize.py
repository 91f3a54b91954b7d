"""Resizes: how an image fits or covers a box, and the resampling."""

from array import array
from dataclasses import replace

from PIL import Image, ImageFilter

from halftone_shared.model.options import Fit, Gravity, ImageOptions, Mode
from halftone_shared.presets import Preset
from halftone_workers.codec.encoders import Frames
from halftone_workers.codec.pixels import Picture, without_palette
from halftone_workers.codec.steps.job import Job, each_picture, in_mixable_colours

Size = tuple[int, int]
Box = tuple[float, float, float, float]
# The size of an attention map: large enough for a product, and fast.
_ATTENTION_SIDE = 96

_EDGES: dict[Gravity, tuple[float, float]] = {
    Gravity.CENTER: (0.5, 0.5),
    Gravity.NORTH: (0.5, 0.0),
    Gravity.NORTHEAST: (1.0, 0.0),
    Gravity.EAST: (1.0, 0.5),
    Gravity.SOUTHEAST: (1.0, 1.0),
    Gravity.SOUTH: (0.5, 1.0),
    Gravity.SOUTHWEST: (0.0, 1.0),
    Gravity.WEST: (0.0, 0.5),
    Gravity.NORTHWEST: (0.0, 0.0),
}


def resize(frames: Frames, job: Job) -> Frames:
    """Fit the image into `width` and `height`, or cover them, and scale it with `mode=scale`."""
    options = job.options
    if options.fit is Fit.COVER and options.width and options.height:
        return _cover(frames, (options.width, options.height), job)

    def size_of(picture: Picture) -> Size:
        return target_size(frames.full_size or picture.image.size, options, job.preset)

    if all(size_of(picture) == picture.image.size for picture in frames.pictures):
        return frames
    box = None if frames.exact_size is None else (0.0, 0.0, *frames.exact_size)
    return each_picture(frames, lambda one: resampled(one, size_of(one), box))


def target_size(size: Size, options: ImageOptions, preset: Preset | None = None) -> Size:
    """The size of the whole image, without what `pad` adds or `cover` cuts off.

    It is at least the preset's minimum, unless the options ask for less.
    """
    fill = 1.0 if preset is None else preset.fill
    asked = _target_size(size, options, fill if options.fit is Fit.PAD else 1.0)
    if preset is None or asked == size or options.fit is not Fit.INSIDE:
        return asked
    sides = [side for side in (options.width, options.height) if side is not None]
    if sides and max(sides) < max(preset.min_sides, preset.min_longest_side):
        return asked
    factor = max(preset.min_sides / min(size), preset.min_longest_side / max(size))
    least = scaled(size, min(factor, 1.0))
    return asked if asked[0] >= least[0] else least


def _target_size(size: Size, options: ImageOptions, fill: float) -> Size:
    if options.mode is Mode.SCALE:
        size = scaled(size, options.scale)
    factors = [
        limit * fill / side
        for side, limit in zip(size, (options.width, options.height), strict=True)
        if limit is not None
    ]
    if not factors:
        return size
    factor = max(factors) if options.fit is Fit.COVER else min(factors)
    if factor == 1 or (factor > 1 and not options.enlarge):
        return size
    width, height = scaled(size, factor)
    if options.fit is Fit.COVER:
        return width, height
    return min(width, options.width or width), min(height, options.height or height)


def scaled(size: Size, factor: float) -> Size:
    """Both sides multiplied by the factor, at least 1 pixel each."""
    width, height = size
    return max(1, round(width * factor)), max(1, round(height * factor))


def resampled(picture: Picture, size: Size, box: Box | None = None) -> Picture:
    """Scale the picture, or the part of it inside a box, to this size."""
    picture = without_palette(picture)
    image = picture.image.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=2.0)
    return replace(picture, image=image)


def _cover(frames: Frames, wanted: Size, job: Job) -> Frames:
    size = frames.full_size or frames.first.size
    if job.options.mode is Mode.SCALE:
        size = scaled(size, job.options.scale)
    # Without enlarging: the largest part with this aspect ratio.
    factor = min(1.0, *(side / limit for side, limit in zip(size, wanted, strict=True)))
    if factor < 1 and not job.options.enlarge:
        given, wanted = wanted, scaled(wanted, factor)
        job.warn(
            f"The image is smaller than {given[0]} × {given[1]} pixels and was not enlarged:"
            f" it has {wanted[0]} × {wanted[1]}."
        )
    if frames.first.size == wanted:
        return frames
    place = _place(frames, wanted, job.options.gravity)
    return each_picture(
        frames,
        lambda one: resampled(
            one, wanted, covering(frames.exact_size or one.image.size, wanted, place)
        ),
    )


def covering(size: tuple[float, float], wanted: Size, place: tuple[float, float]) -> Box:
    """The largest box with this aspect ratio in an image. `place`: the shares of the free space to
    its left and above it.
    """
    factor = min(side / limit for side, limit in zip(size, wanted, strict=True))
    width, height = min(wanted[0] * factor, size[0]), min(wanted[1] * factor, size[1])
    left, upper = (size[0] - width) * place[0], (size[1] - height) * place[1]
    return left, upper, left + width, upper + height


def edges_of(gravity: Gravity) -> tuple[float, float]:
    """The shares of the free space to the left and above, for a gravity."""
    return _EDGES.get(gravity, (0.5, 0.5))


def _place(frames: Frames, wanted: Size, gravity: Gravity) -> tuple[float, float]:
    if gravity is not Gravity.ATTENTION:
        return _EDGES[gravity]
    first = in_mixable_colours(replace(frames, pictures=frames.pictures[:1])).first
    return attention(first, wanted)


def attention(image: Image.Image, wanted: Size) -> tuple[float, float]:
    """Where to place a box of this aspect ratio so that it contains the most detail.

    Detail is contrast between neighbours, and strong colour. The result is deterministic.
    """
    small = image.convert("RGBA")
    small.thumbnail((_ATTENTION_SIDE, _ATTENTION_SIDE), Image.Resampling.BOX)
    detail = _detail(small)
    left, upper, right, lower = covering(small.size, wanted, (0.0, 0.0))
    across = _best_window(_sums(detail, across=True), right - left)
    down = _best_window(_sums(detail, across=False), lower - upper)
    return across, down


def _detail(image: Image.Image) -> Image.Image:
    """A gray map that is bright where a picture has edges or strong colour."""
    gray = image.convert("LA")
    ground = Image.new("L", image.size, 255)
    ground.paste(gray.getchannel("L"), mask=gray.getchannel("A"))
    edges = ground.filter(ImageFilter.FIND_EDGES)
    # FIND_EDGES does not filter the outermost pixels.
    frame = Image.new("L", image.size, 0)
    inner = (1, 1, max(image.width - 1, 1), max(image.height - 1, 1))
    frame.paste(edges.crop(inner), inner[:2])
    colour = Image.new("L", image.size, 0)
    colour.paste(image.convert("RGB").convert("HSV").getchannel("S"), mask=image.getchannel("A"))
    return Image.blend(frame, colour, 0.25)


def _sums(detail: Image.Image, *, across: bool) -> list[float]:
    """The mean of each column, or of each row."""
    size = (detail.width, 1) if across else (1, detail.height)
    means = detail.convert("F").resize(size, Image.Resampling.BOX)
    return list(array("f", means.tobytes()))


def _best_window(values: list[float], length: float) -> float:
    """The position of the window of this length with the highest sum: 0 is the start, 1 the end."""
    free = len(values) - round(length)
    if free <= 0:
        return 0.5
    sums = [sum(values[at : at + round(length)]) for at in range(free + 1)]
    best = max(sums)
    places = [at for at, value in enumerate(sums) if value >= best - 1e-6]
    return (places[0] + places[-1]) / 2 / free
