"""
The operator's daily verbs: thin over the use-cases that the HTTP API serves, one module per noun.

They go to the database directly; beside a running `punctual up` they share its embedded one.
"""

from __future__ import annotations

import click

from worker.commands.calendars import calendars
from worker.commands.configuration import settings
from worker.commands.connections import connect_link, connections
from worker.commands.deliveries import deliveries
from worker.commands.demo import demo
from worker.commands.doctor import doctor
from worker.commands.drift import drift
from worker.commands.endpoints import endpoints
from worker.commands.events import events, record
from worker.commands.keys import keys
from worker.commands.revive import revive
from worker.commands.rules import rules
from worker.commands.why import why

__all__ = ["add_commands"]

VERBS = (
    calendars,
    connections,
    connect_link,
    events,
    record,
    deliveries,
    rules,
    endpoints,
    revive,
    keys,
    settings,
    why,
    drift,
    doctor,
    demo,
)


def add_commands(group: click.Group) -> None:
    """Add the verbs to the `punctual` command."""
    for verb in VERBS:
        group.add_command(verb)
