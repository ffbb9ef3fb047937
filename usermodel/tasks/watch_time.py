"""Watch time: how long will the user watch, given a vector of what they did before?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float32, Float64
from numpy import ndarray

from usermodel.encoders.protocol import EncoderModule
from usermodel.events.splits import GlobalTimeConfig, Split, SplitConfig
from usermodel.heads.row_inputs import RowBatch
from usermodel.heads.watch_time_model import WatchTimeModel, WatchTimeModelConfig
from usermodel.metrics.estimate import WORDS
from usermodel.metrics.watch_time import DEFINITIONS, duration_parts, measure, xauc
from usermodel.sampling.protocol import Examples
from usermodel.schema import DURATION, SplitName
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.live_vectors import Learner, LiveVectors, live_vectors, refuse_to_keep
from usermodel.tasks.oracles import refuse_oracles
from usermodel.tasks.protocol import TaskCard, TaskResult
from usermodel.tasks.row_columns import durations
from usermodel.tasks.row_features import RowFeatures
from usermodel.tasks.row_training import fit_on, guesses, require_vectors
from usermodel.tasks.rows import Rows
from usermodel.tasks.watch_time_rows import tested_on_labels, watched_events, watched_seconds
from usermodel.tasks.watch_time_scorer import WatchTimeScorer
from usermodel.training.epochs import EpochReport
from usermodel.training.fit_rows import FitRowsConfig

CARD: Final = TaskCard("watch-time", "How long will the user watch?", "xauc")


@dataclass(frozen=True)
class WatchTime:
    """A watch-time head on what is known of each event before it, trained on the training part and scored on the test part.

    Each event with a watch time is a row. Its user vector is that of the user's events strictly before it.

    Attributes:
        model: The head, and what is before it.
        fit: How it is trained; the validation part decides which epoch stays, by XAUC.
        target: ``seconds``, or ``ratio`` of watch time to duration, for rows whose duration is known.
        split: What trains and what tests; a `Split`, or the configuration of one.
        test: ``split``, the split's test part; or ``labels``, the labels of the store about items, with their ``watch_time_ms`` and
            ``duration_ms``, as sets with a test of their own have it (KuaiRec's full matrix). They may be earlier than what trains.
        features: What else is known of a row, see `usermodel.tasks.row_columns`; None means the user, the item, and the duration
            where the store has it.
        fine_tune: Whether the encoder learns with the head, from the same rows and at the same rate.
        check_oracles: Refuse features that alone tell every answer of the training rows, `usermodel.tasks.oracles`.
    """

    model: WatchTimeModelConfig = field(default_factory=WatchTimeModelConfig)
    fit: FitRowsConfig = field(default_factory=FitRowsConfig)
    target: Literal["seconds", "ratio"] = "seconds"
    split: SplitConfig | Split = field(default_factory=GlobalTimeConfig)
    test: Literal["split", "labels"] = "split"
    features: tuple[str, ...] | None = None
    fine_tune: bool = False
    check_oracles: bool = True
    card: TaskCard = CARD

    def rows(self, store: SequenceStore) -> Rows:
        """The events that are trained on and scored.

        Raises:
            DataError: The store has no watch times, or a part has none.
        """
        split = self.split if isinstance(self.split, Split) else store.split(self.split)
        of_ratio = self.target == "ratio"
        events = watched_events(store, split, known_duration=of_ratio)
        return events if self.test == "split" else tested_on_labels(store, events, known_duration=of_ratio)

    def requests(self, store: SequenceStore, max_history: int, n_items: int | None = None) -> Examples:
        """The history before each row, whose vector `score` takes."""
        return self.rows(store).examples(store, max_history, n_items)

    def score(
        self,
        vectors: Float32[ndarray, "rows dim"] | None,
        store: SequenceStore,
        *,
        part: SplitName = "test",
        encoder: EncoderModule | None = None,
        on_epoch: Callable[[EpochReport], None] | None = None,
        on_scorer: Callable[[WatchTimeScorer], None] | None = None,
    ) -> list[TaskResult]:
        """Train, and one row per metric, with 95 % intervals over users; then MAE and XAUC by duration.

        Args:
            vectors: User vector of each row of `requests`; None for none.
            store: Holds the events.
            part: Which rows are scored.
            encoder: What made the vectors, for a task that fine-tunes; it is copied.
            on_epoch: Told after each epoch.
            on_scorer: Given the trained head.

        Raises:
            DataError: Another number of vectors than rows; see `rows`.
            NumericError: A vector or guess that is not finite.
        """
        if on_scorer is not None:
            refuse_to_keep(fine_tune=self.fine_tune)
        rows = self.rows(store)
        require_vectors(vectors, rows)
        label, duration = self.labels(store, rows)
        names = self._names(store)
        features = RowFeatures(names).fit(store, rows, vectors)
        batch = features.batch(store, rows, vectors)
        if self.check_oracles:
            refuse_oracles(features.shape, batch, rows.of("train"), label)
        live = live_vectors(encoder, store, rows, features) if self.fine_tune else None
        model = self._trained(features, batch, rows, (label, duration), live, on_epoch)
        if live is not None:
            batch = features.batch(store, rows, live.vectors())
        scorer = WatchTimeScorer(self.model, model, features, self.target)
        if on_scorer is not None:
            on_scorer(scorer)
        scored = rows.of(part)
        guess = scorer.guess(batch, duration, scored)
        card = self._card(vectors, names) + ("" if live is None else "; the encoder learned with the head")
        return _results(guess, label[scored], duration[scored], rows.user[scored], card)

    def labels(
        self, store: SequenceStore, rows: Rows
    ) -> tuple[Float64[ndarray, " rows"], Float64[ndarray, " rows"]]:
        """What is guessed, and the duration in seconds, 0 where unknown."""
        seconds = watched_seconds(store, rows)
        duration = durations(store, rows)
        return (seconds / duration if self.target == "ratio" else seconds), duration

    def _trained(
        self,
        features: RowFeatures,
        batch: RowBatch,
        rows: Rows,
        answers: tuple[Float64[ndarray, " rows"], Float64[ndarray, " rows"]],
        live: LiveVectors | None,
        on_epoch: Callable[[EpochReport], None] | None,
    ) -> WatchTimeModel:
        label, duration = answers
        train, valid = rows.of("train"), rows.of("valid")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.fit.seed)
            model = self.model.fit(features.shape, label[train], duration[train])
        y, d = (torch.from_numpy(one).float() for one in answers)
        learner = Learner(model, batch, live)

        def loss(at: torch.Tensor) -> torch.Tensor:
            return model.loss(learner.take(at), y[at], d[at])

        def validate() -> float:
            rows_now, own = learner.held_out(valid), d[torch.from_numpy(valid)]
            guess = guesses(model, lambda at: model(rows_now.take(at), own[at]), np.arange(len(valid)))
            return xauc(guess, label[valid]).value

        # Equal labels cannot be ordered: then nothing says which epoch is best.
        tells = len(np.unique(label[valid])) > 1
        fit_on(learner, loss, train, self.fit, validate=validate if tells else None, on_epoch=on_epoch)
        return model

    def _names(self, store: SequenceStore) -> tuple[str, ...]:
        """The features of this store."""
        if self.features is not None:
            return self.features
        return ("user_id", "item_id", *(("duration",) if DURATION in store.features else ()))

    def _card(self, vectors: ndarray | None, names: tuple[str, ...]) -> str:
        what = f"target: watch time {'in seconds' if self.target == 'seconds' else 'over duration'}"
        known = ", ".join(names) + ("" if vectors is None else ", user vector before the event")
        mixup = self.model.mixup
        mixed = "" if mixup is None else f", C-Mixup (sigma {mixup.sigma:g}, alpha {mixup.alpha:g})"
        return f"{what}; {type(self.model.head).__name__.removesuffix('Config')} on {known}{mixed}"


def _results(
    guess: Float64[ndarray, " n"],
    label: Float64[ndarray, " n"],
    duration: Float64[ndarray, " n"],
    user: ndarray,
    card: str,
) -> list[TaskResult]:
    results = []
    for name, one in measure(guess, label).items():
        low, high = one.interval(user)
        definition = f"{DEFINITIONS[name]}; {card}; {WORDS}"
        results.append(TaskResult(name, one.value, len(label), low, high, definition))
    for group, rows in duration_parts(duration):
        found = measure(guess[rows], label[rows])
        for name in ("mae", "xauc"):
            low, high = found[name].interval(user[rows])
            definition = f"{DEFINITIONS[name]}; {card}; {WORDS}"
            results.append(
                TaskResult(
                    name, found[name].value, len(rows), low, high, definition, by="duration", group=group
                )
            )
    return results
