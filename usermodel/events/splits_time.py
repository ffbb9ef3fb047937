"""Splits in time: the same moments cut every history, so nothing that trains is later than anything that tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from pydantic import Field

from usermodel.errors import ConfigError, DataError
from usermodel.events.splits_base import Histories, Split, SplitBase, UserIds, require_times
from usermodel.schema import TimeKind


class GlobalTimeConfig(SplitBase):
    """Two cuts at the same moments for everyone: train before ``valid_from``, test from ``test_from`` on.

    Times are int64 microseconds UTC. When the cuts are not given they are the quantiles ``valid_quantile`` and
    ``test_quantile`` of the event times. A target's history is strictly earlier in time.
    """

    strict_in_time: ClassVar[bool] = True

    kind: Literal["global-time"] = "global-time"
    valid_from: int | None = None
    test_from: int | None = None
    valid_quantile: float = Field(default=0.8, gt=0, lt=1)
    test_quantile: float = Field(default=0.9, gt=0, lt=1)

    @property
    def holds_when_grown(self) -> bool:
        """Given moments stay; quantiles move with the events."""
        return self.valid_from is not None and self.test_from is not None

    def split(
        self,
        offsets: Int64[ndarray, " users+1"],
        times: ndarray,
        time_kind: TimeKind,
        user_ids: UserIds | None = None,
    ) -> Split:
        """Cut every history at the two moments.

        Raises:
            DataError: The store knows only an order, or the cuts are not in order.
        """
        del user_ids
        require_times(self.kind, time_kind)
        valid_from, test_from = self.moments(times)
        train, valid = (_rows_before(times, offsets, cut) for cut in (valid_from, test_from))
        name = f"{self.kind} {valid_from} {test_from}"
        return Split(offsets[:-1].copy(), train, valid, offsets[1:].copy(), name)

    def moments(self, times: Int64[ndarray, " events"]) -> tuple[int, int]:
        """See `SplitBase.moments`.

        Raises:
            DataError: The cuts are not in order.
        """
        given = (self.valid_from, self.test_from)
        ordered = np.sort(times) if None in given else times
        valid_from, test_from = (
            _quantile(ordered, q) if cut is None else cut
            for cut, q in zip(given, (self.valid_quantile, self.test_quantile), strict=True)
        )
        if valid_from >= test_from:
            found = f"{valid_from} and {test_from}"
            raise DataError(
                "data.split", expected="valid_from before test_from", found=found, do="Move the cuts apart."
            )
        return valid_from, test_from


class RollingConfig(SplitBase):
    """Rolling windows: several global splits, each later than the one before, to see how results hold over time.

    A fold ``(train_until, valid_until, test_until)`` trains on what is before the first moment, validates up to the
    second and tests up to the third (microseconds UTC, each end exclusive). What comes later is in no part.

    Attributes:
        folds: The windows. Empty: ``n_folds`` of them, whose cuts are quantiles of the event times.
        fold: Number of the fold that a recipe uses, from 0.
        n_folds: How many folds, when none are given.
        window: Share of the events in each validation and test window, when no folds are given; the last test window ends
            with the log.
    """

    strict_in_time: ClassVar[bool] = True

    kind: Literal["rolling"] = "rolling"
    folds: tuple[tuple[int, int, int], ...] = ()
    fold: int = Field(default=0, ge=0)
    n_folds: int = Field(default=3, ge=1)
    window: float = Field(default=0.1, gt=0, lt=1)

    @property
    def holds_when_grown(self) -> bool:
        """Given moments stay; quantiles move with the events."""
        return bool(self.folds)

    def split(
        self,
        offsets: Int64[ndarray, " users+1"],
        times: ndarray,
        time_kind: TimeKind,
        user_ids: UserIds | None = None,
    ) -> Split:
        """Cut every history by the fold ``fold``.

        Raises:
            DataError: The store knows only an order, or a fold is not in order.
            ConfigError: There is no such fold, or the windows do not fit.
        """
        del user_ids
        require_times(self.kind, time_kind)
        cuts = self.moments(times)
        train, valid, test = (_rows_before(times, offsets, cut) for cut in cuts)
        name = f"{self.kind} fold {self.fold} of {len(self.folds) or self.n_folds} " + " ".join(
            map(str, cuts)
        )
        return Split(offsets[:-1].copy(), train, valid, test, name)

    def splits(self, store: Histories) -> Iterator[Split]:
        """One split per fold, in order."""
        for number in range(len(self.folds) or self.n_folds):
            yield self.model_copy(update={"fold": number}).of(store)

    def moments(self, times: Int64[ndarray, " events"]) -> tuple[int, int, int]:
        """See `SplitBase.moments`.

        Raises:
            DataError: A fold is not in order.
            ConfigError: There is no such fold, or the windows do not fit.
        """
        folds = self.folds or self._quantiles(times)
        if self.fold >= len(folds):
            found, do = f"fold {self.fold}", "Folds are counted from 0."
            raise ConfigError("data.split.fold", expected=f"one of {len(folds)} folds", found=found, do=do)
        for cuts in folds:
            if not cuts[0] < cuts[1] < cuts[2]:
                expected = "folds with train_until before valid_until before test_until"
                do = "Move the cuts apart, or use fewer folds."
                raise DataError("data.split.folds", expected=expected, found=str(cuts), do=do)
        return folds[self.fold]

    def _quantiles(self, times: ndarray) -> tuple[tuple[int, int, int], ...]:
        """Windows of equal numbers of events at the end of the log."""
        shares = [1 - self.window * (self.n_folds + 1 - number) for number in range(self.n_folds + 1)]
        if shares[0] < 1e-9:
            found = f"{self.n_folds} folds of {self.window:g} each, which need {self.n_folds + 1} windows"
            do = "Lower data.split.n_folds or data.split.window."
            raise ConfigError(
                "data.split", expected="windows that leave something to train on", found=found, do=do
            )
        ordered = np.sort(times)
        cuts = [_quantile(ordered, share) for share in shares] + [int(ordered[-1]) + 1 if len(ordered) else 0]
        return tuple((cuts[n], cuts[n + 1], cuts[n + 2]) for n in range(self.n_folds))


def _rows_before(times: ndarray, offsets: ndarray, cut: int) -> Int64[ndarray, " users"]:
    """First row of each user at or after ``cut``."""
    before = np.r_[0, np.cumsum(times < cut)]
    rows: ndarray = offsets[:-1] + before[offsets[1:]] - before[offsets[:-1]]
    return rows


def _quantile(ordered: ndarray, q: float) -> int:
    return int(ordered[min(int(q * len(ordered) + 1e-9), len(ordered) - 1)]) if len(ordered) else 0
