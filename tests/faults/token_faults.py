"""F54: refresh tokens that rotate, against node-oidc-provider, which ends a family when one is reused."""

from __future__ import annotations

from tests.faults.fault import Fault, Ground, Result, impossible
from tests.faults.servers import Postgres
from tests.node import Unavailable, installed
from tests.tokens.proof import Size, in_peace, with_kills
from tests.tokens.server import SOURCES

SIZE = Size(workers=20, connections=50, seconds=20.0)
#: Each worker has a pool of its own.
CONNECTIONS = "400"


def rotate_tokens(ground: Ground) -> Result:
    """Have twenty workers use the tokens of fifty accounts, then the same while they are killed."""
    try:
        installed(SOURCES)
    except Unavailable as why:
        return impossible(str(why))
    with Postgres.running(max_connections=CONNECTIONS) as postgres:

        def part(name: str) -> Ground:
            return Ground(ground.folder / name, postgres.fresh_database, seed=ground.seed)

        calm, killed = in_peace(part("calm"), SIZE), with_kills(part("killed"), SIZE)
    figures = {
        f"{name} {figure}": value
        for name, result in (("calm", calm), ("killed", killed))
        for figure, value in result.figures.items()
    }
    remarks = "; ".join(filter(None, [calm.remarks, killed.remarks]))
    return Result(calm.passed and killed.passed, figures, remarks)


FAULTS = [
    Fault(
        "F54",
        "refresh tokens rotate while twenty workers ask, answers are lost, old ones are refused",
        "one refresh at a time, no superseded token sent again; a lost consent is told once",
        rotate_tokens,
        needs=("node", "npm"),
    ),
]
