"""Where a process stands among those that train one run, whether rank 0 or torchrun started it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment

from usermodel.errors import ConfigError
from usermodel.training.recipe import TrainingConfig

HOST: Final = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Where a process stands: its rank, the number of processes, and the port at which rank 0 listens."""

    rank: int
    world: int
    port: int


class _Environment(ClusterEnvironment):
    """Tells Fabric that the processes exist, and which one this is."""

    def __init__(self, place: Place) -> None:
        self.place = place

    creates_processes_externally = True
    main_address = HOST

    @property
    def main_port(self) -> int:
        return self.place.port

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.place.world

    def set_world_size(self, size: int) -> None:
        assert size == self.place.world, "hosts with different numbers of processes"

    def global_rank(self) -> int:
        return self.place.rank

    def set_global_rank(self, rank: int) -> None:
        assert rank == self.place.rank, "ranks that are not in the order of hosts"

    def local_rank(self) -> int:
        return int(os.environ.get("LOCAL_RANK", str(self.place.rank)))

    def node_rank(self) -> int:
        return int(os.environ.get("GROUP_RANK", "0"))


def environment(place: Place) -> ClusterEnvironment:
    """What Fabric asks for."""
    return _Environment(place)


def torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def place_under_torchrun(config: TrainingConfig) -> Place:
    """What torchrun left in the environment.

    Raises:
        ConfigError: ``devices`` names another number of processes.
    """
    world = int(os.environ["WORLD_SIZE"])
    if config.devices not in {1, world}:
        do = "Leave training.devices out: torchrun decides."
        expected = f"the {world} processes that torchrun started"
        raise ConfigError("training.devices", expected=expected, found=f"{config.devices}", do=do)
    return Place(int(os.environ["RANK"]), world, int(os.environ["MASTER_PORT"]))
