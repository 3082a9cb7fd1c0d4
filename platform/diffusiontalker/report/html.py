"""A page as one HTML file that holds all it needs and makes no request to the network."""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from diffusiontalker import storage
from diffusiontalker.report.figures import PALETTE


def fill(
    template: str,
    figures: Mapping[str, go.Figure],
    filters: Mapping[str, Callable[..., Any]],
    palette: Mapping[str, tuple[str, str]] = PALETTE,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    package: str = __package__,
    **content: Any,
) -> str:
    """The HTML of a template that extends ``base.html.j2``, with all its assets inlined.

    Args:
        template: its path in ``package``.
        figures: plots by the name of their place on the page.
        filters: jinja filters of the template.
        palette: colours on light and on dark ground; styles know them as ``--name``.
        styles: paths in this package of more than ``style.css``, which every page has; ``scripts``
            likewise, of more than ``page.js``.
        package: the package of the template.
        content: the other variables of the template.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    source = (resources.files(package) / template).read_text(encoding="utf-8")
    return environment.from_string(source).render(
        style=Markup("".join(asset(name) for name in ("style.css", *styles))),
        scripts=[Markup(asset(name)) for name in ("page.js", *scripts)],
        plotly=Markup(get_plotlyjs()),
        palette=palette,
        figures={name: figure_json(figure) for name, figure in figures.items()},
        **content,
    )


def write(path: str | Path, page: str) -> None:
    """Write the HTML of a page. Raises UserError: the folder is missing or not writable."""
    # A name that is no UTF-8 holds lone surrogates, which HTML cannot represent.
    storage.write_bytes(storage.location(path), page.encode("utf-8", "replace"))


def asset(name: str) -> str:
    """A template, style or script by its path in this package."""
    return (resources.files("diffusiontalker.report") / name).read_text(encoding="utf-8")


def figure_json(figure: go.Figure) -> dict[str, Any]:
    """A figure as plain values, for ``Plotly.react`` in the page's script."""
    # Not orjson, plotly's choice where it is installed: it refuses lone surrogates, which a name
    # from a file system may hold.
    plain: dict[str, Any] = json.loads(figure.to_json(engine="json"))
    return plain
