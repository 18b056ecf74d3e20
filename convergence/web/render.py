"""Pages from templates: what every page has in common, and the headers that guard it."""

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from convergence import __version__
from convergence.model.run import Status
from convergence.web import charts, words
from convergence.web.assets import asset
from convergence.web.visitor import FORM_TOKEN, Visitor

THEMES = frozenset({"light", "dark"})
FIRST = "/"
"""The page that one comes to first."""
NAVIGATION = (
    ("overview", "Overview", "/"),
    ("costs", "Costs", "/costs"),
    ("quality", "Quality", "/quality"),
    ("runs", "Runs", "/runs"),
)
# The charts set attributes of style; nothing else may.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    # With no-referrer, browsers would not say of a form which site it comes from.
    "Referrer-Policy": "same-origin",
    "Vary": "Cookie",
}

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "html"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= words.FILTERS
_templates.globals |= {
    "asset": lambda name: asset(name).path,
    "to": words.to,
    "points": charts.points,
    "version": __version__,
    "first": FIRST,
    "form_token_name": FORM_TOKEN,
    "Status": Status,
}


def page(
    request: Request,
    template: str,
    *,
    visitor: Visitor | None = None,
    status_code: int = 200,
    **context: Any,  # noqa: ANN401 - what the template shows
) -> HTMLResponse:
    """A whole page. `visitor` None: for somebody who is not signed in."""
    shown = {
        "visitor": visitor,
        "tenant": visitor.tenant if visitor else None,
        "choices": visitor.choices if visitor else (),
        "chosen": visitor.chosen if visitor else None,
        "navigation": NAVIGATION if visitor else (),
        "here": "",
        "theme": _theme(request),
        "request_id": request.scope["cdp.request_id"],
        **context,
    }
    text = _templates.get_template(template).render(shown)
    return HTMLResponse(text, status_code=status_code, headers=HEADERS)


def fragment(template: str, macro: str, *arguments: object) -> str:
    """What one macro of a template writes."""
    return str(getattr(_templates.get_template(template).module, macro)(*arguments))


def _theme(request: Request) -> str:
    """The visitor's choice; without one it is the system's."""
    theme = request.cookies.get("cdp_theme", "")
    return theme if theme in THEMES else ""
