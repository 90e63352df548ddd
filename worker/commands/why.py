"""`punctual why`: the trail of one calendar event, read aloud."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table
from rich.text import Text

from worker.commands.session import open_runtime, unknown
from worker.commands.showing import as_json, make_console, plain, print_json

STYLES = {
    "delivery": "cyan",
    "sync": "blue",
    "change": "blue",
    "rule": "magenta",
    "slot": "magenta",
    "call": "yellow",
    "answer": "yellow",
    "observed": "yellow",
    "emitted": "green",
}


@click.command()
@click.argument("event_id")
@as_json
def why(*, event_id: str, is_json: bool) -> None:
    """
    Tell in plain words why an event has a bot or has none.

    EVENT_ID is our id or the provider's. The API tells the same under /v1/events/{id}/why.
    """
    from worker.why import explain, find_event

    with open_runtime() as rt, rt.db.begin() as tx:
        found = find_event(tx, event_id)
        trail = None if found is None else explain(tx, rt.vault, found, now=rt.now())
    if trail is None:
        raise unknown("event", event_id)
    if is_json:
        print_json(trail)
    else:
        _tell(trail)


def _tell(trail: dict[str, Any]) -> None:
    console = make_console()
    for line in _summary(trail):
        console.print(line)
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    day = ""
    for step in trail["steps"]:
        if step["at"][:10] != day:
            day = step["at"][:10]
            table.add_row(Text(day, style="bold"), "", "")
        table.add_row(
            Text(f"{step['at'][11:23].rstrip('Z'):<12}", style="dim"),
            Text(step["kind"], style=STYLES.get(step["kind"], "")),
            Text(plain(step["text"])),
        )
    console.print()
    console.print(table)
    if trail["truncated"]:
        console.print(Text("Older steps were left out.", style="dim"))


def _summary(trail: dict[str, Any]) -> list[Text]:
    event, decision, slot = trail["event"], trail["decision"], trail["slot"]
    verdict = "Recorded" if decision["wanted"] else "Not recorded"
    whose = {"calendar": "its calendar's own rules", "installation": "the installation's rules"}
    lines = [
        Text(f"Event {event['id']}, {event['start']} to {event['end']}", style="bold"),
        Text(
            f"{verdict}: {plain(decision['explanation'])} ({decision['reason']}; {whose[decision['rules']]})"
        ),
    ]
    if decision["override"] is not None:
        word = "record" if decision["override"]["record"] else "do not record"
        lines.append(Text(f"Somebody said: {word} this {decision['override']['scope']}."))
    if slot is not None:
        bot = f", at the provider {slot['external_id']}" if slot["external_id"] else ""
        lines.append(Text(f"Bot {slot['id']}: {slot['state']}{bot}, joins {slot['join_at']}"))
        if slot["at_risk"]:
            lines.append(
                Text("The bot is at risk: nothing confirms that it will join.", style="bold red")
            )
        by = {"ical_uid": "same iCalendar UID and start", "link": "same link and start"}
        lines += [
            Text(
                f"It shares the bot with event {other['event_id']} ({other['source']}): {by[other['same']]}."
            )
            for other in slot["shared_with"]
        ]
    else:
        lines.append(Text("It has no bot."))
    status = trail["calendar"]["status"]
    if status != "connected":
        because = trail["calendar"]["status_reason"]
        lines.append(
            Text(f"Its calendar is {status}{': ' + plain(because) if because else ''}.", style="yellow")
        )
    lines += [Text(plain(words), style="yellow") for words in trail["waiting"]]
    return lines
