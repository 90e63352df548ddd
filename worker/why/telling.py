"""Put what happened into sentences that a support person understands, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping

from worker.views import moment
from worker.why.reading import Around

#: What happens in one transaction has one time; within it, this is the order of cause and effect.
_ORDER = ("delivery", "sync", "change", "rule", "slot", "call", "answer", "observed", "emitted")
#: Whose bots they are, whoever holds the calendar.
BOT_PROVIDER = "Recall"
_NEWS = {
    "calendar.sync_events": "that events of the calendar changed",
    "calendar.update": "that the calendar itself changed",
    "google.exists": "that events of the calendar changed",
    "google.not_exists": "that something of the calendar is gone",
    "microsoft.changed": "that events of the calendar changed",
    "microsoft.missed": "that it could not tell us of every change",
    "microsoft.reauthorizationRequired": "that its channel to us is about to end",
    "microsoft.subscriptionRemoved": "that its channel to us has ended",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the trail; *nth* keeps the order of steps at the same instant."""

    at: datetime
    kind: str
    text: str
    facts: dict[str, Any] = field(default_factory=dict)
    nth: int = 0

    def view(self) -> dict[str, Any]:
        facts = {name: value for name, value in self.facts.items() if value is not None}
        return {"at": moment(self.at), "kind": self.kind, "text": self.text, "facts": facts}


def steps_of(around: Around) -> list[dict[str, Any]]:
    """Tell every step, in order of time."""
    steps = [*_deliveries(around), *_syncs(around), *_trail(around), *_emitted(around)]
    steps.sort(key=lambda step: (step.at, _ORDER.index(step.kind), step.nth))
    return [step.view() for step in steps]


def _deliveries(around: Around) -> Iterator[Step]:
    for row in around.deliveries:
        news = _NEWS.get(row["type"] or "", f"of {row['type']}")
        outcome = "" if row["state"] in {"done", "stored"} else f"; it was {row['state']}"
        because = f" ({row['reason']})" if outcome and row["reason"] else ""
        yield Step(
            row["received_at"],
            "delivery",
            f"{around.provider} notified us at {clock(row['received_at'])} {news}"
            f" (delivery {row['message_id']}){outcome}{because}.",
            {
                "id": str(row["id"]),
                "message_id": row["message_id"],
                "type": row["type"],
                "state": row["state"],
                "reason": row["reason"],
                "run_id": _text(row["run_id"]),
            },
        )


def _syncs(around: Around) -> Iterator[Step]:
    notified = {row["run_id"] for row in around.deliveries}
    for row in around.runs:
        if row["scope"] == "workspace":
            what = f"We asked {around.provider} what had changed in all calendars"
        elif row["source"] != "recall":
            what = f"We read the calendar from {around.provider}"
        elif row["pages"]:
            what = f"We read the whole calendar from {around.provider}"
        else:
            what = f"We asked {around.provider} how the calendar stands"
        size = f": {_count(row['pages'], 'page')}, {_count(row['changes'], 'change')}"
        unasked = "" if row["id"] in notified else ", without a notification"
        end = "" if row["finished_at"] else "; this look did not finish"
        error = f" ({row['error']})" if row["error"] else ""
        yield Step(
            row["started_at"],
            "sync",
            f"{what}{unasked}{size}{end}{error}.",
            {
                "run_id": str(row["id"]),
                "scope": row["scope"],
                "pages": row["pages"],
                "changes": row["changes"],
                "finished_at": moment(row["finished_at"]),
            },
        )


def _trail(around: Around) -> Iterator[Step]:
    fields_by_at = {
        row["created_at"]: row["data"].get("changed", [])
        for row in around.emitted
        if row["subject"].startswith("calendar_event/")
    }
    decided: tuple[object, ...] | None = None
    slot_id: UUID | None = None
    link_of: str | None = None
    for row in around.trail:
        facts = row["facts"]
        match row["step"]:
            case "synced":
                yield _change(row, fields_by_at.get(row["at"], []))
            case "decided":
                said = (facts.get("wanted"), facts.get("reason"), facts.get("explanation"))
                yield _rule(row, is_repeat=said == decided)
                decided = said
                if row["slot_id"] != slot_id:
                    yield _placing(row, before=slot_id)
                    slot_id = row["slot_id"]
                if facts.get("link_of") != link_of:
                    link_of = facts.get("link_of")
                    yield _speaking(row, link_of)
            case "called":
                yield Step(
                    row["at"],
                    "call",
                    f"We asked {BOT_PROVIDER} to {_words(facts.get('operation'))}"
                    f" (key {facts.get('key')}).",
                    _about(row),
                    row["id"],
                )
            case "answered":
                bot = f", bot {facts['bot_id']}" if facts.get("bot_id") else ""
                yield Step(
                    row["at"],
                    "answer",
                    f"{BOT_PROVIDER} answered: {facts.get('answer')}{bot}.",
                    _about(row),
                    row["id"],
                )
            case "observed":
                yield Step(row["at"], "observed", _seen(facts), _about(row), row["id"])
            case other:
                yield Step(row["at"], "observed", f"{other}: {facts}.", _about(row), row["id"])


def _change(row: RowMapping, fields: Sequence[str]) -> Step:
    is_new = row["facts"].get("news") == "created"
    which = f": {', '.join(fields)}" if fields else ""
    text = "The event was new to us." if is_new else f"The event had changed{which}."
    return Step(row["at"], "change", text, {**_about(row), "changed": list(fields) or None}, row["id"])


def _rule(row: RowMapping, *, is_repeat: bool) -> Step:
    facts = row["facts"]
    verdict = "recorded" if facts.get("wanted") else "not recorded"
    again = "still " if is_repeat else ""
    because = _lowered(str(facts.get("explanation") or facts.get("reason")))
    return Step(row["at"], "rule", f"Rule: {again}{verdict}, because {because}", _about(row), row["id"])


def _placing(row: RowMapping, *, before: UUID | None) -> Step:
    if row["slot_id"] is None:
        text = f"The event stopped calling for bot {before}."
    elif before is None:
        text = f"The event calls for bot {row['slot_id']}."
    else:
        text = f"The event calls for bot {row['slot_id']} now, no longer for {before}."
    facts = {"slot_id": _text(row["slot_id"]), "before": _text(before)}
    return Step(row["at"], "slot", text, facts, row["id"])


def _speaking(row: RowMapping, link_of: str | None) -> Step:
    if link_of is None:
        text = "The event's own link counts again."
    else:
        text = (
            f"The event is a copy of the meeting of event {link_of}: iCalendar UID, start and organiser"
            " agree. Its link is another one, and that event's counts."
        )
    return Step(row["at"], "slot", text, {"link_of": link_of}, row["id"])


def _seen(facts: Mapping[str, Any]) -> str:
    if "code" in facts:
        return f"{BOT_PROVIDER} said the bot is {facts['code']}, so it is {facts.get('state')}."
    if facts.get("bot_id"):
        return f"We looked at {BOT_PROVIDER}: bot {facts['bot_id']} is {facts.get('state')}."
    return f"We looked at {BOT_PROVIDER}: there is no bot."


def _emitted(around: Around) -> Iterator[Step]:
    for row in around.emitted:
        changed = row["data"].get("changed")
        which = f" ({', '.join(changed)} changed)" if changed else ""
        yield Step(
            row["created_at"],
            "emitted",
            f"Told subscribers: {row['type']} #{row['sequence']}{which}.",
            {
                "id": str(row["id"]),
                "type": row["type"],
                "subject": row["subject"],
                "sequence": row["sequence"],
                "position": row["position"],
                "published_at": moment(row["published_at"]),
            },
            row["sequence"],
        )


def _about(row: RowMapping) -> dict[str, Any]:
    return {**row["facts"], "slot_id": _text(row["slot_id"]), "run_id": _text(row["run_id"])}


def _words(operation: object) -> str:
    words = {
        "attach": "attach a bot to the event",
        "detach": "take the bot off the event",
        "create": "create a bot",
        "change": "change the bot",
        "delete": "delete the bot",
        "leave": "have the bot leave the call",
    }
    return words.get(str(operation), str(operation))


def _lowered(sentence: str) -> str:
    return f"{sentence[:1].lower()}{sentence[1:].rstrip('.')}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def clock(instant: datetime) -> str:
    """Write the time of day."""
    return f"{instant:%H:%M:%S}"


def _text(value: object) -> str | None:
    return None if value is None else str(value)
