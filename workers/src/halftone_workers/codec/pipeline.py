"""The codec's entry point, and the order of its steps.

open     which format, by its bytes; sizes and frames within the limits (opening.py, sources/)
upright  decoded, turned as EXIF says, 8 bits a channel (decoding.py)
colour   in sRGB, where a step mixes colours (steps/job.py)
steps    crop, trim, resize, pad, filters, watermark, and what a preset mends: STEPS
encode   by quality, or by search for few enough bytes (encoding.py)
choose   the original without its metadata, unless the result is smaller or another picture

A JPEG that stays a JPEG and needs no step is not decoded, if the accelerator supports it.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from PIL import Image

from halftone_shared.model.image_formats import Format
from halftone_shared.model.options import Fit, ImageOptions, Mode
from halftone_shared.model.states import Action
from halftone_shared.presets import Preset, RuleKind, check_image, load_presets
from halftone_workers.codec.decoding import decode
from halftone_workers.codec.encoders import Frames
from halftone_workers.codec.encoding import Encoded, encode_frames, requantise_jpeg
from halftone_workers.codec.exif import read_exif
from halftone_workers.codec.jpeg_tables import jpeg_quality
from halftone_workers.codec.measuring import measure
from halftone_workers.codec.opening import Source, decoding, opened
from halftone_workers.codec.options import CodecLimits, Compressed
from halftone_workers.codec.processed import judged
from halftone_workers.codec.steps.crop import crop
from halftone_workers.codec.steps.filters import apply_filters
from halftone_workers.codec.steps.job import Job, in_mixable_colours
from halftone_workers.codec.steps.pad import flatten, pad
from halftone_workers.codec.steps.preset import to_srgb, whiten
from halftone_workers.codec.steps.resize import resize, target_size
from halftone_workers.codec.steps.trim import trim
from halftone_workers.codec.steps.watermark import watermark
from halftone_workers.codec.stripping import strip, tells_place
from halftone_workers.errors import ImageRefused

Step = Callable[[Frames, Job], Frames]
STEPS: tuple[Step, ...] = (
    to_srgb,
    crop,
    whiten,
    trim,
    resize,
    pad,
    apply_filters,
    watermark,
)


def compress(
    data: bytes,
    options: ImageOptions,
    limits: CodecLimits,
    watermarks: Mapping[str, bytes] | None = None,
) -> Compressed:
    """Compress one image with these options. The same arguments give the same bytes.

    `watermarks`: the bytes of each watermark by its URL in the options. Keeps only the colour
    profile, the copyright notice and the mark of pictures made by AI from the metadata. Raises
    ImageRefused with one of the public error codes.
    """
    return compress_outputs(data, replace(options, variants=()), limits, watermarks)


def compress_outputs(
    data: bytes,
    options: ImageOptions,
    limits: CodecLimits,
    watermarks: Mapping[str, bytes] | None = None,
    processed: Mapping[str, bytes] | None = None,
) -> Compressed:
    """Make the main output and its variants, by name, with a single decode.

    `processed`: outputs that an external service made of this image, by the variant's name (empty
    for the main one). They are checked instead of made here. Raises ImageRefused if any output
    cannot be made or used.
    """
    outputs = options.outputs
    with warnings.catch_warnings(action="ignore"):  # Pillow warns about odd metadata
        marks = _decoded_watermarks(
            {output.options.watermark_url for output in outputs}, watermarks or {}, limits
        )
        with opened(data, limits) as source:
            image = _Image(source, limits, _plans([output.options for output in outputs], source))
            main, *variants = (
                image.processed(plan, processed[output.name])
                if processed
                else image.output(plan, marks.get(output.options.watermark_url or ""))
                for output, plan in zip(outputs, image.plans, strict=True)
            )
    names = [output.name for output in outputs[1:]]
    return replace(main, variants=dict(zip(names, variants, strict=True))) if names else main


@dataclass(frozen=True)
class _Plan:
    """The plan for one output. `warnings`: features of the source that its format cannot hold."""

    options: ImageOptions
    preset: Preset | None
    format: Format
    is_idle: bool
    warnings: tuple[str, ...] = ()

    def stays_jpeg(self, source: Source) -> bool:
        return self.is_idle and source.format is self.format is Format.JPEG


def _plans(outputs: Sequence[ImageOptions], source: Source) -> list[_Plan]:
    return [_plan(options, source) for options in outputs]


def _plan(options: ImageOptions, source: Source) -> _Plan:
    preset = load_presets().get(options.preset) if options.preset else None
    output = _output_format(options, preset, source.format)
    facts, lost = output.facts, []
    if source.image.has_transparency_data and not facts.alpha:
        ground = options.background.rgb
        name = "white" if ground in (None, (255, 255, 255)) else str(options.background)
        lost.append(f"{output} has no transparency; the image was put on {name}.")
    if source.frame_count > 1 and not facts.animation:
        lost.append(
            f"{output} has no animation; the first of {source.frame_count} frames was kept."
        )
    is_idle = _asks_for_nothing(options, preset, source.size)
    return _Plan(options, preset, output, is_idle, tuple(lost))


def _output_format(options: ImageOptions, preset: Preset | None, source: Format) -> Format:
    if options.format is not None:
        return options.format
    rule = preset.rule(RuleKind.FORMATS) if preset else None
    is_taken = rule is None or source in rule.formats
    return source if is_taken and source.facts.is_written else Format.JPEG


def _asks_for_nothing(options: ImageOptions, preset: Preset | None, size: tuple[int, int]) -> bool:
    """Whether no step can change an image of this size."""
    if options.crop or options.trim is not None or options.filters or options.watermark_url:
        return False
    if options.fit is not Fit.INSIDE and (options.width, options.height) != size:
        return False
    mended = (RuleKind.SRGB, RuleKind.WHITE_BACKGROUND)
    if preset is not None and any(preset.rule(kind) for kind in mended):
        return False
    return target_size(size, options, preset) == size


@dataclass
class _Image:
    """An opened image and its frames, decoded at most once for all outputs."""

    source: Source
    limits: CodecLimits
    plans: Sequence[_Plan]
    _frames: Frames | None = field(default=None, init=False)

    def output(self, plan: _Plan, mark: Image.Image | None) -> Compressed:
        """Make one output."""
        options, source = plan.options, self.source
        if plan.stays_jpeg(source) and self._frames is None:
            encoded = requantise_jpeg(source, options, self.limits)
            if encoded is not None:
                result = self._chosen(encoded, plan, is_changed=False, warned=())
                return self._checked(result, plan)
        frames = self._decoded()
        if not plan.format.facts.animation and len(frames.pictures) > 1:
            frames = replace(frames, pictures=frames.pictures[:1], durations=frames.durations[:1])
        job = Job(options, plan.preset, plan.format.facts.alpha, mark)
        made = frames
        for step in STEPS:
            made = step(made, job)
        is_changed = made is not frames and not _only_scales(options)
        output = self._that_holds(made, plan, job)
        job.holds_alpha = output.facts.alpha
        made = flatten(_of_one_size(made, output, job), job)
        if output is not Format.WEBP or source.format is not Format.WEBP:
            made = replace(made, lossless=False)
        encoded = encode_frames(made, output, options, len(source.data))
        plan = replace(plan, format=output)
        result = self._chosen(encoded, plan, is_changed=is_changed, warned=tuple(job.warnings))
        return self._checked(result, plan, job.white_share)

    def processed(self, plan: _Plan, made: bytes) -> Compressed:
        """Use an output that an external service made."""
        encoded = judged(made, plan.options, plan.format, self.source, self.limits)
        is_changed = not plan.is_idle and not _only_scales(plan.options)
        return self._chosen(encoded, plan, is_changed=is_changed, warned=())

    def _decoded(self) -> Frames:
        if self._frames is None:
            all_frames = any(plan.format.facts.animation for plan in self.plans)
            self._frames = decode(self.source, all_frames=all_frames, needed=self._needed())
        return self._frames

    def _needed(self) -> tuple[int, int] | None:
        """A size that is large enough for every output; None for the full size."""
        cuts = any(plan.options.crop or plan.options.trim is not None for plan in self.plans)
        if cuts:
            return None
        sizes = [target_size(self.source.size, plan.options, plan.preset) for plan in self.plans]
        return max(width for width, _ in sizes), max(height for _, height in sizes)

    def _that_holds(self, frames: Frames, plan: _Plan, job: Job) -> Format:
        """The planned format; the source's if the image has too many pixels a side for it."""
        most = plan.format.facts.max_side
        if max(frames.first.size) <= most:
            return plan.format
        own = self.source.format
        output = own if own.facts.is_written else Format.PNG
        job.warn(f"{plan.format} holds at most {most} pixels a side; the image stays {output}.")
        return output

    def _chosen(
        self, encoded: Encoded, plan: _Plan, *, is_changed: bool, warned: tuple[str, ...]
    ) -> Compressed:
        """Choose the result, or the original if it shows the same picture and is no larger."""
        source, output = self.source, plan.format
        warned += encoded.warnings
        is_other = output is not source.format
        is_only_read = not source.format.facts.is_written
        must_be_used = is_changed or is_only_read or (plan.preset is not None and is_other)
        is_smaller = len(encoded.data) < len(source.data)
        if not is_smaller and not must_be_used and (original := _original(source)) is not None:
            if output is not source.format or encoded.size != source.size:
                size = f"{encoded.size[0]} × {encoded.size[1]}"
                warned += (
                    f"The image was kept: as {output} of {size} pixels it would have"
                    f" {len(encoded.data)} bytes, and it had {len(source.data)}.",
                )
            return replace(original, warnings=warned)
        return Compressed(
            encoded.data,
            Action.COMPRESSED,
            output,
            output.facts.extension,
            *encoded.size,
            source_width=source.size[0],
            source_height=source.size[1],
            score=encoded.score,
            warnings=warned + plan.warnings + source.prepared.warnings,
        )

    def _checked(
        self, result: Compressed, plan: _Plan, most_white_share: float = 1.0
    ) -> Compressed:
        """Add a check for each rule of the preset to the result."""
        if plan.preset is None:
            return result
        is_kept = result.action is Action.KEPT_ORIGINAL
        data = self.source.data if result.data is None else result.data
        quality = None if is_kept else plan.options.quality
        with decoding():
            measured = measure(data, result.format, quality)
            if quality is not None and plan.stays_jpeg(self.source):
                # Writing a JPEG again does not bring back what its first encoder left out.
                quality = min(quality, jpeg_quality(self.source.image))
                measured = replace(measured, quality=quality)
        # A white frame around a picture does not count as a white background.
        measured = replace(measured, white_share=min(measured.white_share, most_white_share))
        today = datetime.now(UTC).date()
        return replace(result, checks=check_image(measured, plan.preset, today))


def _only_scales(options: ImageOptions) -> bool:
    """Whether the only change is the reduction by `mode=scale`, whose purpose is to save bytes."""
    return options.mode is Mode.SCALE and not (
        options.crop
        or options.trim is not None
        or options.width
        or options.height
        or options.filters
        or options.watermark_url
    )


def _of_one_size(frames: Frames, output: Format, job: Job) -> Frames:
    """Keep only the first page if pages differ in size and the format holds only one size."""
    if output is Format.TIFF or len({picture.image.size for picture in frames.pictures}) == 1:
        return frames
    job.warn(
        f"The pages differ in size, which {output} cannot hold;"
        f" the first of {len(frames.pictures)} was kept."
    )
    return replace(frames, pictures=frames.pictures[:1])


def _original(source: Source) -> Compressed | None:
    """The original without its metadata; None if it may still reveal where it was taken."""
    image, kept, data = source.image, source.kept, source.data
    with decoding():
        exif = read_exif(image)
        # A PNG may declare its colours in chunks that were removed for Pillow.
        readable = data if source.format is Format.PNG else source.prepared.data
        stripped = strip(readable, source.format, exif, kept)
        if stripped is not None and len(stripped) > len(data):
            # Keep the notice in one place only.
            in_exif = replace(kept, in_xmp=False, in_iptc=False, in_text=False)
            stripped = strip(readable, source.format, exif, in_exif)
        if stripped is None or len(stripped) > len(data):
            if tells_place(image, has_xmp=source.has_xmp):
                return None
            stripped = data
    return Compressed(
        None if stripped == data else stripped,
        Action.KEPT_ORIGINAL,
        source.format,
        source.format.facts.extension,
        *source.size,
        source_width=source.size[0],
        source_height=source.size[1],
    )


def _decoded_watermarks(
    urls: set[str | None], given: Mapping[str, bytes], limits: CodecLimits
) -> dict[str, Image.Image]:
    """The watermarks as RGBA in sRGB. Raises ImageRefused for one that is no readable image."""
    marks = {}
    for url in urls:
        if url is not None and url in given:
            try:
                with opened(given[url], limits) as source:
                    picture = in_mixable_colours(decode(source, all_frames=False)).first
            except ImageRefused as refused:
                raise ImageRefused(refused.code, f"The watermark: {refused.message}") from None
            marks[url] = picture.convert("RGBA")
    return marks
