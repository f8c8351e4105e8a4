"""Templates of pages and pictures, and how they are filled."""

from __future__ import annotations

import jinja2


def environment(*packages: str, escape: bool = True) -> jinja2.Environment:
    """Return what fills templates: a name that it is not given is an error.

    Parameters
    ----------
    *packages : str
        Beside whose files the templates lie, the first that has one; by default `builder.pages`.
    escape : bool
        Whether for HTML and SVG. Names and votes come from files: each of them is escaped, wherever
        it stands.
    """
    loaders = [jinja2.PackageLoader(package, ".") for package in packages or ["builder.pages"]]
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=escape,  # noqa: S701 (Markdown has no need of it)
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
