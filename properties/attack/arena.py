# SPDX-License-Identifier: Apache-2.0
"""A world that has booted once; each session begins at that moment."""

from functools import cache

from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.properties.attack.puppets import Puppets
from aether_edgecloud.properties.attack.session import Session
from aether_edgecloud.properties.attack.world import TRIO, World


class Arena:
    """Boots once; `begin` goes back there."""

    def __init__(
        self,
        world: World = TRIO,
        *,
        el2: binary.El2Binary | None = None,
        monitored: bool = True,
    ) -> None:
        self.puppets = Puppets(world, el2=el2, monitored=monitored)
        self._first = Session(world, self.puppets)
        self._snapshot = self.puppets.snapshot()

    def begin(self) -> Session:
        """A session in which nothing has happened yet."""
        self.puppets.restore(self._snapshot)
        return self._first.anew()

    def close(self) -> None:
        self.puppets.close()


@cache
def shared() -> Arena:
    """The one of all tests: booting takes longer than most of them."""
    return Arena()
