"""Which process is gone: a broken or silent connection does not say whose end failed.

Each process counts up in the store through which the group was formed. When a collective fails, the survivors compare
the counts: those of a process that was killed, or stopped, stand still.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import Any, Final

#: Seconds between signs of life, and how long a rank may go without one before survivors call it lost.
BEAT_S: Final = 0.25
SILENCE_S: Final = 2.0


class Heartbeat:
    """Signs of life of this process, from now until `stop`.

    Args:
        store: Where the group met (a torch.distributed store).
        rank: Of this process.
        world: Number of processes.
        answers: Ranks that are lost when the store itself does not answer: the one that holds it.
    """

    def __init__(self, store: Any, rank: int, world: int, *, answers: list[int]) -> None:
        self.store, self.rank, self.world, self.answers = store, rank, world, answers
        self._ended = threading.Event()
        # A connection of its own: that of the main thread may be waiting.
        threading.Thread(target=self._beat, args=(store.clone(),), daemon=True).start()

    def stop(self) -> None:
        """No further signs."""
        self._ended.set()

    def _beat(self, store: Any) -> None:
        with contextlib.suppress(RuntimeError):
            store.add(f"alive/{self.rank}", 1)
            while not self._ended.wait(BEAT_S):
                store.add(f"alive/{self.rank}", 1)

    def silent_ranks(self) -> list[int]:
        """Ranks whose count stands still; all survivors get the same answer. Takes half a second more than `SILENCE_S` at most."""
        found: list[list[int]] = []
        # A stopped holder of the store does not answer at all, and there is no way to interrupt the question.
        asking = threading.Thread(target=lambda: found.append(self._compare()), daemon=True)
        asking.start()
        asking.join(SILENCE_S + 0.5)
        return found[0] if found else self.answers

    def _compare(self) -> list[int]:
        try:
            store = self.store.clone()
            before = [store.add(f"alive/{rank}", 0) for rank in range(self.world)]
            until = time.monotonic() + SILENCE_S
            # Whoever finds out first ends first; the others must not take it for the one that was lost.
            while time.monotonic() < until and not store.check(["lost"]):
                time.sleep(0.1)
            if store.check(["lost"]):
                return [int(rank) for rank in json.loads(store.get("lost"))]
            lost = [rank for rank, count in enumerate(before) if store.add(f"alive/{rank}", 0) == count]
            store.set("lost", json.dumps(lost))
            time.sleep(0.3)
        except RuntimeError:
            return self.answers
        return lost
