"""Small pieces of HTML; every text that comes from outside passes through `escape`."""

from __future__ import annotations

import base64
from html import escape


def section(title: str, words: str, body: str) -> str:
    """Return a section with a heading, a sentence under it and a body."""
    return f'<section id="{anchor(title)}"><h2>{escape(title)}</h2><p>{escape(words)}</p>{body}</section>'


def anchor(title: str) -> str:
    """Return the name by which a section is linked."""
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())


def png(content: bytes, alt: str, more: str = "") -> str:
    """Return an image whose bytes lie in the page itself."""
    data = base64.b64encode(content).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}"{more}>'


def card(title: str, small: str, body: str, *, kind: str = "card") -> str:
    """Return a figure with a caption."""
    return (
        f'<figure class="{kind}"><figcaption>{escape(title)}<small>{escape(small)}</small></figcaption>{body}</figure>'
    )


def grid(*parts: str) -> str:
    """Lay parts side by side as far as there is room; nothing where all are empty."""
    body = "".join(parts)
    return f'<div class="grid">{body}</div>' if body else ""
