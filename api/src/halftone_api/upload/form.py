"""The multipart form of an upload: read as a stream within limits, then its options are checked.

The file goes to a temporary file on disk. No field is used before it has been checked.
"""

import codecs
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import structlog
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from halftone_api.endpoints.parameters import whole_number
from halftone_api.errors import Problem, ProblemCode
from halftone_api.upload.column_choice import AUTO, ColumnChoice, MappedColumns
from halftone_api.upload.fields import FIELDS, MAX_SAMPLE, PROFILE_CHOICES
from halftone_api.upload.opening import Reading
from halftone_api.upload.recognition import MAX_COLUMNS
from halftone_api.upload.space import UploadRoom
from halftone_api.upload.text_rows import ENCODINGS
from halftone_shared.model.addresses import FetchRule
from halftone_shared.model.options import (
    ImageOptions,
    InvalidOption,
    parse_options,
)
from halftone_shared.model.signing import secret_problem
from halftone_shared.model.urls import literal_address, url_problem
from halftone_shared.presets import load_presets

log = structlog.get_logger(__name__)

MAX_FIELDS = 100
MAX_FIELD_BYTES = 64 * 1024
# Allowance for what multipart adds around the file and the fields.
FORM_OVERHEAD_BYTES = 256 * 1024
MAX_FILENAME_CHARACTERS = 255
# Another thread writes each piece of a form. Joining what arrives to pieces of this size saves a
# quarter of an upload's processor time.
PIECE_BYTES = 512 * 1024


@dataclass(frozen=True)
class Upload:
    """An upload's form. With `skip`, rows with errors are skipped instead of refusing the file."""

    file: BinaryIO
    filename: str
    options: ImageOptions
    reading: Reading
    skip: bool
    sample: int | None
    strict: bool
    fresh: bool
    webhook_url: str | None
    webhook_secret: str | None


async def read_upload(
    request: Request, room: UploadRoom, *, max_upload_bytes: int, fetch_rule: FetchRule
) -> Upload:
    """Read and check the form; its bytes take `room`. Raises Problem. The caller closes `file`."""
    for name in FIELDS:
        if name in request.query_params:
            detail = (
                f"{name!r} is in the URL, where it has no effect. Send it in the form, beside"
                " 'file'."
            )
            raise Problem(ProblemCode.INVALID_OPTION, detail, option=name)
    form = await _read_form(request, room)
    try:
        file = _take_file(form, max_upload_bytes)
        return _check_form(form, file, fetch_rule)
    except BaseException:
        await form.close()
        raise


async def _read_form(request: Request, room: UploadRoom) -> FormData:
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Problem(
            ProblemCode.NOT_MULTIPART,
            "Send the CSV as multipart/form-data, in a field called 'file'.",
        )
    parser = _WholeFormParser(
        request.headers,
        _in_pieces(request, room),
        max_files=1,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise _malformed_form(error.message) from None
    except UnicodeError:
        raise _malformed_form("its text is in no encoding that is known here.") from None
    except OSError as error:
        log.error("upload not taken", error=str(error))
        detail = (
            "There is no room for the upload now: its temporary file cannot be written. Try again."
        )
        raise Problem(
            ProblemCode.STORAGE_UNAVAILABLE, detail, headers={"Retry-After": "5"}
        ) from None
    if not parser.ended:
        await form.close()
        raise _malformed_form("it is cut off before its end.")
    return form


async def _in_pieces(request: Request, room: UploadRoom) -> AsyncGenerator[bytes, None]:
    """The body, in pieces of about PIECE_BYTES. Each byte is counted when it arrives."""
    piece = bytearray()
    async for data in request.stream():
        room.take(len(data))
        piece += data
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


class _WholeFormParser(MultiPartParser):
    """Records whether the closing boundary arrived: without it, options after the file may be
    missing.
    """

    ended = False

    def on_end(self) -> None:
        self.ended = True


def _malformed_form(reason: str) -> Problem:
    return Problem(ProblemCode.MALFORMED_FORM, f"The form cannot be read: {reason}")


def _take_file(form: FormData, max_upload_bytes: int) -> UploadFile:
    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise Problem(ProblemCode.MISSING_FILE, "The form has no file in a field called 'file'.")
    if (file.size or 0) > max_upload_bytes:
        raise too_large(max_upload_bytes)
    return file


def too_large(max_upload_bytes: int) -> Problem:
    return Problem(
        ProblemCode.TOO_LARGE,
        f"The file is larger than {max_upload_bytes} bytes. Split it into several uploads.",
        limit=max_upload_bytes,
    )


def _check_form(form: FormData, file: UploadFile, fetch_rule: FetchRule) -> Upload:
    fields = _fields(form)
    strict = _flag(fields, "strict")
    fresh = _flag(fields, "fresh")
    reading = _reading(fields)
    skip = _choice(fields, "on_error", ("refuse", "skip")) == "skip"
    sample = _sample(fields)
    webhook_url = _webhook_url(fields, fetch_rule)
    webhook_secret = _webhook_secret(fields)
    if webhook_secret is not None and webhook_url is None:
        raise _invalid_option("webhook_secret", "it has no effect without webhook_url")
    options = _image_options(fields, fetch_rule)
    return Upload(
        file=file.file,
        filename=_filename(file),
        options=options,
        reading=reading,
        skip=skip,
        sample=sample,
        strict=strict,
        fresh=fresh,
        webhook_url=webhook_url,
        webhook_secret=webhook_secret,
    )


def _fields(form: FormData) -> dict[str, str]:
    """The text fields that are not empty. Browsers send fields left blank as empty text."""
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        if name == "file" or not isinstance(value, str) or not value.strip():
            continue
        if name in fields:
            raise _invalid_option(name, "it is given twice")
        fields[name] = value.strip()
    return fields


def _filename(file: UploadFile) -> str:
    filename = PurePosixPath((file.filename or "").replace("\\", "/")).name[
        -MAX_FILENAME_CHARACTERS:
    ]
    return "".join(character if character.isprintable() else "_" for character in filename)


def _reading(fields: dict[str, str]) -> Reading:
    profile = _choice(fields, "profile", PROFILE_CHOICES)
    columns = _columns(fields)
    if columns is not None and profile != AUTO:
        raise _invalid_option("columns", f"profile={profile} has columns of its own")
    encoding = fields.pop("encoding", None)
    if encoding is not None:
        encoding = _encoding(encoding)
    base_url = fields.pop("base_url", None)
    if base_url is not None and (problem := url_problem(base_url)) is not None:
        raise _invalid_option("base_url", f"{base_url[:200]!r} is no http(s) URL. {problem}")
    return Reading(ColumnChoice(profile, columns, base_url), encoding, fields.pop("sheet", None))


def _encoding(name: str) -> str:
    """One of ENCODINGS, given by any name that Python knows for it."""
    try:
        wanted = codecs.lookup(name).name
    except LookupError:
        wanted = ""
    for encoding in ENCODINGS:
        if codecs.lookup(encoding).name == wanted:
            return encoding
    raise _invalid_option("encoding", f"{name[:100]!r} is none of {', '.join(ENCODINGS)}")


def _columns(fields: dict[str, str]) -> MappedColumns | None:
    text = fields.pop("columns", None)
    if text is None:
        return None
    expected = 'expected JSON such as {"key": "SKU", "name": "Title", "images": ["Image 1"]}'
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise _invalid_option("columns", expected)
    if unknown := sorted(set(given) - {"key", "name", "images"}):
        raise _invalid_option("columns", f"it has no member {unknown[0][:100]!r}; {expected}")
    images = given.get("images")
    images = images if isinstance(images, list) else [images]
    key, name = given.get("key"), given.get("name")
    for column in (*images, *(one for one in (key, name) if one is not None)):
        if not _is_column(column):
            shown = json.dumps(column, ensure_ascii=False)[:100]
            reason = f"{shown} is neither a column's name nor its number from 1; {expected}"
            raise _invalid_option("columns", reason)
    if not images:
        raise _invalid_option("columns", f"it names no image column; {expected}")
    return MappedColumns(key, name, tuple(images))


def _is_column(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return 1 <= value <= MAX_COLUMNS
    return isinstance(value, str) and bool(value.strip())


def _sample(fields: dict[str, str]) -> int | None:
    text = fields.pop("sample", None)
    if text is None:
        return None
    number = whole_number(text)
    if number is None or not 1 <= number <= MAX_SAMPLE:
        raise _invalid_option(
            "sample", f"{text[:100]!r} is not a whole number from 1 to {MAX_SAMPLE}"
        )
    return number


def _choice(fields: dict[str, str], name: str, choices: Sequence[str]) -> str:
    """One of the choices, ignoring case; the first one if the field is missing."""
    text = fields.pop(name, choices[0])
    if text.lower() not in choices:
        raise _invalid_option(name, f"{text[:100]!r} is none of {', '.join(choices)}")
    return text.lower()


def _image_options(fields: dict[str, str], fetch_rule: FetchRule) -> ImageOptions:
    """The image options: every field that the other functions have not taken."""
    try:
        options = parse_options(fields, _preset_options(fields.get("preset")))
    except InvalidOption as error:
        raise _invalid_option(error.option, error.reason) from None
    for output in options.outputs:
        url = output.options.watermark_url
        if url is not None and not _may_be_fetched(url, fetch_rule):
            raise _invalid_option("watermark_url", _NOT_PUBLIC)
    return options


def _preset_options(name: str | None) -> Mapping[str, Any] | None:
    """The defaults of a preset. Raises InvalidOption if there is no such preset."""
    if name is None:
        return None
    presets = load_presets()
    if name not in presets:
        raise InvalidOption("preset", f"{name[:100]!r} is not one of {', '.join(presets)}")
    return presets[name].options


def _flag(fields: dict[str, str], name: str) -> bool:
    text = fields.pop(name, "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise _invalid_option(name, f"{text!r} is neither true nor false")
    return text in ("true", "1")


_NOT_PUBLIC = "its address is not a public one, or its port is neither 80 nor 443"


def _webhook_url(fields: dict[str, str], fetch_rule: FetchRule) -> str | None:
    url = fields.pop("webhook_url", None)
    if url is None:
        return None
    problem = url_problem(url)
    if problem is None and not _may_be_fetched(url, fetch_rule):
        problem = f"{_NOT_PUBLIC.capitalize()}."
    if problem is not None:
        raise Problem(
            ProblemCode.INVALID_WEBHOOK_URL, f"The webhook URL {url!r} cannot be used. {problem}"
        )
    return url


def _may_be_fetched(url: str, fetch_rule: FetchRule) -> bool:
    """False if the URL contains a refused IP address. Host names are checked when fetched."""
    literal = literal_address(url)
    return literal is None or fetch_rule.permits(*literal)


def _webhook_secret(fields: dict[str, str]) -> str | None:
    secret = fields.pop("webhook_secret", None)
    if secret is not None and (problem := secret_problem(secret)) is not None:
        raise Problem(ProblemCode.INVALID_OPTION, problem, option="webhook_secret")
    return secret


def _invalid_option(name: str, reason: str) -> Problem:
    return Problem(
        ProblemCode.INVALID_OPTION,
        f"The form field {name!r} cannot be used: {reason}.",
        option=name,
    )
