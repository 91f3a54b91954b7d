"""The first page: drop a file, see how it was understood, choose options, start."""

import json
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from halftone_api.endpoints.authentication import find_caller
from halftone_api.endpoints.declaration import page
from halftone_api.endpoints.requests import recent_requests
from halftone_api.endpoints.upload import understood, upload
from halftone_api.errors import Problem, ProblemCode
from halftone_api.pages.columns import column_choices
from halftone_api.pages.rendering import base_path, render
from halftone_api.pages.sign_in import sign_in_redirect
from halftone_api.services import services
from halftone_api.upload.fields import form_schema
from halftone_api.upload.layout import MAPPED
from halftone_api.upload.missing_columns import SuggestedColumns
from halftone_api.upload.profiles import PROFILES
from halftone_shared.model.options import IMAGE_OPTIONS, Mode
from halftone_shared.presets import load_presets

# The modes that decide the loss, in a customer's words. The form sends the mode.
CHOICES = (
    (Mode.QUALITY, "Smaller files", "Same size in pixels, about a third of the bytes."),
    (Mode.VISUAL, "Looks the same", "As few bytes as possible without a visible difference."),
    (Mode.SCALE, "Half size", "Half the width and height."),
    (Mode.BYTES, "Half the bytes", "The least loss that halves every file."),
)
# These options have their own controls on the page.
_SHOWN_APART = ("mode", "preset")
RECENT = 5


async def start_page(request: Request) -> Response:
    """`GET /` for a browser."""
    try:
        caller = await run_in_threadpool(find_caller, request)
    except Problem as problem:
        if problem.code is ProblemCode.UNAUTHORIZED:
            return sign_in_redirect(request)
        raise
    recent = await run_in_threadpool(recent_requests, request, caller, RECENT)
    return render(
        request,
        "start.html",
        choices=CHOICES,
        fields=_option_fields(),
        presets=_presets(),
        recent=recent,
    )


@page("POST", "/start")
async def start(request: Request) -> Response:
    """Upload the form as `POST /api/upload` does, then go to the request's page. If the upload is
    refused, say why.
    """
    try:
        answer = await upload(request)
    except Problem as problem:
        return _refusal(request, problem)
    accepted = json.loads(bytes(answer.body))
    base = base_path(services(request).settings.public_url)
    return Response(status_code=204, headers={"HX-Redirect": f"{base}/r/{accepted['request_id']}"})


def _presets() -> list[dict[str, str]]:
    """The presets with their rules in words."""
    return [
        {
            "name": preset.name,
            "title": preset.title,
            "summary": " ".join(dict.fromkeys(rule.source for rule in preset.rules)),
        }
        for preset in load_presets().values()
    ]


def _option_fields() -> list[dict[str, Any]]:
    """The image options as fields of the form, under "By hand"."""
    properties = form_schema()["properties"]
    return [
        {
            "name": name,
            "schema": properties[name],
            "modes": " ".join(sorted(option.modes or ())),
        }
        for name, option in IMAGE_OPTIONS.items()
        if name not in _SHOWN_APART
    ]


@page("POST", "/start/check")
async def check_file(request: Request) -> Response:
    """What `POST /api/check` says of the file that was dropped."""
    try:
        found = await understood(request)
    except Problem as problem:
        return _refusal(request, problem)
    return render(
        request,
        "check.html",
        check=found.check,
        title=_title(found.check["profile"]),
        is_mapped=found.check["profile"] == MAPPED,
        columns=column_choices(found.header, found.check["columns"]),
    )


def _title(profile: str) -> str:
    """What the file is, in words."""
    if profile == MAPPED:
        return "Read by the columns that you chose"
    return PROFILES[profile].title if profile in PROFILES else "A table of products"


def _refusal(request: Request, problem: Problem) -> Response:
    """Why the file is refused. If its columns are unknown, the person can choose them."""
    members = problem.members
    chosen: SuggestedColumns | None = members.get("suggested_columns")
    if chosen is None:
        chosen = {"images": members.get("url_columns", [])}
    columns = column_choices(members.get("found_columns", []), chosen)
    return render(request, "refusal.html", problem=problem, columns=columns)
