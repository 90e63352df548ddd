"""
Faults of the provider's API: it fails, throttles, goes away, loses answers, forgets keys, loses bots.

The emulator does them on order; its own history judges.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from email.utils import formatdate
from itertools import pairwise
from typing import Any

from tests.faults.fault import Fault, Figure, Ground, Result
from tests.faults.provider_scenes import (
    calls,
    execute,
    faulted,
    last_record,
    meetings_at,
    ordered,
    put_in,
    rows,
    sum_of,
)
from tests.faults.stage import Stage, standing
from tests.system.rig import answer, until

BOTH_MODES = ("recall_managed", "recall_self_managed")
SCHEDULE = r"/bot/|/api/v1/bot/"
LIST = r"calendar-events/\?"


def fail_half_of_all_calls(ground: Ground) -> Result:
    """Answer every second call with a 5xx, half of those after the deed, while changes go on."""
    with standing(ground, bots=BOTH_MODES[ground.seed % 2]) as stage:
        stage.edit(6)
        stage.come_to_rest()
        # Four independent orders that together strike every second call.
        orders = [
            {"status": status, "probability": 0.16, "execute": status in {500, 504}}
            for status in (500, 502, 503, 504)
        ]
        before = sum_of(stage.rig.requests())
        with ordered(stage, *orders):
            with stage.editing(pause_s=0.15) as edits:
                time.sleep(8 if ground.short else 45)
            failed, called = faulted(stage), sum_of(stage.rig.requests()) - before
        stage.demand(failed > max(5, called / 4), f"only {failed} of {called} calls failed")
        return stage.finish(90, edits=edits[0], calls=called, failed=failed)


def throttle(ground: Ground) -> Result:
    """Answer 429 with every form of Retry-After, one after the other, to listings and to bots."""
    forms = {"1": 1.0, "garbage": 10.0, "-5": 1.0, "4": 4.0, "date": 5.0}
    chosen = list(forms)[:2] if ground.short else list(forms)
    figures: dict[str, Figure] = {}
    with standing(ground) as stage:
        stage.edit(10)
        stage.come_to_rest()
        for form in chosen:
            # A date that was asked for once is over when it is heard again.
            times = 1 if form == "date" else 2
            for operation, path in (
                ("calendar_events_list", LIST),
                ("calendar_events_bot_create", "/bot/"),
            ):
                text = http_date_in(forms[form]) if form == "date" else form
                seen = last_record(stage)
                order = {"status": 429, "path": path, "retry_after": text, "times": times}
                answer(stage.rig.emulator.post("/faults", json=order))
                stage.edit(5)
                stage.come_to_rest(90)
                answer(stage.rig.emulator.delete("/faults"))
                early = too_early(stage, operation, after=seen, wait_s=forms[form])
                stage.demand(not early, f"called {early} s after a 429 that asked for {text}")
        for text, seconds in (("600", 600), ("86400", 900)):
            waits = hold_budget(stage, text)
            figures[f"blocked_by_{text}_s"] = round(waits["recall.list"])
            stage.demand(
                abs(waits["recall.list"] - seconds) < 15, f"Retry-After {text} holds us for {waits}"
            )
            stage.demand(set(waits) == {"recall.list"}, f"a 429 on one budget holds up others: {waits}")
        return stage.finish(90, forms=len(chosen) + 2, **figures)


def go_away_for_hours(ground: Ground) -> Result:
    """
    Cut every call while many calendars change, and let two hours seem to pass; then come back.

    Two hours of failed tries are set as the number of tries; the waits that follow are the product's.
    """
    meetings, share = (90, 0.4) if ground.short else (400, 0.4)
    limit = int(600 * share)
    settings = {
        "PUNCTUAL_RECALL_SCHEDULE_PER_MINUTE": str(limit),
        "PUNCTUAL_RECALL_LIST_PER_MINUTE": str(int(60 * share)),
        "PUNCTUAL_RECALL_BOT_CREATE_PER_MINUTE": str(int(60 * share)),
        "PUNCTUAL_RECALL_OTHER_PER_MINUTE": str(int(300 * share)),
        "PUNCTUAL_RECONCILE_NEAR_SECONDS": "60",
        "PUNCTUAL_RECONCILE_ALL_SECONDS": "60",
    }
    with standing(ground, calendars=4, settings=settings) as stage:
        until(stage.rig.is_quiet, within=40)
        with ordered(stage, {"kind": "drop"}):
            starts = [stage.author.base + timedelta(minutes=11 * n) for n in range(meetings)]
            stage.chance.shuffle(starts)
            put_in(stage, meetings_at(stage, starts))
            until(lambda: rows(stage, "SELECT 1 FROM sources WHERE tries > 0"), within=30)
            # What two hours of an outage leave behind: a dozen tries, and the wait after the last of them.
            put_off = "SELECT 1 FROM sources WHERE tries >= 12 AND due_at > now() + interval '1 s'"
            execute(stage, "UPDATE sources SET tries = 12, due_at = now()")
            until(lambda: rows(stage, put_off), within=30)
            wait_s = float(rows(stage, "SELECT extract(epoch FROM due_at - now()) FROM sources")[0][0])
            gone = last_record(stage)
        scale = {"enabled": True, "multiplier": share}
        answer(stage.rig.emulator.patch("/limits", json=scale))
        stage.demand(wait_s <= 300, f"after the outage nobody would look for {wait_s:.0f} s")
        back = time.monotonic()
        until(
            lambda: len(stage.rig.live_bots()) >= meetings,
            within=wait_s + meetings / limit * 60 + 60,
            every=0.5,
        )
        drained_s = time.monotonic() - back
        created = bots_in_order(stage, gone)
        disorder = distance_from_order(created)
        worst = busiest_minute(stage, "calendar_events_bot_create", gone)
        throttled = sum(counts.get("429", 0) for counts in stage.rig.requests().values())
        stage.demand(worst <= limit, f"{worst} bookings in one minute, {limit} are allowed")
        stage.demand(throttled == 0, f"{throttled} calls over the provider's limit")
        stage.demand(disorder < 0.15, f"near meetings do not come first: disorder {disorder:.2f}")
        answer(stage.rig.emulator.patch("/limits", json={"enabled": False}))
        return stage.finish(
            60,
            meetings=meetings,
            looks_again_in_s=round(wait_s),
            drained_s=round(drained_s),
            at_least_s=round((meetings - limit / 4) / (limit * 0.75) * 60),
            busiest_minute=worst,
            disorder=round(disorder, 3),
        )


def lose_answers(ground: Ground) -> Result:
    """Carry out what is asked about bots and cut the line before the answer, half of the time."""
    return in_both_modes(ground, _lose_answers)


def be_dumb(ground: Ground) -> Result:
    """Ignore Idempotency-Key and deduplication keys, and lose every third answer about a bot."""
    return in_both_modes(ground, _be_dumb)


def lose_bots(ground: Ground) -> Result:
    """Let bots die before their meeting, and let others vanish without a word."""
    with standing(ground, bots=BOTH_MODES[ground.seed % 2]) as stage:
        stage.edit(20)
        stage.come_to_rest()
        dead = stage.rig.live_bots()[0::3]
        for bot in dead:
            fail_bot(stage, bot["id"])
        replaced_s = stage.come_to_rest()
        vanished = stage.rig.live_bots()[1::3]
        for number, bot in enumerate(vanished):
            body = {"leave_reference": number % 2 == 0}
            answer(stage.rig.emulator.request("DELETE", f"/bots/{bot['id']}", json=body))
        began = time.monotonic()
        if ground.short:
            bring_the_sweep_forward(stage)
        stage.come_to_rest(60 if ground.short else 480)
        found_s = time.monotonic() - began
        # One that dies again and again is given up, and said to have failed.
        stubborn = stage.rig.live_bots()[0]
        seat = (stubborn["meeting_url"], stubborn["join_at"])
        deaths = 0
        while deaths < 10 and (standing_at := bots_at(stage, seat)):
            fail_bot(stage, standing_at[0]["id"])
            deaths += 1
            time.sleep(2)
        failed = [event for event in stage.rig.feed() if event["type"] == "bot.failed"]
        stage.demand(deaths == 3, f"a bot that dies was made {deaths} times")
        stage.demand(bool(failed), "nobody was told that a bot failed for good")
        stage.oracle.copies = {
            event: copy
            for event, copy in stage.oracle.copies.items()
            if (copy.link, copy.start.isoformat()[:19]) != (seat[0], seat[1][:19])
        }
        return stage.finish(
            60,
            died=len(dead),
            replaced_s=replaced_s,
            vanished=len(vanished),
            found_s=round(found_s, 1),
            made_again=deaths,
        )


def refuse_in_every_way(ground: Ground) -> Result:
    """Answer 409, 507, 405 on removals, 402 and a firewall's 403, each for a while."""
    lasting_s = 4 if ground.short else 20
    figures: dict[str, Figure] = {}
    with standing(ground, bots=BOTH_MODES[ground.seed % 2]) as stage:
        stage.edit(20)
        stage.come_to_rest()
        phases: dict[str, dict[str, Any]] = {
            "409": {"status": 409, "path": SCHEDULE, "method": "POST"},
            "507": {"status": 507, "path": SCHEDULE, "method": "POST"},
            "405": {"status": 405, "path": SCHEDULE, "method": "DELETE"},
            "402": {"status": 402},
            "403": {"kind": "html", "status": 403},
        }
        for name, order in phases.items():
            before = sum_of(stage.rig.requests())
            with ordered(stage, order):
                stage.edit(6)
                time.sleep(lasting_s)
                refused = faulted(stage)
            figures[f"calls_{name}"] = sum_of(stage.rig.requests()) - before
            # Each refused call is about one of a handful of rows, which wait 2 s or longer.
            most = 12 + 8 * lasting_s
            stage.demand(
                refused <= most, f"{refused} calls answered {name} in {lasting_s} s: a hot loop"
            )
            if name in {"402", "403"}:
                alerts = told_to_a_person(stage)
                stage.demand(alerts > 0, f"nobody is told of the {name}")
                # Somebody has paid, or opened the firewall, and says so.
                stage.rig.start_and_read("revive", "--all")
                execute(stage, "UPDATE sources SET due_at = now()", "UPDATE slots SET due_at = now()")
                execute(
                    stage, "UPDATE calendars SET due_at = now()", "UPDATE duties SET due_at = now()"
                )
            figures[f"rest_{name}_s"] = stage.come_to_rest(120)
        return stage.finish(60, **figures)


def _lose_answers(stage: Stage, least: int) -> int:
    order = {"kind": "lost_answer", "path": SCHEDULE, "probability": 0.5}
    methods = ("POST", "PATCH", "DELETE")
    return _edit_until_struck(stage, least, *({**order, "method": method} for method in methods))


def _be_dumb(stage: Stage, least: int) -> int:
    dumb = {"deduplication_key_ignored": True, "idempotency_key_ignored": True}
    answer(stage.rig.emulator.patch("/switches", json=dumb))
    order = {"kind": "lost_answer", "path": SCHEDULE, "method": "POST", "probability": 0.34}
    return _edit_until_struck(stage, least, order)


def _edit_until_struck(stage: Stage, least: int, *orders: dict[str, Any]) -> int:
    """Make changes until so many calls have been struck; how many were is returned."""
    with ordered(stage, *orders):
        for _ in range(20):
            stage.edit(least, pause_s=0.1)
            time.sleep(1)
            if faulted(stage) >= least:
                break
        time.sleep(2)
        struck = faulted(stage)
    stage.demand(struck >= least, f"only {struck} answers were lost")
    return struck


def in_both_modes(ground: Ground, do: Callable[[Stage, int], int]) -> Result:
    """Try it with managed and with our own bots; both have to hold."""
    figures: dict[str, Figure] = {}
    remarks: list[str] = []
    modes = BOTH_MODES
    least = 5 if ground.short else 20
    passed = True
    for mode in modes:
        folder = ground.folder / mode
        folder.mkdir(exist_ok=True)
        with standing(
            Ground(folder, ground.fresh_database, ground.short, ground.seed), bots=mode
        ) as stage:
            struck = do(stage, least)
            result = stage.finish(120, answers_lost=struck)
        passed &= result.passed
        short = mode.removeprefix("recall_")
        figures |= {
            f"{short}_{name}": result.figures[name] for name in ("answers_lost", "rest_s", "double_s")
        }
        remarks += [f"{short}: {result.remarks}"] if result.remarks else []
    return Result(passed, figures, "; ".join(remarks))


def too_early(stage: Stage, operation: str, *, after: int, wait_s: float) -> list[float]:
    """
    List how soon after a 429 the next call came, where that was too soon.

    What was on its way already when the 429 was given is not counted: half a second.
    """
    found = calls(stage, operation, after)
    apart = [
        (later - sooner).total_seconds()
        for (sooner, status), (later, _) in pairwise(found)
        if status == 429
    ]
    return [round(seconds, 2) for seconds in apart if 0.5 < seconds < wait_s * 0.95]


def hold_budget(stage: Stage, text: str) -> dict[str, float]:
    """Have one listing answered 429, return for how long which budgets are blocked, and unblock them."""
    order = {"status": 429, "path": LIST, "retry_after": text, "times": 1}
    answer(stage.rig.emulator.post("/faults", json=order))
    stage.edit(1)
    blocked = "SELECT name, extract(epoch FROM blocked_until - now()) FROM budgets WHERE blocked_until > now()"
    until(lambda: rows(stage, blocked), within=30)
    found = {str(name): float(seconds) for name, seconds in rows(stage, blocked)}
    answer(stage.rig.emulator.delete("/faults"))
    # The time that was asked for goes by.
    execute(stage, "UPDATE budgets SET blocked_until = NULL", "UPDATE sources SET due_at = now()")
    stage.come_to_rest(90)
    return found


def http_date_in(seconds: float) -> str:
    """Write an instant to come as HTTP does."""
    return formatdate(time.time() + seconds + 1, usegmt=True)


def bots_in_order(stage: Stage, after: int) -> list[str]:
    """List the join times of the bots made since then, in the order in which they were made."""
    page = answer(
        stage.rig.emulator.get("/history", params={"after": str(after), "kind": "bot.created"})
    )
    return [record["join_at"] for record in page["records"]]


def distance_from_order(values: Sequence[str]) -> float:
    """Say how far things are from their places in order: 0 in order, about a third at random."""
    ranks = {value: rank for rank, value in enumerate(sorted(values))}
    count = max(1, len(values))
    return sum(abs(ranks[value] - place) for place, value in enumerate(values)) / count / count


def busiest_minute(stage: Stage, operation: str, after: int) -> int:
    """Return the most calls of one operation in any sixty seconds."""
    instants = [at for at, _ in calls(stage, operation, after)]
    return max(
        (sum(begin <= at < begin + timedelta(minutes=1) for at in instants) for begin in instants),
        default=0,
    )


def bots_at(stage: Stage, seat: tuple[str, str]) -> list[dict[str, Any]]:
    """List live bots with this link and join time."""
    found = stage.rig.live_bots()
    return [bot for bot in found if (bot["meeting_url"], bot["join_at"]) == seat]


def fail_bot(stage: Stage, bot_id: str) -> None:
    """Let a bot die."""
    answer(stage.rig.emulator.post(f"/bots/{bot_id}/state", json={"code": "fatal"}))


def bring_the_sweep_forward(stage: Stage) -> None:
    """Let the minutes pass after which the provider's bots are compared with ours."""
    execute(
        stage,
        "UPDATE slots SET updated_at = updated_at - interval '5 minutes'",
        "UPDATE duties SET wanted = wanted + 1, due_at = now()",
    )


def told_to_a_person(stage: Stage) -> int:
    """Count what asks for a person: log lines of level error since the start."""
    log = (stage.rig.logs / "work.log").read_text(errors="replace")
    return sum('"level": "error"' in line for line in log.splitlines())


FAULTS = [
    Fault(
        "F43",
        "the provider answers 500, 502, 503 and 504 to every second call",
        "retries within budgets; afterwards the right bots, none twice",
        fail_half_of_all_calls,
        short=True,
    ),
    Fault(
        "F44",
        "429 with Retry-After 1, 4, a date, garbage, -5, 600 and 86400",
        "nobody calls sooner than asked, at most 15 min; other budgets go on",
        throttle,
        short=True,
    ),
    Fault(
        "F45",
        "the provider is away for two hours while everything changes, then comes back",
        "somebody looks within 5 min; a ramp within the limit, near meetings first",
        go_away_for_hours,
        short=True,
    ),
    Fault(
        "F46",
        "every second call about a bot is carried out and its answer lost",
        "one bot a meeting",
        lose_answers,
        short=True,
    ),
    Fault(
        "F47",
        "the provider ignores Idempotency-Key and deduplication keys, and loses answers",
        "no two bots of one meeting for longer than 60 s, in both modes",
        be_dumb,
    ),
    Fault(
        "F48",
        "bots die before their meeting; others vanish without a word",
        "made anew, a bounded number of times, then `bot.failed`",
        lose_bots,
        short=True,
    ),
    Fault(
        "F49",
        "409, 507, 405 on removals, 402, a firewall's 403",
        "no hot loop; a person is told of the last two; afterwards the right bots",
        refuse_in_every_way,
    ),
]
