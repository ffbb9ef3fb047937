"""CTR: will the user click what is shown, given a vector of what they did before?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from numpy import ndarray
from torch.nn.functional import binary_cross_entropy_with_logits

from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError, DataError
from usermodel.events.splits import GlobalTimeConfig, Split, SplitConfig
from usermodel.heads.ctr import CtrConfig
from usermodel.heads.deepfm import DeepfmConfig
from usermodel.heads.row_inputs import RowBatch
from usermodel.metrics.calibration import Calibration, fit_calibration
from usermodel.metrics.classification import auc
from usermodel.metrics.ctr import DEFINITIONS, measure, n_one_class
from usermodel.metrics.estimate import WORDS
from usermodel.sampling.protocol import Examples
from usermodel.schema import CLICKED, VALUE, SplitName
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.ctr_labels import compare, event_flags, number_of, parse_label
from usermodel.tasks.ctr_scorer import CtrScorer
from usermodel.tasks.live_vectors import Learner, live_vectors, refuse_to_keep
from usermodel.tasks.oracles import refuse_oracles
from usermodel.tasks.protocol import TaskCard, TaskResult
from usermodel.tasks.row_columns import own_name
from usermodel.tasks.row_features import RowFeatures
from usermodel.tasks.row_training import fit_on, guesses, require_vectors
from usermodel.tasks.rows import RandomParts, Rows, event_rows, impression_rows, label_rows
from usermodel.training.epochs import EpochReport
from usermodel.training.fit_rows import FitRowsConfig

CARD: Final = TaskCard("ctr", "Will the user click what is shown?", "auc")


@dataclass(frozen=True)
class Ctr:
    """A CTR head on what is known of each row before its outcome, trained on the training part and scored on the test part.

    Attributes:
        model: The head.
        fit: How it is trained; the validation part decides which epoch stays, by AUC.
        label: ``clicked``: rows are the impressions of the store. ``value``, ``value>=NUMBER`` or ``value=NUMBER``: rows are its labels
            that are about an item, positive above 0 or as written. ``COLUMN>=NUMBER`` or ``COLUMN=VALUE``: rows are its events, such as
            ``rating>=4`` or ``event_type=like``.
        split: What trains and what tests; a `Split`, or the configuration of one.
        parts: Takes the place of ``split`` for impressions and labels: a column that holds ``train``, ``valid`` or ``test``, as published
            splits have it; or `RandomParts`, for rows without users and times.
        features: What is known of a row beside the user's vector, see `usermodel.tasks.row_columns`.
        max_history: Events before a row that heads which look at histories may read.
        calibration: Fitted on the validation part, of log-odds: ``none``, ``platt`` or ``isotonic``.
        train_share: Share of the training rows that are used, drawn with the seed of ``fit``; for curves over the number of labels.
        fine_tune: Whether the encoder learns with the head, from the same rows and at the same rate.
        check_oracles: Refuse features that alone tell every answer of the training rows, `usermodel.tasks.oracles`.
    """

    model: CtrConfig = field(default_factory=DeepfmConfig)
    fit: FitRowsConfig = field(default_factory=FitRowsConfig)
    label: str = CLICKED
    split: SplitConfig | Split = field(default_factory=GlobalTimeConfig)
    parts: str | RandomParts = ""
    features: tuple[str, ...] = ("user_id", "item_id")
    max_history: int = 20
    calibration: Literal["none", "platt", "isotonic"] = "none"
    train_share: float = 1.0
    fine_tune: bool = False
    check_oracles: bool = True
    card: TaskCard = CARD

    def __post_init__(self) -> None:
        if not 0 < self.train_share <= 1:
            do = "Choose a share such as 0.1."
            raise ConfigError(
                "train_share", expected="above 0, at most 1", found=f"{self.train_share}", do=do
            )
        told = self.label if self.label.strip() == CLICKED else parse_label(self.label)[0]
        for name in self.features:
            if own_name(name) == told:
                do = "Leave it out: the answer would be read from itself."
                raise DataError(
                    f"feature {name!r}", expected="what is known before", found="the label", do=do
                )

    def rows(self, store: SequenceStore) -> tuple[Rows, Bool[ndarray, " rows"]]:
        """What is trained on and scored, with its labels.

        Raises:
            DataError: The store has no such rows, or a part has none.
            ConfigError: A label that says nothing.
        """
        if self.label.strip() == CLICKED:
            return impression_rows(store, self.split, self.parts)
        name, relation, text = parse_label(self.label)
        if name == VALUE:
            rows, values = label_rows(store, self.split, self.parts)
            return rows, compare(values, relation, number_of(name, text))
        if self.parts:
            do = "Leave it out, or put the rows into a table of labels."
            raise ConfigError("parts", expected="rows of a table", found="events", do=do)
        known, positive = event_flags(store, name, relation, text)
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
        encoder: EncoderModule | None = None,
        on_epoch: Callable[[EpochReport], None] | None = None,
        on_scorer: Callable[[CtrScorer], None] | None = None,
    ) -> list[TaskResult]:
        """Train, and one row per metric, with 95 % intervals over users.

        Args:
            vectors: User vector of each row of `requests`; None for none.
            store: Holds the rows.
            part: Which rows are scored.
            encoder: What made the vectors, for a task that fine-tunes; it is copied.
            on_epoch: Told after each epoch.
            on_scorer: Given the trained head.

        Raises:
            DataError: Labels of one kind only in a part; another number of vectors than rows; see `rows`.
            NumericError: A vector or guess that is not finite.
        """
        if on_scorer is not None:
            refuse_to_keep(fine_tune=self.fine_tune)
        if part == "valid" and self.calibration != "none":
            do = "Score the test part, or leave the calibration out."
            raise ConfigError(
                "part", expected="another than calibration is fitted on", found=repr(part), do=do
            )
        rows, clicked = self.rows(store)
        scored = rows.of(part)
        _require_both(clicked[scored], f"{store.path}, {part} part")
        scorer, batch, train = self._train(vectors, store, rows, clicked, encoder, on_epoch)
        if on_scorer is not None:
            on_scorer(scorer)
        z = scorer.log_odds(batch, scored)
        probability = scorer.calibration.probability(z)
        card = self._card(vectors, int(clicked[train].sum()), len(train))
        tuned = "; the encoder learned with the head" if self.fine_tune else ""
        card = f"{card}{tuned}; {scorer.n_parameters:,} parameters"
        # Probabilities near 1 are equal in float64 where log-odds are not; steps of an isotonic calibration are meant.
        score = probability if self.calibration == "isotonic" else z
        return _results(probability, score, clicked[scored], rows.user[scored], card)

    def train(
        self,
        vectors: Float32[ndarray, "rows dim"] | None,
        store: SequenceStore,
        *,
        on_epoch: Callable[[EpochReport], None] | None = None,
    ) -> CtrScorer:
        """The trained head, for rows to come; arguments and errors as in `score`.

        Raises:
            ConfigError: A task that fine-tunes: nothing keeps the encoder.
        """
        refuse_to_keep(fine_tune=self.fine_tune)
        rows, clicked = self.rows(store)
        return self._train(vectors, store, rows, clicked, None, on_epoch)[0]

    def _train(
        self,
        vectors: Float32[ndarray, "rows dim"] | None,
        store: SequenceStore,
        rows: Rows,
        clicked: Bool[ndarray, " rows"],
        encoder: EncoderModule | None,
        on_epoch: Callable[[EpochReport], None] | None,
    ) -> tuple[CtrScorer, RowBatch, ndarray]:
        """The trained head, all rows as it reads them, and the positions of those that trained it."""
        require_vectors(vectors, rows)
        train, valid = self._drawn(rows), rows.of("valid")
        _require_both(clicked[train], f"{store.path}, train part")
        features = RowFeatures(self.features, max_history=self.max_history)
        batch = features.fit(store, rows, vectors, train=train).batch(store, rows, vectors)
        if self.check_oracles:
            refuse_oracles(features.shape, batch, train, clicked.astype(np.float64))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.fit.seed)
            model = self.model.build(features.shape)
        scorer = CtrScorer(self.model, model, features, Calibration(), self.label)
        live = live_vectors(encoder, store, rows, features) if self.fine_tune else None
        learner = Learner(model, batch, live)
        y = torch.from_numpy(clicked).float()

        def loss(at: torch.Tensor) -> torch.Tensor:
            return binary_cross_entropy_with_logits(model(learner.take(at)), y[at])

        def validate() -> float:
            rows_now = learner.held_out(valid)
            z = guesses(model, lambda at: model(rows_now.take(at)), np.arange(len(valid)))
            return auc(np.column_stack([-z, z]), clicked[valid].astype(np.int64)).value

        both = len(valid) and 0 < clicked[valid].sum() < len(valid)
        fit_on(learner, loss, train, self.fit, validate=validate if both else None, on_epoch=on_epoch)
        if live is not None:
            batch = features.batch(store, rows, live.vectors())
        if self.calibration != "none":
            _require_both(clicked[valid], "calibration: valid part")
            fitted = fit_calibration(self.calibration, scorer.log_odds(batch, valid), clicked[valid])
            scorer = replace(scorer, calibration=fitted)
        return scorer, batch, train

    def _drawn(self, rows: Rows) -> ndarray:
        """The training rows, or a share of them."""
        train = rows.of("train")
        n = max(1, round(self.train_share * len(train)))
        drawn = np.random.default_rng(self.fit.seed).permutation(len(train))[:n]
        return train if n == len(train) else train[np.sort(drawn)]

    def _card(self, vectors: ndarray | None, clicks: int, n: int) -> str:
        known = ", ".join(self.features) + ("" if vectors is None else ", user vector before the row")
        head = type(self.model).__name__.removesuffix("Config")
        calibrated = (
            "" if self.calibration == "none" else f", calibrated: {self.calibration} on the valid part"
        )
        return f"label: {self.label}; {head} on {known}{calibrated}; {n:,} training rows, {clicks:,} of them positive"


def _require_both(clicked: Bool[ndarray, " rows"], where: str) -> None:
    if not 0 < clicked.sum() < len(clicked):
        found = f"{int(clicked.sum()):,} of {len(clicked):,} rows positive"
        do = "Use another split, more rows, or another label."
        raise DataError(where, expected="rows of both labels", found=found, do=do)


def _results(
    probability: Float64[ndarray, " n"],
    score: Float64[ndarray, " n"],
    clicked: Bool[ndarray, " n"],
    user: ndarray,
    card: str,
) -> list[TaskResult]:
    results = []
    for name, one in measure(probability, clicked, user, score).items():
        low, high = one.interval(user)
        definition = f"{DEFINITIONS[name]}; {card}; {WORDS}"
        if name == "gauc":
            definition = f"{definition}; {n_one_class(clicked, user):,} users left out"
        results.append(TaskResult(name, one.value, len(clicked), low, high, definition))
    share = "share of positive rows; what a constant would have to say"
    results.append(TaskResult("positive_share", float(clicked.mean()), len(clicked), None, None, share))
    return results
