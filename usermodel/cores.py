"""Independent pieces of work on the cores of a processor: a thread each, with operations of one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def on_cores(
    work: Callable[[T], None], pieces: Sequence[T], on_done: Callable[[T], None] | None = None
) -> None:
    """Do ``work`` on each piece, as many at once as PyTorch has threads here.

    Two small operations side by side take about as long as one; two threads on one small operation gain little. And since
    each operation runs on one thread, its result is the same bits however many threads there are. PyTorch's setting is
    left as it was. What is set per thread, such as inference mode, is for ``work`` to set.

    Args:
        work: Called from several threads; keeps its result itself.
        pieces: Begun in this order.
        on_done: Called in this thread, in the order of ``pieces``.

    Raises:
        BaseException: What the first failed piece, in their order, or ``on_done`` raised; pieces not begun are dropped.
    """
    threads = torch.get_num_threads()
    n = min(threads, len(pieces))
    if not n:
        return
    with ThreadPoolExecutor(n) as pool:
        _one_thread_each(pool, n, threads)
        futures = [pool.submit(work, piece) for piece in pieces]
        try:
            for piece, future in zip(pieces, futures, strict=True):
                future.result()
                if on_done is not None:
                    on_done(piece)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _one_thread_each(pool: ThreadPoolExecutor, n: int, threads: int) -> None:
    """Let operations of the pool's threads run on themselves alone; those of others go on as before."""
    all_here = threading.Barrier(n)

    def begin() -> None:
        # None ends before all have begun, so that each runs in a thread of its own.
        all_here.wait()
        torch.set_num_threads(1)
        # A thread reads the common setting when it first asks for it: now, before that is set back.
        torch.get_num_threads()

    try:
        for begun in [pool.submit(begin) for _ in range(n)]:
            begun.result()
    except BaseException:
        all_here.abort()
        raise
    finally:
        torch.set_num_threads(threads)
