"""What encoders read: histories of users as columns, in a folder or in memory."""

from __future__ import annotations

from usermodel.store.memory import MemorySequences
from usermodel.store.sequence_store import SequenceStore

#: Both have ``n_users n_items offsets items times time_kind features feature() event_types users unknown() path``: row
#: ``offsets[u]`` to ``offsets[u + 1]`` are the events of user ``u``, oldest first, and item indices begin at 1.
Sequences = SequenceStore | MemorySequences
