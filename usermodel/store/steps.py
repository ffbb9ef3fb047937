"""The steps of a build, told to whoever watches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

#: ``(steps done, steps in all, name of the step that begins)``; at the end the first two are equal and the name is empty.
OnStep = Callable[[int, int, str], None]
CODE_USERS: Final = "numbering users"
CODE_ITEMS: Final = "numbering items"
K_CORE: Final = "k-core"
BY_USER: Final = "grouping by user"
BY_TIME: Final = "ordering by time"
SIDE_TABLES: Final = "side tables"
SEAL: Final = "hashing and flushing"


def column(name: str) -> str:
    """The step that writes a column or a vocabulary."""
    return f"writing {name}"


class Steps:
    """Which step has begun, of all that there are.

    Args:
        names: The steps in order.
        watch: Told of each; None for nobody.
    """

    def __init__(self, names: Sequence[str] = (), watch: OnStep | None = None) -> None:
        self.names, self.watch = list(names), watch

    def begin(self, name: str) -> None:
        """A step begins, so those before it are done."""
        if self.watch is not None:
            self.watch(self.names.index(name), len(self.names), name)

    def end(self) -> None:
        """All is done."""
        if self.watch is not None:
            self.watch(len(self.names), len(self.names), "")


def steps_of_a_build(features: Sequence[str], *, tables: bool, watch: OnStep | None) -> Steps:
    """The steps of `build.build_store`."""
    written = ["offsets", "items", "times", *features, "vocabulary", "users"]
    names = [CODE_USERS, CODE_ITEMS, K_CORE, BY_USER, BY_TIME, *map(column, written)]
    return Steps([*names, *([SIDE_TABLES] if tables else []), SEAL], watch)
