"""Splits: which events train, which validate, which test. This is the door; one file beside it per family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from usermodel.config import Config, validate
from usermodel.events.splits_base import PARTS, FittedOn, Histories, Split, SplitBase, UserIds, split_hash
from usermodel.events.splits_held_out import UserSplitConfig
from usermodel.events.splits_time import GlobalTimeConfig, RollingConfig
from usermodel.events.splits_user import LeaveLastOutConfig, UserRatioConfig

__all__ = [
    "PARTS",
    "FittedOn",
    "GlobalTimeConfig",
    "Histories",
    "LeaveLastOutConfig",
    "RollingConfig",
    "Split",
    "SplitBase",
    "SplitConfig",
    "UserIds",
    "UserRatioConfig",
    "UserSplitConfig",
    "split_config",
    "split_hash",
]


def _from_name(value: object) -> object:
    """``--set data.split=global-time`` means that split with its defaults."""
    return {"kind": value} if isinstance(value, str) else value


SplitConfig = Annotated[
    LeaveLastOutConfig | GlobalTimeConfig | UserRatioConfig | UserSplitConfig | RollingConfig,
    Field(discriminator="kind"),
    BeforeValidator(_from_name),
]


class _Named(Config):
    split: SplitConfig


def split_config(value: str | Mapping[str, Any]) -> SplitConfig:
    """The configuration behind a name (``global-time``: its defaults) or behind keys with their ``kind``.

    Raises:
        ConfigError: No such split (the nearest is named), or keys that do not fit.
    """
    return validate(_Named, {"split": value}).split
