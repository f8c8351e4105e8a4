"""From settings to options: a command takes a dataclass, its user gives the fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from functools import wraps
from inspect import Parameter, Signature
from typing import Any, Concatenate, TypeVar, get_type_hints

Settings = TypeVar("Settings")


def options_of(
    settings: type[Settings],
) -> Callable[[Callable[Concatenate[Settings, ...], None]], Callable[..., None]]:
    """Make each field of a dataclass an option of the command that takes the dataclass first.

    Parameters
    ----------
    settings : type
        Its fields tell Typer all that it asks: ``Annotated[type, typer.Option(...)]``.

    Returns
    -------
    callable
        A decorator of commands. What else a command takes, by keyword, are options as well.
    """
    hints = get_type_hints(settings, include_extras=True)
    chosen = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])
        for name, default in _defaults(settings).items()
    ]

    def decorate(command: Callable[Concatenate[Settings, ...], None]) -> Callable[..., None]:
        others = [*inspect.signature(command, eval_str=True).parameters.values()][1:]

        @wraps(command)
        def run(**given: Any) -> None:
            own = {parameter.name: given.pop(parameter.name) for parameter in chosen}
            command(settings(**own), **given)

        # Both are what Typer reads.
        signature = Signature([*chosen, *others])
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {name: p.annotation for name, p in signature.parameters.items()}
        return run

    return decorate


def _defaults(settings: type[Any]) -> dict[str, Any]:
    """Return the fields' defaults, the fields that have none first."""
    defaults = {field.name: _default(field) for field in fields(settings)}
    return dict(sorted(defaults.items(), key=lambda item: item[1] is not Parameter.empty))


def _default(field: Field[Any]) -> Any:
    if field.default is MISSING:
        return Parameter.empty
    # Typer parses defaults too: it needs the text that a parser makes an object of.
    return field.default if isinstance(field.default, str | int | None) else str(field.default)
