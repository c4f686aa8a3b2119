# SPDX-License-Identifier: Apache-2.0
"""What an adversary may do in a run, as the user says it and as recordings keep it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aether_edgecloud.emulator.errors import UserError

if TYPE_CHECKING:
    from aether_edgecloud.emulator.machine import Machine

RATES = 256
_USUAL_RATE = 128
_PARTS = ("tlb", "caches", "invalidated")
_FIX = "say for example tlb,caches,seed=7 or tlb,rate=256"


@dataclass(frozen=True, slots=True)
class Plan:
    """Which adversaries take part. A run with it is a function of it too.

    `rate`: how many of 256 choices go against the program; 256 is the worst hardware, 0 the
    kindest that the same model makes. `seed` says which.
    """

    tlb: bool = False
    """TLBs and walk caches keep what no maintenance has removed (`tlb.py`)."""
    caches: bool = False
    """Memory and the data cache are told apart; RAM is poisoned at reset (`caches.py`)."""
    invalidated: bool = False
    """With caches: firmware has not only cleaned what it loaded, but invalidated it too."""
    seed: int = 0
    rate: int = _USUAL_RATE

    def attach(self, machine: "Machine") -> None:
        """Make a machine at reset as unkind as that. UserError if it cannot be."""
        from aether_edgecloud.emulator.adversary import attach  # it needs the machine

        attach.attach(self, machine)

    def __str__(self) -> str:
        parts = [part for part in _PARTS if getattr(self, part)]
        return ",".join([*parts, f"seed={self.seed}", f"rate={self.rate}"])


def _with(plan: Plan, part: str) -> Plan:
    match part:
        case "tlb":
            return replace(plan, tlb=True)
        case "caches":
            return replace(plan, caches=True)
        case _:
            return replace(plan, invalidated=True)


def parse(text: str, where: str = "--adversary") -> Plan:
    """The plan of a text like "tlb,caches,seed=3,rate=256". UserError if it is none."""
    plan = Plan()
    for word in text.split(","):
        name, is_number, value = word.strip().partition("=")
        if name in _PARTS and not is_number:
            plan = _with(plan, name)
        elif name == "seed" and value.isdecimal() and len(value) < 20:
            plan = replace(plan, seed=int(value))
        elif name == "rate" and value.isdecimal() and len(value) < 4 and int(value) <= RATES:
            plan = replace(plan, rate=int(value))
        else:
            raise UserError(f"{word.strip()!r} is no part of an adversary", where=where, fix=_FIX)
    if not (plan.tlb or plan.caches):
        raise UserError(f"{text!r} names no adversary", where=where, fix=_FIX)
    if plan.invalidated and not plan.caches:
        raise UserError("invalidated says something of caches only", where=where, fix=_FIX)
    return plan
