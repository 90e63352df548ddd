"""Recall.ai behind our ports: its calendars as a source of events, its bots in two modes."""

from worker.providers.recall.bots import bot_state
from worker.providers.recall.client import RecallClient
from worker.providers.recall.either import EitherBots
from worker.providers.recall.managed import ManagedBots
from worker.providers.recall.self_managed import SelfManagedBots
from worker.providers.recall.source import RecallSource

__all__ = [
    "EitherBots",
    "ManagedBots",
    "RecallClient",
    "RecallSource",
    "SelfManagedBots",
    "bot_state",
]
