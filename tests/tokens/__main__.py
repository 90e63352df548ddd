"""
Refresh tokens against node-oidc-provider, in peace and with workers killed, and print what came of it.

`python -m tests.tokens [--seconds 60] [--workers 20] [--connections 50] [--form calm|killed] [--seed N]
[--logs FOLDER]`
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.fault import Fault, Ground, try_fault
from tests.faults.servers import Postgres
from tests.node import Unavailable, installed
from tests.tokens.proof import Size, in_peace, with_kills
from tests.tokens.server import SOURCES
from worker.logs import set_up_logs

#: Each worker has a pool of its own.
CONNECTIONS = "400"


def main() -> int:
    """Run the forms asked for, print their verdicts, and return the exit code."""
    options = _options()
    set_up_logs(None, level=logging.WARNING)
    try:
        installed(SOURCES)
    except Unavailable as why:
        print(f"impossible: {why}")
        return 2
    size = Size(options.workers, options.connections, options.seconds)
    folder = Path(options.logs or tempfile.mkdtemp(prefix="tokens-"))
    forms = {
        "calm": Fault(
            "calm",
            f"{size.workers} workers share the tokens of {size.connections} accounts",
            "no refused refresh, no ended family, one refresh at a time",
            lambda ground: in_peace(ground, size),
        ),
        "killed": Fault(
            "killed",
            "the same, and workers are killed all the time",
            "a consent is kept, or lost, told once, and left alone",
            lambda ground: with_kills(ground, size),
        ),
    }
    failed = 0
    with Postgres.running(max_connections=CONNECTIONS) as postgres:
        for name, form in forms.items():
            if options.form in {None, name}:
                ground = Ground(folder / name, postgres.fresh_database, seed=options.seed)
                ground.folder.mkdir(parents=True, exist_ok=True)
                failed += not _run(form, ground)
    if failed or options.logs:
        print(f"logs: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


def _run(form: Fault, ground: Ground) -> bool:
    print(f"{form.what} -> {form.expected}", flush=True)
    result = try_fault(form, ground)
    for name, value in result.figures.items():
        print(f"  {name:24} {value}")
    verdict = "HELD" if result.passed else f"VIOLATED: {result.remarks}"
    print(f"  {verdict} ({result.seconds:.0f} s, seed {ground.seed})", flush=True)
    return result.passed


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.tokens", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of each form")
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--form", choices=["calm", "killed"], help="both without")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--logs", help="keep everything in this folder")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
