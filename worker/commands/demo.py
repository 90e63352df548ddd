"""`punctual demo`: a story against the sandbox, told as a timeline while real processes play it."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from worker.commands.showing import as_json, make_console, plain, print_json

if TYPE_CHECKING:
    import httpx

    from worker.commands.stage import Stage
    from worker.commands.story import Line, Story, Told

STYLES = {
    "notification": "cyan",
    "decision": "magenta",
    "bot": "yellow",
    "emitted": "green",
}


@click.command()
@click.option(
    "--provider",
    type=click.Choice(["recall", "google", "microsoft"]),
    default="recall",
    show_default=True,
    help="Who holds the calendars: Recall, or an account that is connected through a link.",
)
@click.option("--keep", is_flag=True, help="Leave everything running afterwards, until Ctrl-C.")
@as_json
def demo(*, provider: str, keep: bool, is_json: bool) -> None:
    """
    Play a whole story against the sandbox, and show what happens in real processes.

    Connect, create, share, move, change link, cancel, disconnect; the exit code is 1 when a bot is not
    where it should be. Runs on free ports in a folder of its own; nothing else is touched.
    """
    from worker.commands.session import stopping_in_order
    from worker.commands.stage import open_stage, run_beside
    from worker.logs import set_up_logs

    set_up_logs("json", level=40)
    told = _Teller(console=make_console(is_stderr=is_json), is_quiet=is_json)
    told.note("Starting database, sandbox, receiver and worker …")
    with stopping_in_order(), open_stage(provider) as stage:
        play = threading.Thread(
            target=told.tell, args=(stage, provider), kwargs={"keep": keep}, name="story"
        )
        run_beside(stage, play)
    if is_json:
        print_json(told.view())
    if told.failure is not None:
        told.console.print(Text(f"punctual: {told.failure}", style="bold red"))
    sys.exit(0 if told.is_well else 1)


@dataclass(slots=True)
class _Teller:
    """Lets the story happen, and tells each scene when it is over."""

    console: Console
    is_quiet: bool
    scenes: list[Told] = field(default_factory=list)
    began: datetime | None = None
    began_s: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    live_bots: int | None = None
    is_complete: bool = False
    failure: str | None = None

    @property
    def is_well(self) -> bool:
        return self.is_complete and self.live_bots == 0 and all(scene.is_true for scene in self.scenes)

    def note(self, words: str) -> None:
        if not self.is_quiet:
            self.console.print(Text(words, style="dim"))

    def tell(self, stage: Stage, provider: str, *, keep: bool) -> None:
        """Play all scenes; closes the stage at the end unless *keep*."""
        import httpx

        from worker.commands.hands import AccountHands, RecallHands
        from worker.commands.stage import Interrupted
        from worker.commands.story import Story

        hands = RecallHands(stage) if provider == "recall" else AccountHands(stage, provider)
        try:
            self._tell(Story(stage, hands), stage)
        except Interrupted:
            self.failure = "stopped before the end of the story"
        except httpx.HTTPError as broken:
            self.failure = (
                "stopped before the end of the story"
                if stage.is_over
                else f"a process did not answer as it should: {broken}"
            )
        except Exception as unforeseen:
            self.failure = f"{type(unforeseen).__name__}: {unforeseen}"
            raise
        finally:
            if self.failure is not None and not stage.is_over:
                for line in stage.last_words():
                    self.console.print(Text(plain(line), style="dim"))
            if keep and self.failure is None:
                self._say_where(stage)
            else:
                stage.close()

    def view(self) -> dict[str, Any]:
        """Return everything that was told, for programs."""
        return {
            "ok": self.is_well,
            "seconds": round(self.seconds, 1),
            "live_bots": self.live_bots,
            "scenes": [
                {
                    "title": scene.title,
                    "ok": scene.is_true,
                    "latency_seconds": scene.latency_s,
                    "live_bots": scene.live_bots,
                    "lines": [
                        {"after_seconds": self._after(line), "kind": line.kind, "text": line.text}
                        for line in scene.lines
                    ],
                }
                for scene in self.scenes
            ],
        }

    def _tell(self, story: Story, stage: Stage) -> None:
        with self.console.status("Waiting for the processes …"):
            is_ready = story.wait_until_ready()
        if not is_ready:
            self.failure = "the processes did not come up"
            return
        self.note(f"Ready after {time.monotonic() - self.began_s:.1f} s.\n")
        for scene in story.scenes():
            with self.console.status(f"{scene.title} …"):
                told = story.play(scene)
            self.began = self.began or told.lines[0].at
            self.scenes.append(told)
            if not self.is_quiet:
                self._print(told)
            if not told.is_true:
                self.failure = f"this did not become true in time: {scene.title}"
                break
        else:
            self.is_complete = True
        self.live_bots = story.live_bots()
        self.seconds = time.monotonic() - self.began_s
        if not self.is_quiet and not stage.is_over:
            self._print_verdict()

    def _print(self, told: Told) -> None:
        mark = Text(" ✓", style="bold green") if told.is_true else Text(" ✗", style="bold red")
        self.console.print(Text(told.title, style="bold").append_text(mark))
        for line in told.lines:
            if line.kind == "action":
                continue
            text = Text(f"{self._after(line):7.2f} s  ", style="dim")
            text.append(f"{line.kind:<13}", style=STYLES[line.kind])
            text.append(plain(line.text), style="")
            self.console.print(text, soft_wrap=True)
        took = "" if told.latency_s is None else f"; notification → bot correct: {told.latency_s:.2f} s"
        self.console.print(
            Text(f"           live bots at the sandbox: {told.live_bots}{took}\n", style="bold")
        )

    def _print_verdict(self) -> None:
        latencies = [scene.latency_s for scene in self.scenes if scene.latency_s is not None]
        slowest = f"; slowest bot {max(latencies):.2f} s after its notification" if latencies else ""
        style = "bold green" if self.is_well else "bold red"
        words = "Exactly one bot, always where it should be" if self.is_well else "Not as it should be"
        self.console.print(
            Text(f"{words}: {len(self.scenes)} scenes in {self.seconds:.0f} s{slowest}.", style=style)
        )

    def _say_where(self, stage: Stage) -> None:
        for name, url in (
            ("API and its documentation", f"{_url(stage.api)}/docs"),
            ("API key", stage.api_key),
            ("Domain events", f"{_url(stage.api)}/v1/feed"),
            ("The sandbox", f"{_url(stage.sandbox)}/_emulator/state"),
            ("Live bots there", f"{_url(stage.sandbox)}/_emulator/bots?live=true"),
            ("Logs", str(stage.folder / "processes.log")),
        ):
            self.console.print(Text(f"{name:<27}{url}"), soft_wrap=True)
        self.note("Still running; stop it with Ctrl-C.")

    def _after(self, line: Line) -> float:
        return round((line.at - (self.began or line.at)).total_seconds(), 3)


def _url(client: httpx.Client) -> str:
    return str(client.base_url).rstrip("/")
