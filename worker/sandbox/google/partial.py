"""
Partial responses: the `fields` parameter.

Source: developers.google.com/workspace/calendar/api/guides/performance (partial response, syntax).
"""

from __future__ import annotations

import re
from typing import Any

from worker.sandbox.google.refusals import Refusal

TOKENS = re.compile(r"[A-Za-z0-9_\-*.@]+|[(),/]")
Selection = dict[str, "Selection"]  # an empty one means all of it


def selected(body: Any, fields: str) -> Any:  # noqa: ANN401  # any JSON
    """
    Return what *fields* selects of a body.

    Raises:
        Refusal: no selection.
    """
    tokens = TOKENS.findall(fields)
    if "".join(tokens) != fields.replace(" ", ""):
        raise _invalid(fields)
    selection, rest = _read(tokens, fields)
    if rest:
        raise _invalid(fields)
    return _cut(body, selection)


def _read(tokens: list[str], fields: str) -> tuple[Selection, list[str]]:
    """Read names separated by commas up to a closing bracket or the end."""
    selection: Selection = {}
    while True:
        if not tokens or tokens[0] in "(),/":
            raise _invalid(fields)
        path = [tokens[0]]
        tokens = tokens[1:]
        while tokens[:1] == ["/"]:
            if len(tokens) < 2:
                raise _invalid(fields)
            path.append(tokens[1])
            tokens = tokens[2:]
        inner: Selection = {}
        if tokens[:1] == ["("]:
            inner, tokens = _read(tokens[1:], fields)
            if tokens[:1] != [")"]:
                raise _invalid(fields)
            tokens = tokens[1:]
        _add(selection, path, inner)
        if tokens[:1] != [","]:
            return selection, tokens
        tokens = tokens[1:]


def _add(selection: Selection, path: list[str], inner: Selection) -> None:
    here = selection
    for name in path[:-1]:
        here = here.setdefault(name, {})
    here[path[-1]] = here.get(path[-1], {}) | inner


def _cut(value: Any, selection: Selection) -> Any:  # noqa: ANN401  # any JSON
    if not selection or "*" in selection:
        return value
    if isinstance(value, list):
        return [_cut(each, selection) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: _cut(part, selection[name]) for name, part in value.items() if name in selection}


def _invalid(fields: str) -> Refusal:
    return Refusal(
        "invalidParameter", f"Invalid field selection {fields}", status=400, location="fields"
    )
