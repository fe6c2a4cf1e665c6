"""A benchmark's document as one HTML page that needs nothing else: no network, no script."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trilight.hw.support.terminal import shown
from trilight.sw.report.display import format_number

from .figures import BOUNDARIES, limits, origin, span, with_prefix
from .plots import NARROW, PLOTS, WIDE
from .terminal import headline

__all__ = ["render_page"]


def render_page(document: Mapping[str, Any]) -> str:
    """Return the page of a document of schema ``trilight/bench/v1``."""
    document = shown(document)
    environment = Environment(loader=PackageLoader("trilight.sw.bench", "."), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": format_number, "prefixed": with_prefix}
    return environment.get_template("page.html.jinja").render(
        document=document, first=document["systems"][0], headline=headline(document),
        plots={name: _both(draw, document) for name, draw in PLOTS.items()},
        boundaries=BOUNDARIES, limits=limits, origin=origin, span=span, with_prefix=with_prefix)


def _both(draw: Any, document: Mapping[str, Any]) -> dict[str, Markup] | None:
    """A plot for a screen and for a phone."""
    wide, narrow = draw(document, WIDE), draw(document, NARROW)
    if wide is None or narrow is None:
        return None
    return {"wide": Markup(wide), "narrow": Markup(narrow)}
