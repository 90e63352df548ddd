"""
The doctor's checks: each looks at one thing that can be wrong and returns what it found.

A check never raises for what it came to look for, and changes nothing. `punctual doctor` runs them.
"""

from worker.checkup.accounts import (
    check_clients,
    check_connections,
    check_public_url,
    list_apps,
)
from worker.checkup.channels import check_channels
from worker.checkup.finding import Finding, Level
from worker.checkup.ground import (
    check_api_keys,
    check_clock,
    check_database,
    check_encryption,
    check_heartbeat,
    check_schema,
    check_space,
)
from worker.checkup.outside import (
    PUBLIC_SECRETS,
    check_broker,
    check_provider,
    check_silence,
    check_webhook_secret,
)
from worker.checkup.state import (
    check_bots,
    check_calendars,
    check_due,
    check_endpoints,
    check_outbox,
    check_parked,
    check_quarantine,
)

__all__ = [
    "PUBLIC_SECRETS",
    "Finding",
    "Level",
    "check_api_keys",
    "check_bots",
    "check_broker",
    "check_calendars",
    "check_channels",
    "check_clients",
    "check_clock",
    "check_connections",
    "check_database",
    "check_due",
    "check_encryption",
    "check_endpoints",
    "check_heartbeat",
    "check_outbox",
    "check_parked",
    "check_provider",
    "check_public_url",
    "check_quarantine",
    "check_schema",
    "check_silence",
    "check_space",
    "check_webhook_secret",
    "list_apps",
]
