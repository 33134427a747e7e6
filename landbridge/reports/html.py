"""A report as one HTML file that needs nothing else: no script, no network, pictures drawn into it."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from landbridge.core.errors import MissingExtraError
from landbridge.reports import plots
from landbridge.reports.document import Block, Code, Document, Fold, Gallery, Heading
from landbridge.reports.looks import DARK, LIGHT
from landbridge.reports.pictures import Picture, svg
from landbridge.reports.tables import Table, as_html, escaped
from landbridge.reports.words import Strong

TEMPLATE = "templates/report.html"


def page(document: Document) -> str:
    """The document as HTML; MissingExtraError without the extra ``report``."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise MissingExtraError("An HTML report needs jinja2: pip install 'landbridge[report]'.") from None
    plots.need_altair()
    template = files("landbridge.reports").joinpath(TEMPLATE).read_text("utf-8")
    # StrictUndefined: a misspelt name in the template is an error and not an empty place
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(document=document, block=_block)


def _block(block: Block) -> str:
    if isinstance(block, Table):
        return as_html(block)
    if isinstance(block, Gallery):
        shown = "".join(map(_figure, block.pictures))
        note = f'<p class="note">{escaped(block.note)}</p>' if block.note else ""
        return f'<div class="gallery">{shown}</div>{note}'
    if isinstance(block, Fold):
        inner = "".join(map(_block, block.blocks))
        return f"<details><summary>{escaped(block.title)}</summary>{inner}</details>"
    if isinstance(block, Code):
        return f'<pre tabindex="0">{escape(block.text)}</pre>'
    if isinstance(block, Heading):
        return f"<h3>{escaped(block.text)}</h3>"
    return f"<p>{''.join(map(_words, block))}</p>"


def _words(words: str) -> str:
    return f"<strong>{escaped(words)}</strong>" if isinstance(words, Strong) else escaped(words)


def _figure(picture: Picture) -> str:
    """Both looks of a picture; the style sheet shows the one that suits the page."""
    drawn = "".join(
        svg(picture, look).replace(
            "<svg ", f'<svg class="{kind}" role="img" aria-label="{escaped(picture.alt)}" ', 1
        )
        for kind, look in (("light", LIGHT), ("dark", DARK))
    )
    return f"<figure><figcaption>{escaped(picture.title)}</figcaption>{drawn}</figure>"
