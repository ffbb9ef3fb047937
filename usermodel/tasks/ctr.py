"""CTR: will the user click what is shown, given a frozen vector of what they did before?"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from numpy import ndarray
from torch.nn.functional import binary_cross_entropy_with_logits

from usermodel.errors import ConfigError, DataError
from usermodel.events.splits import GlobalTimeConfig, Split, SplitConfig
from usermodel.heads.ctr import CtrConfig, CtrModel
from usermodel.heads.deepfm import DeepfmConfig
from usermodel.heads.row_inputs import RowBatch
from usermodel.metrics.calibration import Calibration, fit_calibration
from usermodel.metrics.classification import auc
from usermodel.metrics.ctr import DEFINITIONS, measure, n_one_class
from usermodel.sampling.protocol import Examples
from usermodel.schema import CLICKED, EVENT_TYPE, SplitName
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.protocol import TaskCard, TaskResult
from usermodel.tasks.row_features import RowFeatures
from usermodel.tasks.row_training import fit_on, guesses, require_vectors
from usermodel.tasks.rows import Rows, event_rows, impression_rows
from usermodel.training.epochs import EpochReport
from usermodel.training.fit_rows import FitRowsConfig

CARD: Final = TaskCard("ctr", "Will the user click what is shown?", "auc")
_LABEL: Final = re.compile(r"(\w+)\s*(>=|=)\s*(.+)")


@dataclass(frozen=True)
class Ctr:
    """A CTR head on what is known of each row before its outcome, trained on the training part and scored on the test part.

    Attributes:
        model: The head.
        fit: How it is trained; the validation part decides which epoch stays, by AUC.
        label: ``clicked``: rows are the impressions of the store. ``COLUMN>=NUMBER`` or ``COLUMN=VALUE``: rows are its events, such as
            ``rating>=4`` or ``event_type=like``.
        split: What trains and what tests; a `Split`, or the configuration of one.
        features: What is known of a row beside the user's vector, see `usermodel.tasks.row_features`.
        max_history: Events before a row that heads which look at histories may read.
        calibration: Fitted on the validation part, of log-odds: ``none``, ``platt`` or ``isotonic``.
        train_share: Share of the training rows that are used, drawn with the seed of ``fit``; for curves over the number of labels.
    """

    model: CtrConfig = field(default_factory=DeepfmConfig)
    fit: FitRowsConfig = field(default_factory=FitRowsConfig)
    label: str = CLICKED
    split: SplitConfig | Split = field(default_factory=GlobalTimeConfig)
    features: tuple[str, ...] = ("user_id", "item_id")
    max_history: int = 20
    calibration: Literal["none", "platt", "isotonic"] = "none"
    train_share: float = 1.0
    card: TaskCard = CARD

    def __post_init__(self) -> None:
        if not 0 < self.train_share <= 1:
            do = "Choose a share such as 0.1."
            raise ConfigError(
                "train_share", expected="above 0, at most 1", found=f"{self.train_share}", do=do
            )

    def rows(self, store: SequenceStore) -> tuple[Rows, Bool[ndarray, " rows"]]:
        """What is trained on and scored, with its labels.

        Raises:
            DataError: The store has no such rows, or a part has none.
            ConfigError: A label that says nothing.
        """
        if self.label == CLICKED:
            return impression_rows(store, self.split)
        known, positive = _flags(store, self.label)
        split = self.split if isinstance(self.split, Split) else store.split(self.split)
        rows = event_rows(store, split, known)
        return rows, positive[rows.place]

    def requests(self, store: SequenceStore, max_history: int, n_items: int | None = None) -> Examples:
        """The history before each row, whose vector `score` takes."""
        return self.rows(store)[0].examples(store, max_history, n_items)

    def score(
        self,
        vectors: Float32[ndarray, "rows dim"] | None,
        store: SequenceStore,
        *,
        part: SplitName = "test",
        on_epoch: Callable[[EpochReport], None] | None = None,
    ) -> list[TaskResult]:
        """Train, and one row per metric, with 95 % intervals over users.

        Args:
            vectors: User vector of each row of `requests`; None for none.
            store: Holds the rows.
            part: Which rows are scored.
            on_epoch: Told after each epoch.

        Raises:
            DataError: Labels of one kind only in a part; another number of vectors than rows; see `rows`.
            NumericError: A vector or guess that is not finite.
        """
        rows, clicked = self.rows(store)
        require_vectors(vectors, rows)
        train, scored = self._drawn(rows), rows.of(part)
        for name, at in (("train", train), (part, scored)):
            _require_both(clicked[at], f"{store.path}, {name} part")
        features = RowFeatures(self.features, max_history=self.max_history).fit(store, rows, train)
        batch = features.batch(store, rows, vectors)
        model = self._trained(features, batch, (train, rows.of("valid")), clicked, on_epoch)
        z = _log_odds(model, batch, scored)
        probability = self._calibrated(model, batch, rows, clicked).probability(z)
        size = sum(weight.numel() for weight in model.parameters())
        card = f"{self._card(vectors, int(clicked[train].sum()), len(train))}; {size:,} parameters"
        return _results(probability, clicked[scored], rows.user[scored], card)

    def _drawn(self, rows: Rows) -> ndarray:
        """The training rows, or a share of them."""
        train = rows.of("train")
        n = max(1, round(self.train_share * len(train)))
        drawn = np.random.default_rng(self.fit.seed).permutation(len(train))[:n]
        return train if n == len(train) else train[np.sort(drawn)]

    def _trained(
        self,
        features: RowFeatures,
        batch: RowBatch,
        parts: tuple[ndarray, ndarray],
        clicked: Bool[ndarray, " rows"],
        on_epoch: Callable[[EpochReport], None] | None,
    ) -> CtrModel:
        train, valid = parts
        torch.manual_seed(self.fit.seed)
        model = self.model.build(features.shape(batch.vectors.shape[1]))
        y = torch.from_numpy(clicked).float()

        def loss(at: torch.Tensor) -> torch.Tensor:
            return binary_cross_entropy_with_logits(model(batch.take(at)), y[at])

        def validate() -> float:
            z = _log_odds(model, batch, valid)
            return auc(np.column_stack([-z, z]), clicked[valid].astype(np.int64)).value

        both = len(valid) and 0 < clicked[valid].sum() < len(valid)
        fit_on(model, loss, train, self.fit, validate=validate if both else None, on_epoch=on_epoch)
        return model

    def _calibrated(
        self, model: CtrModel, batch: RowBatch, rows: Rows, clicked: Bool[ndarray, " rows"]
    ) -> Calibration:
        valid = rows.of("valid")
        if self.calibration != "none":
            _require_both(clicked[valid], "calibration: valid part")
        z = _log_odds(model, batch, valid) if self.calibration != "none" else np.zeros(0)
        return fit_calibration(self.calibration, z, clicked[valid])

    def _card(self, vectors: ndarray | None, clicks: int, n: int) -> str:
        known = ", ".join(self.features) + ("" if vectors is None else ", user vector before the row")
        head = type(self.model).__name__.removesuffix("Config")
        calibrated = (
            "" if self.calibration == "none" else f", calibrated: {self.calibration} on the valid part"
        )
        return f"label: {self.label}; {head} on {known}{calibrated}; {n:,} training rows, {clicks:,} of them positive"


def _log_odds(model: CtrModel, batch: RowBatch, at: ndarray) -> Float64[ndarray, " at"]:
    return guesses(model, lambda rows: model(batch.take(rows)), at)


def _flags(store: SequenceStore, label: str) -> tuple[Bool[ndarray, " events"], Bool[ndarray, " events"]]:
    """Events whose label is known, and those that are positive."""
    found = _LABEL.fullmatch(label.strip())
    if found is None:
        do = "Write clicked, rating>=4 or event_type=like."
        raise ConfigError(
            "label", expected="clicked, COLUMN>=NUMBER or COLUMN=VALUE", found=repr(label), do=do
        )
    name, relation, text = found.groups()
    values = np.asarray(store.feature(name))
    if name == EVENT_TYPE or (name in store.context and values.dtype.kind != "f"):
        names = store.categories(name).ids.cast(str).to_list()
        if relation != "=" or text not in names:
            do = "Name one of them."
            raise ConfigError(
                "label", expected=f"{name}= one of {', '.join(names)}", found=repr(label), do=do
            )
        return values > 0, values == names.index(text) + 1
    try:
        number = float(text)
    except ValueError:
        raise ConfigError(
            "label", expected=f"{name}>=NUMBER", found=repr(label), do="Write a number."
        ) from None
    known = np.isfinite(values) if values.dtype.kind == "f" else values >= 0
    return known, (operator.ge if relation == ">=" else operator.eq)(values, number) & known


def _require_both(clicked: Bool[ndarray, " rows"], where: str) -> None:
    if not 0 < clicked.sum() < len(clicked):
        found = f"{int(clicked.sum()):,} of {len(clicked):,} rows positive"
        do = "Use another split, more rows, or another label."
        raise DataError(where, expected="rows of both labels", found=found, do=do)


def _results(
    probability: Float64[ndarray, " n"], clicked: Bool[ndarray, " n"], user: ndarray, card: str
) -> list[TaskResult]:
    interval = "95 % interval over users: normal approximation (delta method)"
    results = []
    for name, one in measure(probability, clicked, user).items():
        low, high = one.interval(user)
        definition = f"{DEFINITIONS[name]}; {card}; {interval}"
        if name == "gauc":
            definition = f"{definition}; {n_one_class(clicked, user):,} users left out"
        results.append(TaskResult(name, one.value, len(clicked), low, high, definition))
    share = "share of positive rows; what a constant would have to say"
    results.append(TaskResult("positive_share", float(clicked.mean()), len(clicked), None, None, share))
    return results
