"""Fields of Recall's objects that calendars, events and bots share; nothing here trusts its type."""

from __future__ import annotations

import re
from collections.abc import Mapping

from worker.providers.payloads.fields import instant_at

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,199}", re.ASCII)


def id_at(found: Mapping[str, object], name: str = "id") -> str | None:
    """Return the id under *name*; None when it could not be one segment of a path."""
    value = found.get(name)
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def objects_at(found: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    """Return the objects in the list under *name*, leaving out what is none."""
    value = found.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def newest_last(changes: list[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """Sort by `created_at`; the order in which Recall lists changes is not documented."""
    dated = [(instant_at(change, "created_at"), change) for change in changes]
    undated = [change for created_at, change in dated if created_at is None]
    in_order = sorted(
        ((created_at, position) for position, (created_at, _) in enumerate(dated) if created_at),
        key=lambda pair: pair,
    )
    return [*undated, *(changes[position] for _, position in in_order)]
