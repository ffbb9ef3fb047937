"""Behaviour logs in, one reusable vector per user out.

The road: `read_events` -> `build_store` -> `pretrain` -> `UserEncoder` -> `ItemIndex`, scored by `evaluate`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from usermodel.version import VERSION

if TYPE_CHECKING:
    from usermodel import recipes as recipes
    from usermodel.benchmark.evaluate import evaluate as evaluate
    from usermodel.embedding_table import EmbeddingTable as EmbeddingTable
    from usermodel.embeddings.user_encoder import UserEncoder as UserEncoder
    from usermodel.errors import UserModelError as UserModelError
    from usermodel.events.event_log import EventLog as EventLog
    from usermodel.events.readers import read_events as read_events
    from usermodel.events.simulate import simulate as simulate
    from usermodel.retrieval.item_index import ItemIndex as ItemIndex
    from usermodel.retrieval.user_index import UserIndex as UserIndex
    from usermodel.store.build import build_store as build_store
    from usermodel.store.sequence_store import SequenceStore as SequenceStore
    from usermodel.training.pretrain import pretrain as pretrain
    from usermodel.training.recipe import Recipe as Recipe
    from usermodel.training.run import Run as Run

__version__ = VERSION

#: Public name -> module; loaded on first use, because torch alone takes a second to import.
_PUBLIC = {
    "EmbeddingTable": "embedding_table",
    "EventLog": "events.event_log",
    "ItemIndex": "retrieval.item_index",
    "Recipe": "training.recipe",
    "Run": "training.run",
    "SequenceStore": "store.sequence_store",
    "UserEncoder": "embeddings.user_encoder",
    "UserIndex": "retrieval.user_index",
    "UserModelError": "errors",
    "build_store": "store.build",
    "evaluate": "benchmark.evaluate",
    "pretrain": "training.pretrain",
    "read_events": "events.readers",
    "recipes": "",
    "simulate": "events.simulate",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'usermodel' has no attribute {name!r}")
    module = import_module(f"usermodel.{_PUBLIC[name] or name}")
    return getattr(module, name) if _PUBLIC[name] else module


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
