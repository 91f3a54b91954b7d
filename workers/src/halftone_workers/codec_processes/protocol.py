"""Messages between a worker and its codec processes: a JSON head, followed by bytes.

A job's bytes are the image, then the watermarks, then outputs that an external service made. An
answer's bytes are its outputs, one after another; an output without bytes is the image itself.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import lru_cache
from typing import NotRequired, TypedDict

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.options import ImageOptions
from halftone_shared.model.results import Check
from halftone_shared.model.states import Action
from halftone_shared.model.stored_json import StoredJson
from halftone_workers.codec.options import CodecLimits, Compressed
from halftone_workers.errors import ImageRefused

# The lengths of a message's JSON head and of the bytes that follow it.
HEADER = struct.Struct("!II")
# The name and size in bytes of each additional file of a job.
Sizes = tuple[tuple[str, int], ...]
Arguments = tuple[bytes, ImageOptions, CodecLimits, Mapping[str, bytes], Mapping[str, bytes] | None]


class JobHead(TypedDict):
    """The head of a job. Watermarks are named by URL, a service's outputs by variant."""

    options: StoredJson
    limits: dict[str, int]
    watermarks: Sizes
    processed: Sizes


class OutputHead(TypedDict):
    """One output of an answer: its variant ("" for the main output), its size in bytes (None for
    the image itself), and the fields of `Compressed` other than `data` and `variants`.
    """

    name: str
    bytes: int | None
    facts: StoredJson


class RefusalHead(TypedDict):
    code: str
    message: str


class AnswerHead(TypedDict):
    """The head of an answer: outputs or an error. `last`: the process ends after it."""

    outputs: NotRequired[list[OutputHead]]
    error: NotRequired[RefusalHead]
    last: NotRequired[bool]


# A JobHead as JSON, and the job's bytes.
Job = tuple[bytes, bytes]
Answer = tuple[AnswerHead, bytes]


@lru_cache
def job_head(
    options: ImageOptions, limits: CodecLimits, watermarks: Sizes = (), processed: Sizes = ()
) -> bytes:
    head: JobHead = {
        "options": options.to_json(),
        "limits": asdict(limits),
        "watermarks": watermarks,
        "processed": processed,
    }
    return json.dumps(head).encode()


def read_job(head: bytes, data: bytes) -> Arguments:
    """The arguments of `compress_outputs`."""
    options, limits, sizes = _read_head(head)
    data, processed = _split(data, sizes["processed"])
    data, watermarks = _split(data, sizes["watermarks"])
    return data, options, limits, watermarks, processed or None


# The images of a request have the same head.
@lru_cache
def _read_head(encoded: bytes) -> tuple[ImageOptions, CodecLimits, JobHead]:
    head: JobHead = json.loads(encoded)
    return ImageOptions.from_json(head["options"]), CodecLimits(**head["limits"]), head


def _split(data: bytes, sizes: Sequence[tuple[str, int]]) -> tuple[bytes, dict[str, bytes]]:
    """Split off the files with these names and sizes from the end of the bytes."""
    files: dict[str, bytes] = {}
    end = len(data)
    for name, size in reversed(sizes):
        files[name] = data[end - size : end]
        end -= size
    return data[:end] if files else data, files


def answer_of(result: Compressed) -> Answer:
    made = [("", result), *result.variants.items()]
    head: AnswerHead = {"outputs": [_output_head(name, output) for name, output in made]}
    return head, b"".join(output.data or b"" for _, output in made)


def refusal(code: ImageErrorCode, message: str, *, is_last: bool = False) -> Answer:
    """An answer without outputs. `is_last`: the process ends after it."""
    return {"error": {"code": code, "message": message}, "last": is_last}, b""


def read_answer(head: AnswerHead, data: bytes) -> Compressed:
    """The outputs of an answer. Raises ImageRefused."""
    if error := head.get("error"):
        raise ImageRefused(ImageErrorCode(error["code"]), error["message"])
    outputs: dict[str, Compressed] = {}
    start = 0
    for one in head["outputs"]:
        facts, size = one["facts"], one["bytes"]
        facts |= {
            "action": Action(facts["action"]),
            "checks": tuple(Check(**check) for check in facts["checks"]),
            "warnings": tuple(facts["warnings"]),
        }
        outputs[one["name"]] = Compressed(
            None if size is None else data[start : start + size], **facts
        )
        start += size or 0
    main = outputs.pop("")
    return replace(main, variants=outputs) if outputs else main


# What a head contains of `Compressed`. dataclasses.asdict takes 14 µs for it instead of 1.
_FACTS = [one.name for one in fields(Compressed) if one.name not in ("data", "variants")]


def _output_head(name: str, output: Compressed) -> OutputHead:
    facts = {fact: getattr(output, fact) for fact in _FACTS}
    facts["checks"] = [asdict(check) for check in output.checks]
    size = None if output.data is None else len(output.data)
    return {"name": name, "bytes": size, "facts": facts}
