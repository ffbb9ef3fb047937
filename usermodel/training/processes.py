"""The processes that train one run together: starting them, adding up what they found, noticing when one is gone.

On one machine rank 0 starts the others, each with a command line of its own (`worker`), so a script or a notebook that
calls `pretrain` is not run a second time. Under torchrun the processes are there already, on one host or several.

Every process holds all weights and takes the same steps. Gradients are added up here and not by DistributedDataParallel:
a rank may have no target in a step, a weight no gradient, and losses are means over targets, so equal weights for ranks
would be wrong. An objective whose loss looks across users needs the vectors of other ranks too; `Team.sum` is
where such a gather belongs.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, TCPStore
from torch.distributed.rendezvous import rendezvous

from usermodel.errors import ConfigError, LostProcessError, NumericError
from usermodel.training.heartbeat import Heartbeat
from usermodel.training.place import HOST, Place, environment, place_under_torchrun, torchrun
from usermodel.training.recipe import TrainingConfig
from usermodel.training.row_gradients import sum_rows

#: Gradients above this size are added up where they are, smaller ones in one buffer.
LARGE: Final = 1 << 18
#: Seconds that a process may take to start, beside ``timeout_s``: on a busy machine loading torch alone takes a minute.
START_S: Final = 300.0


class Team:
    """The processes of a run, seen from one of them; a run of one process is a team of one.

    Args:
        config: ``devices`` and ``timeout_s``. Under torchrun its environment decides the number of processes.
        place: Of a process that rank 0 started; None for rank 0 itself, and under torchrun.

    Raises:
        ConfigError: More processes asked for than torchrun started, or than there are devices.
    """

    def __init__(self, config: TrainingConfig, place: Place | None = None) -> None:
        self.timeout = timedelta(seconds=config.timeout_s)
        self.elastic = place is None and torchrun()
        self.place = place_under_torchrun(config) if self.elastic else place or Place(0, config.devices, 0)
        self.rank, self.world = self.place.rank, self.place.world
        self.fabric = self._fabric()
        self.children: list[subprocess.Popen[bytes]] = []
        self.store: Any = None
        self.heartbeat: Heartbeat | None = None

    def _fabric(self) -> Fabric:
        if self.world == 1:
            # Named, so that what torchrun left in the environment does not matter.
            return Fabric(
                accelerator="auto", devices=1, precision="32-true", plugins=[LightningEnvironment()]
            )
        local = int(os.environ["LOCAL_WORLD_SIZE"]) if self.elastic else self.world
        found = torch.cuda.device_count() if torch.cuda.is_available() else local
        if found < local:
            do = f"Set training.devices={found}."
            raise ConfigError("training.devices", expected=f"at most {found}", found=f"{local}", do=do)
        strategy = DDPStrategy(cluster_environment=environment(self.place), timeout=self.timeout)
        nodes = self.world // local
        return Fabric(
            accelerator="auto", devices=local, num_nodes=nodes, strategy=strategy, precision="32-true"
        )

    @staticmethod
    def rank_in_environment() -> int:
        """Rank of this process if torchrun started it, otherwise 0."""
        return int(os.environ["RANK"]) if torchrun() else 0

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the one that reports and writes."""
        return self.rank == 0

    @contextlib.contextmanager
    def together(self, words: Sequence[str]) -> Iterator[None]:
        """Start the other processes where rank 0 has to, and connect all; on the way out, part.

        Args:
            words: Arguments of the workers, before their `Place`.

        Raises:
            LostProcessError: A process ended, or hung, before all were connected.
        """
        if self.world == 1:
            yield
            return
        variables, threads = dict(os.environ), torch.get_num_threads()
        try:
            self._connect(words)
            yield
        except BaseException as error:
            # Processes that stop for the same reason end by themselves; others may hang.
            self._part(5.0 if hasattr(error, "exit_code") and error.exit_code == 7 else 0.0)
            raise
        else:
            self._part(self.timeout.total_seconds())
        finally:
            for name in os.environ.keys() - variables.keys():
                del os.environ[name]
            torch.set_num_threads(threads)

    def _connect(self, words: Sequence[str]) -> None:
        if self.elastic:
            self.store, *_ = next(rendezvous("env://", timeout=self.timeout))
        else:
            port, main = self.place.port, self.is_main
            self.store = TCPStore(HOST, port, None, main, self.timeout, wait_for_workers=False)
            if main:
                self._start(words, self.store.port)
        self.store.add("here", 1)
        until = time.monotonic() + self.timeout.total_seconds() + START_S
        while (here := self.store.add("here", 0)) < self.world:
            self._require_children()
            if time.monotonic() > until:
                raise self._lost(f"only {here} connected", range(1, self.world))
            time.sleep(0.02)
        self.heartbeat = Heartbeat(self.store, self.rank, self.world, answers=[] if self.elastic else [0])
        backend = "nccl" if self.fabric.device.type == "cuda" else "gloo"
        store = PrefixStore("group", self.store)
        with self._watched():
            dist.init_process_group(
                backend, store=store, rank=self.rank, world_size=self.world, timeout=self.timeout
            )
        self.fabric.launch()

    def _start(self, words: Sequence[str], port: int) -> None:
        variables = os.environ | {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
        for rank in range(1, self.world):
            command = [sys.executable, "-m", "usermodel.training.worker", *words]
            place = json.dumps([rank, self.world, port])
            child = subprocess.Popen([*command, place], env=variables, stdin=subprocess.DEVNULL)
            self.children.append(child)

    def _require_children(self) -> None:
        for rank, child in enumerate(self.children, 1):
            if child.poll() is not None:
                raise self._lost(f"process {rank} ended with code {child.returncode} before it was connected")

    def _part(self, patience_s: float) -> None:
        """Leave the group; workers that have not ended after ``patience_s`` are killed, so that none is left behind."""
        until = time.monotonic() + patience_s
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(until - time.monotonic(), 0.0))
            child.kill()
            child.wait()
        if self.heartbeat is not None:
            self.heartbeat.stop()
        if dist.is_initialized():
            dist.destroy_process_group()
        self.children, self.store = [], None

    def sum(self, values: Tensor) -> Tensor:
        """Add up a tensor over all ranks, in place; all get the same bits."""
        if self.world > 1:
            with self._watched():
                dist.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up the gradients of all ranks; a weight that has none on any rank keeps none, a sparse one stays sparse."""
        if self.world == 1:
            return
        learn = [weight for weight in parameters if weight.requires_grad]
        kinds = [[w.grad is not None, w.grad is not None and w.grad.is_sparse] for w in learn]
        has = self.sum(torch.tensor(kinds, dtype=torch.float32, device=self.fabric.device))
        grads = []
        for weight, (count, sparse) in zip(learn, has.tolist(), strict=True):
            if sparse:
                sum_rows(weight, self.sum, self.rank, self.world)
            elif count:
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
                grads.append(weight.grad)
        small = [grad for grad in grads if grad.numel() <= LARGE]
        for grad in grads:
            if grad.numel() > LARGE:
                self.sum(grad)
        if small:
            flat = self.sum(torch.cat([grad.reshape(-1) for grad in small]))
            parts = torch.split(flat, [grad.numel() for grad in small])
            torch._foreach_copy_(small, [p.view_as(g) for p, g in zip(parts, small, strict=True)])

    def share(self, value: Any, source: int = 0) -> Any:
        """Plain data (JSON) of rank 0, or of another one, at every rank."""
        if self.world == 1:
            return value
        text = json.dumps(value).encode() if self.rank == source else b""
        size = self.sum(torch.tensor([len(text)], device=self.fabric.device))
        letters = torch.zeros(int(size), dtype=torch.uint8, device=self.fabric.device)
        if self.rank == source:
            letters.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        with self._watched():
            dist.broadcast(letters, source)
        return json.loads(bytes(letters.tolist()))

    def raise_together(self, error: NumericError | None) -> None:
        """Raise at every rank the error of the first rank that has one: those without would wait for it in vain."""
        failed = torch.zeros(self.world, device=self.fabric.device)
        failed[self.rank] = error is not None
        ranks = self.sum(failed).nonzero().flatten().tolist()
        if ranks:
            parts = error and [error.where, error.expected, error.found, error.do]
            where, expected, found, do = self.share(parts, ranks[0])
            raise NumericError(where, expected=expected, found=found, do=do)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Failures of a collective become an error that names who is gone."""
        try:
            yield
        except RuntimeError as error:
            lost = self.heartbeat.silent_ranks() if self.heartbeat else []
            names = ", ".join(map(str, lost))
            found = f"process {names} gone or not answering" if lost else f"{error!s:.200}"
            raise self._lost(found, lost) from None

    def _lost(self, found: str, ranks: Iterable[int] = ()) -> LostProcessError:
        # A process that hangs does not end by itself, and nobody should wait for it.
        for child in (self.children[rank - 1] for rank in ranks if rank and self.children):
            child.kill()
        do = "The last checkpoint is intact; continue with --resume."
        return LostProcessError("pretrain", expected=f"{self.world} processes", found=found, do=do)
