"""The demo page as a single document: style and script are inlined, and the policy allows no other.

Separate files would be requests of their own, which need the token in their URL to reach the same host. The document
would then have to contain the token.
"""

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files


@dataclass(frozen=True)
class Page:
    """The document, and its ``Content-Security-Policy`` (CSP level 3: inline code allowed by its hash)."""

    body: bytes
    policy: str


def load_page() -> Page:
    """Read the page from the package data and compute its policy."""
    folder = files("balancer.demo")
    html, style, script = (folder.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    html = html.replace('<link rel="stylesheet" href="page.css">', f"<style>{style}</style>")
    html = html.replace('<script src="page.js"></script>', f"<script>{script}</script>")
    policy = (
        f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html.encode(), policy)


def _source(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
