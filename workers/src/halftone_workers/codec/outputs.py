"""All outputs of one image: the main one and its variants."""

from dataclasses import replace

from halftone_shared.model.options import ImageOptions
from halftone_workers.codec.options import CodecLimits, Compressed
from halftone_workers.codec.pipeline import compress


def compress_outputs(data: bytes, options: ImageOptions, limits: CodecLimits) -> Compressed:
    """The main output, with its variants by name. Raises ImageRefused where any cannot be made."""
    main, *variants = (
        (output.name, compress(data, output.options, limits)) for output in options.outputs
    )
    return replace(main[1], variants=dict(variants))
