"""What a row of the tables of bad input is made of."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


class Effect(Enum):
    """What a request may leave in the database."""

    NOTHING = "no table looks different"
    STORED = "one delivery to be acted on; nothing else yet"
    ASKED = "one delivery, and its calendar asked once"
    UNKNOWN = "one delivery about a calendar we do not follow; nothing else"
    IGNORED = "one delivery nobody has to act on"
    QUARANTINED = "one delivery set aside, its body as it came"


@dataclass(frozen=True, slots=True)
class Row:
    """
    One kind of bad input, by its *name* in the table, and everything concrete that is of that kind.

    Every input is one or more requests, each on a connection of its own; the last one is judged, the
    ones before it are good. *answers* are the statuses that are right, 0 an end without any.
    *to* is the server it is sent to, *alert* the line its log has to hold, *pace_s* how far apart the
    bytes are sent. *elsewhere* lists tests that show more of the row, as `path::name`.
    """

    name: str
    about: str
    answers: frozenset[int] = frozenset()
    effect: Effect = Effect.NOTHING
    inputs: Mapping[str, Callable[[], bytes | list[bytes]]] = field(default_factory=dict)
    to: str = "usual"
    reason: str | None = None
    alert: str | None = None
    pace_s: float = 0.0
    elsewhere: tuple[str, ...] = ()


def exists(place: str) -> bool:
    """Say whether somebody wrote the test that `path::name` names."""
    path, _, name = place.partition("::")
    if not (ROOT / path).exists():
        return False
    tree = ast.parse((ROOT / path).read_text())
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body)
