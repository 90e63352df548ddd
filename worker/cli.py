"""The `punctual` command: processes to run, and the operator's daily verbs."""

from __future__ import annotations

import os
import sys

import click

from worker.commands import add_commands
from worker.errors import ConfigError
from worker.logs import set_up_logs
from worker.settings import Settings, load_settings

SANDBOX_PORT, GOOGLE_PORT, MICROSOFT_PORT = 8090, 8091, 8092


class OneLinePerFault(click.Group):
    """Shows what is wrong with the configuration as plain lines, not as a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ConfigError as wrong:
            for line in str(wrong).splitlines():
                click.echo(f"punctual: {line}", err=True)
            sys.exit(2)


@click.group(cls=OneLinePerFault, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="punctual")
def main() -> None:
    """Keep exactly one bot in every meeting that should have one."""


@main.command()
@click.option("--in-tree", is_flag=True, hidden=True)
def serve(*, in_tree: bool) -> None:
    """Run the receiver and the API alone, for scaling out."""
    settings = _start(may_embed=in_tree)
    # By name, because nothing in `worker` may import `webhooks`.
    from importlib import import_module

    import_module("webhooks.main").run(settings)


@main.command()
@click.option("--in-tree", is_flag=True, hidden=True)
@click.option("--part", type=click.Choice(["all", "consumer", "upkeep"]), default="all", hidden=True)
@click.option("--concurrency", type=click.IntRange(1, 256), default=None, help="Jobs at once.")
def work(*, in_tree: bool, part: str, concurrency: int | None) -> None:
    """Run a worker alone, for scaling out."""
    from worker import working
    from worker.processes import Child, ProcessTree

    settings = _start(may_embed=in_tree)
    if settings.broker_url.get_secret_value().startswith("memory://"):
        working.work_in_threads(settings)
    elif part == "consumer":
        working.work_in_processes(settings, concurrency or settings.work_concurrency)
    elif part == "upkeep":
        working.keep_up(settings)
    else:
        more = ["--concurrency", str(concurrency)] if concurrency else []
        environment = _counting_together(settings)
        tree = [
            Child("consumer", ["work", "--part", "consumer", *more], environment),
            Child("upkeep", ["work", "--part", "upkeep"], environment),
        ]
        sys.exit(ProcessTree(tree).run())


@main.command()
def migrate() -> None:
    """Bring the schema up to date; safe to run twice and by several at once."""
    from worker.bootstrap import prepare

    settings = load_settings()
    if settings.is_embedded:
        from worker.standing_up import environment_for_tree

        with environment_for_tree(settings):
            pass
    else:
        prepare(settings)
    click.echo("The schema is up to date.")


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=int, help=f"Recall's; default: {SANDBOX_PORT}.")
@click.option("--google-port", type=int, help=f"Default: {GOOGLE_PORT}, with another --port nowhere.")
@click.option(
    "--microsoft-port", type=int, help=f"Default: {MICROSOFT_PORT}, with another --port nowhere."
)
@click.option("--redirect-uri", "redirect_uris", multiple=True, help="Where consents may lead back to.")
@click.option("--webhook-url", default=None, help="Where notifications go.")
@click.option(
    "--webhook-secret",
    envvar="PUNCTUAL_SANDBOX_WEBHOOK_SECRET",
    default=None,
    help="whsec_… that signs them.",
)
def sandbox(
    *,
    host: str,
    port: int | None,
    google_port: int | None,
    microsoft_port: int | None,
    redirect_uris: tuple[str, ...],
    webhook_url: str | None,
    webhook_secret: str | None,
) -> None:
    """Run the provider emulators on loopback, with a control API under /_emulator/."""
    from worker.sandbox.__main__ import main as run

    set_up_logs(None)
    if port is None:
        google_port = google_port or GOOGLE_PORT
        microsoft_port = microsoft_port or MICROSOFT_PORT
    options = {
        "--port": port or SANDBOX_PORT,
        "--google-port": google_port,
        "--microsoft-port": microsoft_port,
        "--webhook-url": webhook_url,
        "--webhook-secret": webhook_secret,
    }
    given = [text for name, value in options.items() if value for text in (name, str(value))]
    given += [text for uri in redirect_uris for text in ("--redirect-uri", uri)]
    run(["--host", host, *given])


@main.command()
@click.option("--sandbox/--no-sandbox", default=None, help="Start the provider emulator too.")
def up(*, sandbox: bool | None) -> None:
    """Run everything in one process tree: receiver, worker, upkeep; database and sandbox if need be."""
    from worker.standing_up import stand_up

    settings = load_settings()
    set_up_logs(settings.log_format)
    sys.exit(stand_up(settings, sandbox=sandbox))


def _counting_together(settings: Settings) -> dict[str, str]:
    """Say where a worker's processes count, so that one page shows all; read when they import the library."""
    if not settings.metrics_port or "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        return {}
    from worker.standing_up import emptied

    # A folder per port, because workers of one machine may share the data directory.
    folder = emptied(settings.data_dir.resolve() / f"metrics-{settings.metrics_port}")
    return {"PROMETHEUS_MULTIPROC_DIR": str(folder)}


def _start(*, may_embed: bool) -> Settings:
    settings = load_settings(may_embed=may_embed)
    set_up_logs(settings.log_format)
    return settings


add_commands(main)

if __name__ == "__main__":
    main()
