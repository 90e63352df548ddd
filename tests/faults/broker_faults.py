"""
Faults of the broker: killed, frozen, alarmed, wiped, forbidden, full, forged.

What all of them must show: a delivery is acknowledged whatever the broker does, and once it is back the
work goes on without a hand. Brokers of our own only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

from tests.faults.brokers import RabbitMQ, Redis
from tests.faults.fault import Fault, Figure, Ground, Result
from tests.faults.proxy import DEAF, FAIR, Proxy
from tests.faults.republishing import republish
from tests.faults.stage import standing
from tests.system.ledgers import by_subject, ledger, ledgers_agree
from tests.system.rig import free_port, until

Break = Callable[[], object]
CONSUMES_WITHIN_S = 15.0


def kill_rabbitmq(ground: Ground) -> Result:
    """Kill -9 the node and start it again, several times."""
    with RabbitMQ.running() as broker:
        rounds = 1 if ground.short else 4
        return broken(ground, broker.url, broker.kill, broker.start, rounds=rounds, down_s=3)


def alarm_rabbitmq(ground: Ground) -> Result:
    """Raise the memory alarm, then the disk alarm: the node takes no message but closes nothing."""
    with RabbitMQ.running() as broker:
        alarms = [
            ("set_vm_memory_high_watermark", "0.00001", "0.4"),
            ("set_disk_free_limit", "1000000GB", "50MB"),
        ]
        left = alarms[:1] if ground.short else alarms

        def raise_next() -> None:
            broker.control(*left[0][:2])

        def clear() -> None:
            name, _, fair = left.pop(0)
            broker.control(name, fair)

        down_s = 8.0 if ground.short else 45.0
        return broken(ground, broker.url, raise_next, clear, rounds=len(left), down_s=down_s)


def freeze_rabbitmq(ground: Ground) -> Result:
    """Stop the node where it is; connections stay open and silent."""
    with RabbitMQ.running() as broker:
        down_s = 15.0 if ground.short else 60.0
        return broken(ground, broker.url, broker.freeze, broker.thaw, down_s=down_s, back_s=30)


def delete_queues(ground: Ground) -> Result:
    """Delete every queue and exchange of ours under the running workers."""
    with RabbitMQ.running() as broker:

        def delete() -> None:
            for name in broker.queues():
                broker.control("delete_queue", name)
            for exchange in (jobs_exchange(), exchange_of(ground)):
                broker.control("eval", _DELETE_EXCHANGE % exchange)

        return broken(ground, broker.url, delete, lambda: None, rounds=2, back_s=30, consumes=False)


def wipe_rabbitmq(ground: Ground) -> Result:
    """Stop the node, forget all it knew, and start it."""
    with RabbitMQ.running() as broker:

        def wipe() -> None:
            broker.kill()
            broker.wipe()

        return broken(ground, broker.url, wipe, broker.start, consumes=False)


def forbid_rabbitmq(ground: Ground) -> Result:
    """Take the permissions of our user away, and afterwards its password."""
    with RabbitMQ.running() as broker:

        def forbid() -> None:
            broker.control("clear_permissions", "guest")
            broker.control("change_password", "guest", uuid4().hex)
            broker.control("close_all_connections", "--vhost", "/", "maintenance")

        def allow() -> None:
            broker.control("change_password", "guest", "guest")
            broker.control("set_permissions", "guest", ".*", ".*", ".*")

        down_s = 6.0 if ground.short else 20.0
        return broken(ground, broker.url, forbid, allow, down_s=down_s, back_s=30)


def kill_redis(ground: Ground) -> Result:
    """Kill -9 the server; it comes back empty."""
    with Redis.running() as broker:
        rounds = 1 if ground.short else 4
        return broken(ground, broker.url, broker.kill, broker.start, rounds=rounds, down_s=2)


def freeze_redis(ground: Ground) -> Result:
    """Stop the server where it is."""
    with Redis.running() as broker:
        down_s = 10.0 if ground.short else 60.0
        return broken(ground, broker.url, broker.freeze, broker.thaw, down_s=down_s, back_s=30)


def fill_redis(ground: Ground) -> Result:
    """Let the memory run out: once so that writes fail, once so that our keys are thrown out."""
    with Redis.running() as broker:
        policies = ["noeviction", "allkeys-lru"]

        def fill() -> None:
            broker.ask("CONFIG", "SET", "maxmemory-policy", policies.pop(0))
            broker.ask("CONFIG", "SET", "maxmemory", "2mb")
            for n in range(400):
                broker.ask("SET", f"junk:{n}", "x" * 20_000)

        def empty() -> None:
            for n in range(400):
                broker.ask("DEL", f"junk:{n}")
            broker.ask("CONFIG", "SET", "maxmemory", "0")

        return broken(ground, broker.url, fill, empty, rounds=2, down_s=5, back_s=30)


def half_open_redis(ground: Ground) -> Result:
    """Let the server hear us while we never hear it."""
    with Redis.running() as broker, Proxy.running(broker.port) as proxy:

        def deafen() -> None:
            proxy.change(DEAF)

        def mend() -> None:
            # What was lost stays lost: the connections of that time are dead.
            proxy.change(FAIR)
            proxy.reset()

        down_s = 10.0 if ground.short else 40.0
        return broken(ground, broker.url_at(proxy.port), deafen, mend, down_s=down_s, back_s=30)


def shuffle_messages(ground: Ground) -> Result:
    """Take messages out of the queues and put each back one to five times, in another order; forge some."""
    with (
        RabbitMQ.running() as broker,
        standing(ground, broker_url=broker.url, per_second=30) as stage,
    ):
        began = time.monotonic()
        with stage.editing(pause_s=0.1) as edits:
            copies = 0
            while time.monotonic() - began < (8 if ground.short else 40):
                copies += republish(broker.url, stage.chance)
        seen = stage.demand_honest_answers(began)
        stage.demand(copies > 0, "no message was ever copied: the fault did not bite")
        return stage.finish(90, copies=copies, edits=edits[0], **seen)


def start_without_a_broker(ground: Ground) -> Result:
    """Start everything while nobody listens at the broker's address; bring one there later."""
    port = free_port()
    url = f"amqp://guest:guest@127.0.0.1:{port}//"
    with standing(ground, broker_url=url, per_second=20, waits=False) as stage:
        began = time.monotonic()
        stage.edit(10)
        time.sleep(5 if ground.short else 20)
        ready = stage.rig.api.get("/readyz").status_code
        stage.demand(ready == 200, f"/readyz says {ready} because there is no broker")
        seen = stage.demand_honest_answers(began)
        stage.demand(not seen["503"], "the receiver refused deliveries because of the broker")
        figures: dict[str, Figure] = {"rest_without_broker_s": "never"}
        try:
            figures["rest_without_broker_s"] = stage.come_to_rest(60, quiet=False)
        except AssertionError as idle:
            stage.demand(False, f"without a broker nothing is done: {idle}")
        with RabbitMQ.running(port):
            figures["back_s"] = round(stage.seconds_to_bot(60), 1)
            return stage.finish(60, **figures, **seen)


def configure_badly(ground: Ground) -> Result:
    """Consume with every setting turned against us, while the consumer is killed every four seconds."""
    with RabbitMQ.running() as rabbit, Redis.running() as redis:
        results = [_badly_configured(ground, url) for url in (rabbit.url, redis.url)]
    return Result(
        all(result.passed for result in results),
        {
            f"{kind}_{name}": value
            for kind, result in zip(("amqp", "redis"), results, strict=True)
            for name, value in result.figures.items()
        },
        "; ".join(result.remarks for result in results if result.remarks),
    )


def broken(
    ground: Ground,
    url: str,
    break_it: Break,
    mend_it: Break,
    *,
    rounds: int = 1,
    down_s: float = 3.0,
    back_s: float = CONSUMES_WITHIN_S,
    consumes: bool = True,
) -> Result:
    """
    Break a broker and mend it, while deliveries come and changes are made, and judge.

    *consumes* has a downstream service beside it, whose AMQP ledger must end complete and in order.
    """
    is_amqp = url.startswith("amqp")
    exchange = exchange_of(ground)
    listens = consumes and is_amqp
    with standing(
        ground,
        broker_url=url,
        per_second=30,
        settings={"PUNCTUAL_EVENTS_EXCHANGE": exchange},
        consumer_url=url if listens else None,
    ) as stage:
        stage.edit(10)
        stage.seconds_to_bot(60)
        began, back = time.monotonic(), []
        for _ in range(rounds):
            break_it()
            with stage.editing(pause_s=0.3):
                time.sleep(down_s)
            mend_it()
            mended = time.monotonic()
            stage.seconds_to_bot(90)
            back.append(time.monotonic() - mended)
            time.sleep(1)
        seen = stage.demand_honest_answers(began)
        stage.demand(not seen["503"], "the receiver refused deliveries because of the broker")
        stage.demand(max(back) <= back_s, f"a bot came only {max(back):.1f} s after the broker")
        result = stage.finish(60, down_s=down_s, rounds=rounds, back_s=round(max(back), 1), **seen)
        if not listens:
            return result
        until(lambda: ledgers_agree(stage.rig, ground.folder), within=90, every=0.5)
        amqp = ledger(ground.folder / "amqp.ledger")
        wrong = [s for s, found in by_subject(amqp).items() if found != sorted(found)]
        words = f"{len(wrong)} subjects out of order over AMQP" if wrong else ""
        return Result(
            result.passed and not wrong,
            {**result.figures, "amqp_events": len(amqp)},
            "; ".join(filter(None, [result.remarks, words])),
        )


def exchange_of(ground: Ground) -> str:
    """Name the exchange a fault's domain events go to."""
    return f"punctual.{ground.folder.name.lower()}"


def jobs_exchange() -> str:
    """Name the exchange the jobs go through."""
    from worker.app import EXCHANGE

    return str(EXCHANGE.name)


def _badly_configured(ground: Ground, url: str) -> Result:
    folder = ground.folder / url.split(":", 1)[0]
    folder.mkdir(parents=True, exist_ok=True)
    with standing(replace(ground, folder=folder), broker_url=url, per_second=30) as stage:
        stage.keeper.forget("work")
        stage.kill_all("work")
        stage.keeper.keep("upkeep", "worker.cli", "work", "--part", "upkeep")
        stage.keeper.keep("hostile", "tests.faults.hostile_worker")
        began, kills = time.monotonic(), 0
        with stage.editing(pause_s=0.15) as edits:
            while time.monotonic() - began < (10 if ground.short else 40):
                time.sleep(4)
                stage.kill_all("hostile")
                kills += 1
        seen = stage.demand_honest_answers(began)
        return stage.finish(120, edits=edits[0], kills=kills, **seen)


_DELETE_EXCHANGE = (
    'rabbit_exchange:delete(rabbit_misc:r(<<"/">>, exchange, <<"%s">>), false, <<"faults">>).'
)

FAULTS = [
    Fault(
        "F31",
        "RabbitMQ killed with -9 and started again",
        "2xx throughout; bots move again within 15 s; the AMQP ledger is complete and in order",
        kill_rabbitmq,
        short=True,
        needs=("rabbitmq-server",),
    ),
    Fault(
        "F32",
        "RabbitMQ's memory alarm, then its disk alarm: publishers are blocked",
        "2xx throughout, no answer over 3 s; the outbox waits and resumes",
        alarm_rabbitmq,
        needs=("rabbitmq-server",),
    ),
    Fault(
        "F33",
        "RabbitMQ frozen (SIGSTOP)",
        "2xx throughout; noticed by heartbeat, work goes on within 30 s of the thaw",
        freeze_rabbitmq,
        needs=("rabbitmq-server",),
    ),
    Fault(
        "F34",
        "all queues and exchanges deleted under the workers",
        "declared anew; nothing is lost silently",
        delete_queues,
        needs=("rabbitmq-server",),
    ),
    Fault(
        "F35",
        "RabbitMQ wiped: every message, queue and exchange gone",
        "2xx throughout; what is due is rung for again",
        wipe_rabbitmq,
        needs=("rabbitmq-server",),
    ),
    Fault(
        "F36",
        "permissions and password of our broker user revoked, then restored",
        "2xx throughout; backs off and comes back by itself",
        forbid_rabbitmq,
        needs=("rabbitmq-server",),
    ),
    Fault(
        "F37",
        "Redis killed with -9, back empty",
        "2xx throughout; bots move again within 15 s",
        kill_redis,
        short=True,
        needs=("redis-server",),
    ),
    Fault(
        "F38",
        "Redis frozen (SIGSTOP)",
        "2xx throughout; consuming again within 30 s of the thaw",
        freeze_redis,
        needs=("redis-server",),
    ),
    Fault(
        "F39",
        "Redis out of memory: writes refused, then our keys evicted",
        "2xx throughout; heals by itself",
        fill_redis,
        needs=("redis-server",),
    ),
    Fault(
        "F40",
        "half-open connections to Redis: it hears us, we never hear it",
        "2xx throughout; reconnected within 30 s",
        half_open_redis,
        needs=("redis-server",),
    ),
    Fault(
        "F41",
        "every broker message republished one to five times, in another order",
        "no effect but load",
        shuffle_messages,
        needs=("rabbitmq-server",),
    ),
    Fault(
        "F42",
        "no broker at all from the start",
        "2xx, /readyz 200, and the work is done all the same, slowly",
        start_without_a_broker,
        needs=("rabbitmq-server",),
    ),
    Fault(
        "F50",
        "a consumer with every setting against us: early ack, no confirms, prefetch 100, visibility 5 s",
        "the invariants hold all the same, with kill -9 every four seconds",
        configure_badly,
        needs=("rabbitmq-server", "redis-server"),
    ),
]
