"""The jobs that can be rung for, and their limits: data only."""

from __future__ import annotations

from datetime import timedelta

TAKE_IN = "take_in"  # act on stored deliveries
SYNC_WORKSPACE = "sync_workspace"  # list what changed, for every calendar that is due
SYNC_CALENDAR = "sync_calendar"  # check or fully list one calendar
SETTLE = "settle"  # bring decisions, wants and slots in line with stored events
RECONCILE = "reconcile"  # bring one slot's bot in line with the slot
RELAY = "relay"  # number, publish and hand out domain events
POST = "post"  # post what waits for one endpoint
FIND_CALENDARS = "find_calendars"  # follow calendars of the workspace that nobody told us of
SWEEP_BOTS = "sweep_bots"  # compare the provider's bots with ours
SYNC_DIRECTLY = "sync_directly"  # find the calendars that are due for a look of their own
REFRESH = "refresh"  # get a fresh access token for one connected account
KEEP_CHANNEL = "keep_channel"  # open, renew or stop one push channel

JOBS = (
    TAKE_IN,
    SYNC_WORKSPACE,
    SYNC_CALENDAR,
    SETTLE,
    RECONCILE,
    RELAY,
    POST,
    FIND_CALENDARS,
    SWEEP_BOTS,
    SYNC_DIRECTLY,
    REFRESH,
    KEEP_CHANNEL,
)

#: What each job rings on; the name of its queue.
QUEUE_BY_JOB = {
    TAKE_IN: "punctual.sync",
    SYNC_WORKSPACE: "punctual.sync",
    SYNC_CALENDAR: "punctual.sync",
    SETTLE: "punctual.sync",
    RECONCILE: "punctual.bots",
    RELAY: "punctual.out",
    POST: "punctual.out",
    FIND_CALENDARS: "punctual.sync",
    SWEEP_BOTS: "punctual.sync",
    SYNC_DIRECTLY: "punctual.sync",
    REFRESH: "punctual.sync",
    KEEP_CHANNEL: "punctual.sync",
}

#: A job that hangs is ended; its row is free again as soon as its lease is over, which is sooner.
SOFT_LIMIT = timedelta(seconds=45)
HARD_LIMIT = timedelta(seconds=60)
#: A long listing waits for a provider's budget page by page and renews its lease as it goes.
LISTING_SOFT_LIMIT = timedelta(minutes=20)
LISTING_HARD_LIMIT = timedelta(minutes=21)
