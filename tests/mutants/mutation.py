"""What a planted bug is: a promise, the words that break it, and the suites that must notice."""

from __future__ import annotations

import ast
import tomllib
from dataclasses import dataclass
from pathlib import Path

CATALOGUE = Path(__file__).with_name("catalogue")


class Stale(Exception):
    """The code the mutation was written for is not there, or not only once, any more."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """
    One mistake in one file.

    *edits* are (old, new) texts; each old one occurs exactly once in *path*. *promise* is what the
    product no longer keeps with the mistake in it. Every suite named must notice: of the pytest ids in
    *tests*, and of those in *badinput*, at least one must fail; *seeds* is how many seeds of the
    simulation, of these *worlds*, must not all pass; *points* are the points (a regular expression) at
    which a process is killed and must not be made good.
    """

    name: str
    path: str
    promise: str
    edits: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]
    badinput: tuple[str, ...] = ()
    seeds: int = 0
    worlds: str = "recall"
    points: str = ""

    def mutated(self, source: str) -> str:
        """
        Return *source* with the mistake in it.

        Raises Stale when an old text is not there exactly once, SyntaxError when nonsense results.
        """
        for old, new in self.edits:
            found = source.count(old)
            if found != 1:
                msg = f"{old.strip()[:80]!r} is {found} times in {self.path}"
                raise Stale(msg)
            source = source.replace(old, new)
        ast.parse(source, filename=self.path)
        return source

    def plant(self, tree: Path) -> None:
        """Write the mistake into a copy of the project at *tree*."""
        target = tree / self.path
        if not target.is_file():
            msg = f"{self.path} is not there"
            raise Stale(msg)
        mutated = self.mutated(target.read_text())
        target.unlink()  # other copies may share it
        target.write_text(mutated)


def read_catalogue(folder: Path = CATALOGUE) -> list[Mutation]:
    """Read every planted bug there is, by the part of the product whose promise it breaks."""
    found: list[Mutation] = []
    for part in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(part.read_text())["mutation"]:
            edits = tuple((edit["old"], edit["new"]) for edit in entry.pop("edit"))
            tests, badinput = (tuple(entry.pop(name, ())) for name in ("tests", "badinput"))
            path = entry.pop("file")
            found.append(Mutation(path=path, edits=edits, tests=tests, badinput=badinput, **entry))
    names = [one.name for one in found]
    if len(names) != len(set(names)):
        msg = f"two mutations of one name: {sorted(names)}"
        raise ValueError(msg)
    return found
