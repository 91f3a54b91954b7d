"""The root: what this is and where everything is, as JSON for programs and as a page for people."""

from html import escape
from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from halftone_api.services import services

VERSION = version("halftone-api")

ENDPOINTS = {
    "upload": ("POST", "/api/upload", "Upload a CSV of products; answers with a request ID"),
    "status": ("GET", "/api/status/{request_id}", "How a request is going"),
    "details": ("GET", "/api/details/{request_id}", "Its products and images, page by page"),
    "download": ("GET", "/api/download/{request_id}", "The output CSV, once it has ended"),
    "image": ("GET", "/api/image/{filename}", "An output image"),
    "cancel": ("POST", "/api/cancel/{request_id}", "End what has not ended yet"),
    "retry": ("POST", "/api/retry/{request_id}", "Try again what failed"),
    "webhooks": ("GET", "/api/webhooks/{request_id}", "How its webhook was delivered"),
    "replay": ("POST", "/api/webhooks/{request_id}/replay", "Send its webhook again"),
    "events": ("GET", "/api/events/{request_id}", "Its progress as server-sent events"),
    "requests": ("GET", "/api/requests", "Requests, newest first"),
    "health": ("GET", "/healthz", "Alive"),
    "ready": ("GET", "/readyz", "Database and broker reached"),
    "openapi": ("GET", "/openapi.json", "All of this for programs: OpenAPI 3.1"),
    "docs": ("GET", "/docs", "All of this for people"),
    "metrics": ("GET", "/metrics", "For Prometheus"),
}


async def home(request: Request) -> Response:
    """JSON, or HTML where that is what the caller accepts."""
    public_url = services(request).settings.public_url
    headers = {"Vary": "Accept"}
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(_home_page(public_url), headers=headers)
    links = {name: public_url + path for name, (_, path, _) in ENDPOINTS.items()}
    return JSONResponse({"name": "halftone", "version": VERSION, "links": links}, headers=headers)


def _home_page(public_url: str) -> str:
    rows = "\n".join(
        f"<tr><td>{method}</td><td><code>{escape(path)}</code></td><td>{escape(what)}</td></tr>"
        for method, path, what in ENDPOINTS.values()
    )
    return page(
        f"halftone {VERSION}",
        f"""
<p>Upload a CSV of products with image URLs; get every image back smaller.</p>
<pre>curl -F file=@products.csv {escape(public_url)}/api/upload</pre>
<p><a href="/docs">The API in detail</a></p>
<table>
{rows}
</table>
""",
    )


def page(title: str, content: str) -> str:
    """A page in the house's style, which loads nothing."""
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; color: #222; }}
  code, pre {{ font-family: ui-monospace, monospace; background: #f4f4f2; padding: .1rem .3rem; border-radius: 4px; }}
  pre {{ padding: .8rem 1rem; overflow-x: auto; }}
  h2 {{ margin-top: 2.5rem; font-size: 1.1rem; }}
  table {{ border-collapse: collapse; width: 100%; margin-bottom: 1rem; }}
  td {{ padding: .35rem .6rem .35rem 0; border-top: 1px solid #ddd; vertical-align: top; }}
</style>
<h1>{escape(title)}</h1>
{content}
</html>
"""
