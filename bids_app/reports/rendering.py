"""Pages from templates: one file each, that asks no network, and in which data stay text.

Everything that a template is given is escaped; data for a page's script are JSON in which nothing can end the element
that holds them. What would slip through nevertheless is not run: the page's own policy names the hash of its script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_KEY = re.compile(rb'<meta name="bids_app-content" content="([0-9a-f]{64})">')


def render(template: str, script: str, key: str, data: Mapping[str, Any] | None = None, **words: Any) -> bytes:
    """A page.

    Parameters
    ----------
    template, script
        Names of files in `data/reports`; a page may have no script ("").
    key
        Hash of everything that the page is made from; `key_of` reads it again.
    data
        What the script is given.
    """
    from markupsafe import Markup

    code = _asset(script) if script else ""
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    page = _environment().get_template(template)
    text = page.render(
        key=key,
        policy=policy,
        style=Markup(_asset("style.css")),  # ours
        script=Markup(code),
        data=embedded(data or {}),
        **words,
    )
    return (_without_blank_lines(text) + "\n").encode()


def embedded(data: Mapping[str, Any]) -> Markup:
    """JSON that can stand in a script element: no character of it has a meaning to HTML or to an old script parser."""
    from markupsafe import Markup

    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def key_of(page: bytes) -> str | None:
    """What a page was made from, told by its head; None where it is none of ours."""
    found = _KEY.search(page)
    return found[1].decode("ascii") if found else None


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("bids_app", "data/reports")
    environment = Environment(
        loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number_text
    return environment


@cache
def _asset(name: str) -> str:
    return _without_blank_lines((files("bids_app") / "data" / "reports" / name).read_text(encoding="utf-8"))


def _without_blank_lines(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.split("\n") if line.strip())


def number_text(value: float | None) -> str:
    """A number for a person: four digits, no exponent where it can be helped."""
    if value is None:
        return "n/a"
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.3g}".replace("-", "−")
    digits = f"{value:.4g}"
    plain = f"{float(digits):,.10f}".rstrip("0").rstrip(".") if "e" in digits or abs(value) >= 1000 else digits
    return plain.replace("-", "−")
