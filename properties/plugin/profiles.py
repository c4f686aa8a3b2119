# SPDX-License-Identifier: Apache-2.0
"""The Hypothesis profiles, and what they do to a suite.

`pr` gives one verdict for one state of the code. `nightly` looks further, from a seed of its own
each time; it does so by `@seed`, since --hypothesis-seed would also switch off the database in
which the examples are kept that have failed before.
"""

import inspect
import random
from typing import Any

import pytest
from hypothesis import is_hypothesis_test, seed, settings

SEED = pytest.StashKey[int]()
_SETTINGS = "_hypothesis_internal_use_settings"
_SEED_OPTION = "aether_example_seed"
"""Among the options, since these are what pytest-xdist hands to its workers."""


def load(name: str, config: pytest.Config) -> None:
    """Registers both profiles and makes `name` the one in use."""
    # Not derived from what is loaded now: with CI set that is a profile of Hypothesis's own.
    base = settings.get_profile("default")
    settings.register_profile("pr", base, deadline=None, print_blob=True, derandomize=True)
    settings.register_profile(
        "nightly",
        base,
        deadline=None,
        print_blob=True,
        max_examples=1000,
        stateful_step_count=100,
    )
    settings.load_profile(name)
    if name == "nightly" and config.getoption("--hypothesis-seed", default=None) is None:
        number = getattr(config.option, _SEED_OPTION, None)
        if number is None:
            number = random.SystemRandom().getrandbits(32)
            setattr(config.option, _SEED_OPTION, number)
        config.stash[SEED] = number


def select(name: str, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what only `nightly` runs, and gives every property the run's seed."""
    number = config.stash.get(SEED, None)
    if number is not None:
        for item in items:
            _seed(item, number)
    if name == "nightly" or "nightly" in config.getoption("-m", default=""):
        return
    slow = [item for item in items if item.get_closest_marker("nightly")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def lift_deadlines(items: list[pytest.Item]) -> None:
    """Hypothesis's own 200 ms for an example count the boot of the machine, and what it does after
    takes as long as it takes. A deadline that somebody has chosen stays."""
    usual = settings.get_profile("default").deadline
    for item in items:
        found = property_of(item)
        if found is None or inspect.isclass(found):  # a state machine has none
            continue
        own = getattr(found, _SETTINGS, None) or settings()
        if own.deadline == usual:
            setattr(found, _SETTINGS, settings(own, deadline=None))


def property_of(item: pytest.Item) -> Any:
    """What Hypothesis's decorators apply to: a function, the class of a state machine, or None."""
    function = getattr(item, "obj", None)
    if function is None or not is_hypothesis_test(function):
        return None
    function = getattr(function, "__func__", function)
    return getattr(function, "_hypothesis_state_machine_class", function)


def seed_of(item: pytest.Item) -> int | None:
    """The seed from which an item's examples came, where --hypothesis-seed would give them
    again."""
    found = property_of(item)
    number = getattr(found, "_hypothesis_internal_use_seed", None)
    if number is None:
        number = getattr(found, "_hypothesis_internal_use_generated_seed", None)
    return number if isinstance(number, int) else None


def _seed(item: pytest.Item, number: int) -> None:
    """Unless it has one, or wants the same examples each time."""
    found = property_of(item)
    if found is None or getattr(found, "_hypothesis_internal_use_seed", None) is not None:
        return
    if not is_derandomized(item):
        seed(number)(found)


def is_derandomized(item: pytest.Item) -> bool:
    """Whether an item's examples are the same each time, by its settings or by the profile."""
    found = property_of(item)
    own = getattr(getattr(found, "TestCase", None), "settings", None)
    own = own or getattr(found, _SETTINGS, None) or settings()
    return bool(own.derandomize)
