"""The families of worlds: each seed means one story in each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.simulation.accounts.author import KINDS as ACCOUNT_KINDS
from tests.simulation.accounts.story import AccountsSimulation
from tests.simulation.author import KINDS, Edit, plan_edits
from tests.simulation.database import Database
from tests.simulation.simulation import Simulation, Story


@dataclass(frozen=True, slots=True)
class Family:
    """What tells the stories of a family, and which edits they are made of."""

    simulation: type[Simulation]
    kinds: Mapping[str, int]
    edits: str

    def plan(self, seed: int, most: int) -> list[Edit]:
        """Plan a seed's edits."""
        return plan_edits(seed, most, kinds_of_edits=self.kinds, of=self.edits)


#: All calendars are at Recall; or users have connected some, which we read ourselves.
FAMILIES = {
    "recall": Family(Simulation, KINDS, "edits"),
    "accounts": Family(AccountsSimulation, ACCOUNT_KINDS, "account edits"),
}


def simulation_of(story: Story, database: Database, *, keep_trace: bool = False) -> Simulation:
    """Set up the simulation that tells a story."""
    return FAMILIES[story.worlds].simulation(story, database, keep_trace=keep_trace)
