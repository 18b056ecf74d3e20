"""Style sheets and scripts, under names that change with their content: kept by browsers for good.

What belongs together is sent together, so that a first view takes few requests.
"""

import gzip
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from convergence.web.visitor import Anybody

router = APIRouter(include_in_schema=False)

STATIC = Path(__file__).parent / "static"
BUNDLES = {
    "app.css": ("app.css",),
    "app.js": ("vendor/htmx.min.js", "vendor/hx-sse.min.js", "app.js"),
    "charts.js": ("vendor/echarts.common.min.js", "charts.js"),
    "logo.svg": ("logo.svg",),
}
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """`path` is where the page finds it."""

    path: str
    media_type: str
    content: bytes
    compressed: bytes


@router.get("/static/{name}")
def static(_state: Anybody, request: Request, name: str) -> Response:
    found = _by_path().get(f"/static/{name}")
    if found is None:
        raise HTTPException(404)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        headers = HEADERS | {"Content-Encoding": "gzip"}
        return Response(found.compressed, media_type=found.media_type, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=HEADERS)


@cache
def asset(name: str) -> Asset:
    """The bundle of this name. Raises KeyError."""
    content = b"\n".join((STATIC / part).read_bytes() for part in BUNDLES[name])
    stem, suffix = Path(name).stem, Path(name).suffix
    return Asset(
        path=f"/static/{stem}.{sha256(content).hexdigest()[:12]}{suffix}",
        media_type=MEDIA_TYPES[suffix],
        content=content,
        compressed=gzip.compress(content, 9, mtime=0),
    )


@cache
def _by_path() -> dict[str, Asset]:
    return {found.path: found for found in map(asset, BUNDLES)}
