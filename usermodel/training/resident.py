"""The columns of a store on the device that trains, so that a step sends the borders of its slices and no events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import torch

from usermodel.batch import JaggedBatch, collate, units_a_second
from usermodel.encoders.encode import require_known_items
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

#: Share of a device's free memory that the columns may take.
SHARE: Final = 0.25


class Resident:
    """All events of a store in the memory of a device: 12 bytes each, and what the features take.

    Args:
        store: Is read once, whole.
        device: Where the columns go.

    Raises:
        IntegrityError: An item index is not in the store's vocabulary.
    """

    def __init__(self, store: SequenceStore, device: torch.device) -> None:
        self.items = torch.from_numpy(np.array(store.items)).to(device)
        self.times = torch.from_numpy(store.times // units_a_second(store)).to(device)
        self.features = {
            name: torch.from_numpy(np.array(store.feature(name))).to(device) for name in store.features
        }
        require_known_items(store, self.items)

    def collate(self, examples: Examples) -> JaggedBatch:
        """What `usermodel.batch.collate` makes of the same store, on the device."""
        device, offsets = self.items.device, examples.offsets
        n_events = int(offsets[-1])
        # One transfer for all: row of the first event minus its place in the batch, the users, and the borders.
        together = np.concatenate([examples.start - offsets[:-1], examples.user, offsets])
        shift, user, borders = (
            torch.from_numpy(together).to(device).tensor_split([len(examples), 2 * len(examples)])
        )
        rows = torch.repeat_interleave(shift, borders.diff(), output_size=n_events)
        rows += torch.arange(n_events, device=device)
        features = {name: column[rows] for name, column in self.features.items()}
        return JaggedBatch(self.items[rows].long(), self.times[rows], borders, features, user=user)


def reader(store: SequenceStore, device: torch.device) -> Callable[[Examples], JaggedBatch]:
    """Reads examples, with their partners and labels, into a batch on a device.

    Raises:
        IntegrityError: An item index is not in the store's vocabulary; with slices read from the store, when one is read.
    """
    slices = _slices(store, device)

    def read(examples: Examples) -> JaggedBatch:
        batch, partners = slices(examples), examples.partners()
        if partners is not None:
            batch = replace(batch, partner=slices(partners))
        if examples.label is not None:
            batch = replace(batch, label=torch.from_numpy(examples.label).to(device))
        return batch

    return read


def _slices(store: SequenceStore, device: torch.device) -> Callable[[Examples], JaggedBatch]:
    """Reads the slices of examples: from the device's own memory where the columns fit, else from the store."""
    if device.type == "cuda" and column_bytes(store) <= SHARE * torch.cuda.mem_get_info(device)[0]:
        return Resident(store, device).collate

    def read(examples: Examples) -> JaggedBatch:
        batch = collate(store, examples)
        require_known_items(store, batch.item_index)
        return batch.to(device)

    return read


def column_bytes(store: SequenceStore) -> int:
    """Memory that the columns take on a device."""
    columns = [store.items, store.times, *(store.feature(name) for name in store.features)]
    return sum(column.nbytes for column in columns)
