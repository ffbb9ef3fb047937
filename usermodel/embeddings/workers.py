"""Blocks encoded by several processes, in order, with a few of them under way."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(task,)) as pool:
        waiting: deque[Future[ndarray]] = deque()
        try:
            for rows in blocks:
                waiting.append(pool.submit(_work, rows, how))
                if len(waiting) >= 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            do = "Guard the script by if __name__ == '__main__':, look at the memory of the machine, or use one process."
            raise UserModelError(
                "embed", expected="workers that live", found="one that was ended", do=do
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin(task: Task) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(task.threads)
    saved = io.load(task.encoder, device=task.device, allow_modules=task.allow_modules)
    if saved.content_hash != task.encoder_hash:
        raise io.changed(task.encoder, task.encoder_hash, saved.content_hash)
    _HELD.update(module=saved.module, store=task.store)


def _end_with_parent() -> None:
    """Whoever kills the parent does not know of its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _work(rows: Int64[ndarray, " block"], how: How) -> Float32[ndarray, "block dim"]:
    return encode_block(_HELD["module"], _HELD["store"], rows, how)
