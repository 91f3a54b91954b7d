"""Pages: HTML for browsers, JSON for programs, and no resources from other hosts."""

import hashlib
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from halftone_api.endpoints import all_endpoints
from tests.support.api import Api
from tests.support.routes import upload
from tests.support.stored import claimed, failed_image, finish, good_image, settle

ROOT = Path(__file__).parents[3]
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
MANIFESTS = [
    ROOT / "api/src/halftone_api/pages/static/vendor/manifest.json",
    ROOT / "tests/browser/vendor/manifest.json",
]


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize("path", ["/", "/requests", "/docs", "/sign-in", "/operations"])
def test_page_loads_and_runs_only_what_this_service_gives(api: Api, path: str) -> None:
    response = api.get(path, headers=HTML)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag, attributes in _Tags(response.text).tags:
        assert "style" not in attributes, "a style that the policy blocks"
        assert not [name for name in attributes if name.startswith("on")]
        if tag in ("script", "link", "img", "iframe", "form"):
            source = attributes.get("src") or attributes.get("href") or attributes.get("action")
            assert source is None or source.startswith("/"), source
            if tag in ("script", "link"):
                assert api.get(source or "").status_code == 200


def test_files_of_a_page_are_cached_until_they_change_and_sent_packed(api: Api) -> None:
    links = re.findall(r'="(/static/[^"]+)"', api.get("/", headers=HTML).text)
    assert links
    for link in links:
        packed = api.get(link, headers={"Accept-Encoding": "gzip"})
        assert "immutable" in packed.headers["cache-control"]
        assert packed.headers["content-encoding"] == "gzip"
        plain = api.get(link, headers={"Accept-Encoding": "identity"})
        assert plain.content == packed.content
        assert plain.headers["etag"] != packed.headers["etag"]
        name, _, _ = link.partition("?")
        for url in (name, f"{name}?v=earlier"):
            assert api.get(url).headers["cache-control"] == "no-cache"
        again = api.get(
            name, headers={"If-None-Match": plain.headers["etag"], "Accept-Encoding": ""}
        )
        assert again.status_code == 304


def test_any_answer_is_a_page_for_a_browser_and_json_for_a_program(api: Api) -> None:
    request_id = upload(api)
    for path in (f"/api/status/{request_id}", "/api/requests", "/healthz"):
        page, answer = api.get(path, headers=HTML), api.get(path)
        assert page.headers["content-type"].startswith("text/html")
        assert answer.headers["content-type"] == "application/json"
        assert (page.status_code, page.headers["vary"]) == (200, "Accept")
    assert str(request_id) in api.get(f"/api/status/{request_id}", headers=HTML).text


def _json_paths() -> list[str]:
    """Every GET of the API with a JSON answer, and its aliases."""
    return [
        path
        for endpoint in all_endpoints()
        if endpoint.method == "GET" and endpoint.described
        if any(answer.type is not None for answer in endpoint.answers.values())
        for path in endpoint.paths
        if path not in ("/", "/openapi.json")
    ]


@pytest.mark.parametrize("path", _json_paths())
def test_every_json_answer_is_a_page_for_a_browser(api: Api, path: str) -> None:
    request_id = upload(api)
    api.call("PUT", "/api/origins/shop.example", json={"connections": 1})
    url = path.format(request_id=request_id, host="shop.example")
    page = api.get(url, headers=HTML)
    assert page.headers["content-type"].startswith("text/html"), page.text
    assert page.status_code in (200, 503)  # /readyz has no broker here
    assert "<h1>" in page.text


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_every_refusal_is_a_page_for_a_browser(api: Api, method: str) -> None:
    unknown = "8243ff57-0000-4000-8000-000000000001"
    for endpoint in all_endpoints():
        if not endpoint.described or "{" not in endpoint.path:
            continue
        path = re.sub(r"\{\w+\}", unknown, endpoint.path)
        answer = api.call(method, path, headers=HTML)
        if answer.status_code >= 400:
            assert answer.headers["content-type"].startswith("text/html"), (path, answer.text)
            assert "What to do" in answer.text, path


def test_error_says_what_to_do(api: Api) -> None:
    page = api.get("/api/status/none", headers=HTML)
    assert page.status_code == 404
    assert "There is no request" in page.text
    assert "What to do" in page.text
    assert api.get("/nowhere", headers=HTML).status_code == 404


def test_text_of_a_customer_is_shown_as_text(api: Api) -> None:
    name = "<script>alert(1)</script>"
    request_id = upload(api)
    csv = f'Serial Number,Product Name,Input Image Urls\n1,"{name}",http://images.example/1.jpg\n'
    hostile = api.upload(csv, filename="<img src=x>.csv").json()["request_id"]
    for path in (f"/r/{hostile}", "/requests", "/", f"/api/details/{hostile}"):
        page = api.get(path, headers=HTML).text
        assert name not in page
        assert "<img src=x>" not in page
    assert api.get(f"/r/{request_id}", headers=HTML).status_code == 200


def test_request_page_shows_figures_images_and_failures(api: Api) -> None:
    request_id = upload(api, 2)
    settle(api.engine, claimed(api.engine, request_id, 1), good_image("x.jpg"))
    settle(api.engine, claimed(api.engine, request_id, 2), failed_image())
    page = api.get(f"/r/{request_id}", headers=HTML).text
    assert "Why 1 image failed" in page
    assert "/api/image/x.jpg" in page
    assert "Retry what failed" in page
    [group] = api.get(f"/api/failures/{request_id}").json()["failures"]
    assert group["images"] == 1
    assert group["remedy"] in unescape(page)
    code = group["code"]
    shown = api.get(f"/api/details/{request_id}?error_code={code}").json()["products"]
    assert [product["serial_number"] for product in shown] == [2]


def test_requests_are_found_by_name_and_id(api: Api) -> None:
    first = upload(api, filename="spring 100%_a.csv")
    second = upload(api, filename="autumn.csv")

    def found(q: str) -> list[str]:
        answer = api.get("/api/requests", params={"q": q})
        return [each["request_id"] for each in answer.json()["requests"]]

    assert found("SPRING") == found("100%_") == [str(first)]
    assert found(str(second)[:8]) == [str(second)]
    assert found("%") == [str(first)]
    assert found("winter") == []
    assert found("") == [str(second), str(first)]


def test_requests_are_found_by_the_code_of_a_failure(api: Api) -> None:
    running, ended, without = upload(api, 2), upload(api), upload(api)
    for request_id in (running, ended):
        settle(api.engine, claimed(api.engine, request_id, 1), failed_image())
    finish(api.engine, without, 1)

    def found(code: str) -> list[str]:
        answer = api.get("/api/requests", params={"error_code": code})
        return [each["request_id"] for each in answer.json()["requests"]]

    assert found("http_error") == [str(ended), str(running)]
    assert found("corrupt_image") == []
    assert api.get("/api/requests?error_code=none").status_code == 400
    page = api.get("/requests?error_code=http_error", headers=HTML).text
    assert f"/r/{ended}" in page
    assert f"/r/{without}" not in page


def test_button_that_cannot_be_done_says_why(api: Api) -> None:
    request_id = upload(api)
    finish(api.engine, request_id, 1)
    page = api.call("POST", f"/r/{request_id}/cancel", headers={"HX-Request": "true"})
    assert page.status_code == 200
    assert "only a running one can be cancelled" in page.text


@pytest.mark.parametrize("manifest", MANIFESTS, ids=["page", "tests"])
def test_third_party_files_are_those_of_the_manifest(manifest: Path) -> None:
    packages = json.loads(manifest.read_text())
    listed = set()
    for package in packages:
        assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"])
        assert package["licence"]
        for file in package["files"]:
            content = (manifest.parent / file["name"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file["sha256"], file["name"]
            listed.add(file["name"])
    present = {path.name for path in manifest.parent.iterdir()} - {manifest.name}
    assert present == listed, "a file that no manifest names"
