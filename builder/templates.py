"""Templates of pages and pictures, and how they are filled."""

from __future__ import annotations

import jinja2


def environment(package: str = "builder.pages", *, escape: bool = True) -> jinja2.Environment:
    """Return what fills templates: a name that it is not given is an error.

    Parameters
    ----------
    package : str
        Beside whose files the templates lie.
    escape : bool
        Whether for HTML and SVG. Names and votes come from files: each of them is escaped, wherever
        it stands.
    """
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, "."),
        autoescape=escape,  # noqa: S701 (Markdown has no need of it)
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
