"""Blocks encoded by several processes, in order, with a few of them under way."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float32, Int64
from numpy import ndarray

from usermodel import manifest
from usermodel.embeddings.blocks import How, encode_block
from usermodel.encoders import io
from usermodel.errors import UserModelError
from usermodel.store.sequence_store import SequenceStore


@dataclass(frozen=True)
class Task:
    """What a worker needs to begin: paths and hashes, never data.

    Attributes:
        encoder: Folder of the encoder.
        encoder_hash: Its identity; another one there is refused.
        store: The store, which pickles as its path and hash.
        device: Where to compute.
        allow_modules: See `UserEncoder.load`.
        threads: Threads of each process.
    """

    encoder: Path
    encoder_hash: str
    store: SequenceStore
    device: str
    allow_modules: tuple[str, ...]
    threads: int


_LOOK_UP_S: Final = 0.5
_DEAF: Final = (signal.SIG_BLOCK, {signal.SIGINT})
#: Of a worker process: its encoder and its store.
_HELD: dict[str, Any] = {}


def encode_blocks(
    task: Task, blocks: Iterable[Int64[ndarray, " block"]], how: How, processes: int
) -> Iterator[Float32[ndarray, "block dim"]]:
    """See `encode_block`; the blocks come back in order, at most two a process are under way.

    Raises:
        UserModelError: A worker ended before its time.
    """
    task.store.require_current()
    found = manifest.read(task.encoder, io.KIND).content_hash
    if found != task.encoder_hash:
        raise io.changed(task.encoder, task.encoder_hash, found)
    # Not forked: a process with threads, as torch has, cannot be copied safely.
    context = multiprocessing.get_context("spawn")
    # Closing the one end is heard at the other, in every worker.
    ear, mouth = context.Pipe(duplex=False)
    # A thread that Ctrl-C does not reach starts the workers, so that none is left half-started. They inherit that: a
    # terminal sends Ctrl-C to all, but it is the parent that ends its workers.
    with (
        ear,
        mouth,
        ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(task, ear)) as pool,
        ThreadPoolExecutor(1, initializer=signal.pthread_sigmask, initargs=_DEAF) as starter,
    ):
        waiting: deque[Future[ndarray]] = deque()
        try:
            for rows in blocks:
                waiting.append(starter.submit(pool.submit, _work, rows, how).result())
                if len(waiting) >= 2 * processes:
                    yield _result(waiting.popleft())
            while waiting:
                yield _result(waiting.popleft())
        except BrokenProcessPool:
            do = "Guard the script by if __name__ == '__main__':, look at the memory of the machine, or use one process."
            raise UserModelError(
                "embed", expected="workers that live", found="one that was ended", do=do
            ) from None
        except BaseException:
            # Nobody waits for the blocks under way any more.
            mouth.close()
            raise


def _result(future: Future[ndarray]) -> ndarray:
    """Looks up now and then: polars takes Ctrl-C in such a way that a wait goes on."""
    while not wait([future], timeout=_LOOK_UP_S).done:
        pass
    return future.result()


def _begin(task: Task, ear: Connection) -> None:
    threading.Thread(target=_end_with_parent, args=(ear,), daemon=True).start()
    torch.set_num_threads(task.threads)
    saved = io.load(task.encoder, device=task.device, allow_modules=task.allow_modules)
    if saved.content_hash != task.encoder_hash:
        raise io.changed(task.encoder, task.encoder_hash, saved.content_hash)
    _HELD.update(module=saved.module, store=task.store)


def _end_with_parent(ear: Connection) -> None:
    """At once, whether the parent says so or is killed: whoever kills it does not know of its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel, ear])
        os._exit(1)


def _work(rows: Int64[ndarray, " block"], how: How) -> Float32[ndarray, "block dim"]:
    return encode_block(_HELD["module"], _HELD["store"], rows, how)
