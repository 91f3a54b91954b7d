"""Converts links copied from a sharing service into links that return the file.

A copied link opens a page that shows the picture. Dropbox documents `dl=1`; the forms for Google
Drive and SharePoint are what their own pages use. Pure: no request is made here.
"""

import re
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

# A fast test for the millions of URLs that are not share links.
_MARKS = ("dropbox.com/", "drive.google.com/", "docs.google.com/", ".sharepoint.com/", "1drv.ms/")
_PERSONAL_ONEDRIVE = ("1drv.ms", "onedrive.live.com")
_DRIVE_FILE = re.compile(r"/file/(?:u/\d+/)?d/([\w-]+)")
_DRIVE_BY_PARAMETER = re.compile(r"/(?:u/\d+/)?(?:open|uc)")
_SHAREPOINT_SHARE = re.compile(r"/:[a-z]:/")


def direct_link(url: str) -> str:
    """The URL that answers with the file behind a share link; any other URL unchanged."""
    if not any(mark in url for mark in _MARKS):
        return url
    parts = urlsplit(url)
    host = _host(url)
    if host in ("dropbox.com", "www.dropbox.com"):
        return _dropbox(url)
    if host in ("drive.google.com", "docs.google.com"):
        return _google_drive(url)
    if host.endswith(".sharepoint.com") and _SHAREPOINT_SHARE.match(parts.path):
        return _with_parameter(url, "download", "1")
    return url


def share_problem(url: str) -> str | None:
    """Why the file behind a share link cannot be fetched at all; None for every other URL."""
    if not any(host in url for host in _PERSONAL_ONEDRIVE):
        return None
    if _host(url) not in _PERSONAL_ONEDRIVE:
        return None
    return (
        "It is a link of a personal OneDrive, which opens a page and never the picture itself."
        " Use another place for the file, such as Dropbox, Google Drive or your own web space."
    )


def sharing_service(url: str) -> str | None:
    """The name of the service whose share link this is; None for other URLs."""
    host = _host(url)
    if host in ("dropbox.com", "www.dropbox.com", "dl.dropboxusercontent.com"):
        return "Dropbox"
    if host in ("drive.google.com", "docs.google.com", "drive.usercontent.google.com"):
        return "Google Drive"
    if host.endswith(".sharepoint.com"):
        return "SharePoint"
    return "OneDrive" if host in _PERSONAL_ONEDRIVE else None


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _dropbox(url: str) -> str:
    """Set dl=1 and keep everything else, `rlkey` included. `raw=1` also returns the file."""
    parameters = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    return url if parameters.get("raw") == "1" else _with_parameter(url, "dl", "1")


def _google_drive(url: str) -> str:
    parts = urlsplit(url)
    parameters = dict(parse_qsl(parts.query))
    found = _DRIVE_FILE.match(parts.path)
    if found is not None:
        file_id = found.group(1)
    elif _DRIVE_BY_PARAMETER.fullmatch(parts.path) and "id" in parameters:
        file_id = parameters["id"]
    else:
        return url
    direct = f"https://drive.google.com/uc?export=download&id={quote(file_id, safe='')}"
    key = parameters.get("resourcekey")
    return direct if key is None else f"{direct}&resourcekey={quote(key, safe='')}"


def _with_parameter(url: str, name: str, value: str) -> str:
    parts = urlsplit(url)
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != name]
    return urlunsplit(parts._replace(query=urlencode([*kept, (name, value)])))
