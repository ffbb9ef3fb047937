"""User attributes: what do frozen vectors tell about who a user is?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from sklearn.model_selection import KFold, StratifiedKFold

from usermodel.embedding_table import EmbeddingTable
from usermodel.errors import ConfigError, DataError, NumericError
from usermodel.heads.linear_probe import LinearProbe
from usermodel.heads.mlp_probe import MlpProbe
from usermodel.heads.number_probe import NumberProbe
from usermodel.heads.ordinal_probe import OrdinalProbe
from usermodel.metrics.classification import DEFINITIONS, measure
from usermodel.metrics.estimate import WORDS, Estimate
from usermodel.metrics.levels import DEFINITIONS as LEVEL_WORDS
from usermodel.metrics.levels import measure as of_levels
from usermodel.metrics.levels import middle
from usermodel.metrics.numbers import DEFINITIONS as NUMBER_WORDS
from usermodel.metrics.numbers import measure as of_numbers
from usermodel.sampling.protocol import Examples
from usermodel.store.attributes import Attribute, Numbers, read_attribute, read_numbers
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.protocol import TaskCard, TaskResult

Probe = Literal["linear", "mlp"]
Scale = Literal["nominal", "ordinal", "number"]
_PROBES: Final[dict[str, type[LinearProbe | MlpProbe]]] = {"linear": LinearProbe, "mlp": MlpProbe}
#: What a constant reaches: the metric's name, and what it is.
_CONSTANTS: Final[dict[str, tuple[str, str]]] = {
    "nominal": ("majority", "accuracy of always naming the class that most users of the other folds have"),
    "ordinal": ("levels_off_of_median", "levels_off of always naming the median class of the other folds"),
    "number": ("mae_of_median", "mae of always naming the median of the other folds"),
}
CARD: Final = TaskCard("user-attribute", "What do vectors tell about who a user is?", "auc")


@dataclass(frozen=True)
class UserAttribute:
    """A probe on frozen vectors, cross-validated over users.

    The users are cut into ``folds`` parts with about equal shares of each class. A probe is fitted on all parts but one
    and guesses the users of that one, so every user is guessed once, by a probe that was not told. Metrics are of all guesses.

    Attributes:
        label: Column of the users table, or of ``source``.
        source: Frame or file with ``user_id`` and the column; None means the users table of the store.
        folds: Parts.
        seed: Of the parts. Vectors that are to be compared must have the same parts.
        probe: ``linear``, see `LinearProbe`; or ``mlp``, see `MlpProbe`.
        labelled: Users that each probe is fitted on, drawn from the other parts; None means all. For curves over the number of
            labels.
        scale: ``nominal``, classes; ``ordinal``, classes in an order, that of their names, by number where all are whole numbers, see
            `OrdinalProbe`; or ``number``, see `NumberProbe`.
    """

    label: str
    source: Any = None
    folds: int = 5
    seed: int = 0
    probe: Probe = "linear"
    labelled: int | None = None
    scale: Scale = "nominal"
    card: TaskCard = CARD

    def __post_init__(self) -> None:
        if self.folds < 2:
            do = "Choose 5 or 10."
            raise ConfigError("folds", expected="2 or more", found=f"{self.folds}", do=do)
        if self.labelled is not None and self.labelled < 2:
            do = "Choose some more."
            raise ConfigError("labelled", expected="2 users or more", found=f"{self.labelled}", do=do)

    def attribute(self, store: SequenceStore) -> Attribute:
        """What is known of the users, without classes of fewer users than there are folds.

        Raises:
            DataError: See `read_attribute`; or fewer than two classes are left.
        """
        found = read_attribute(store, self.label, self.source)
        counts = np.bincount(found.code, minlength=len(found.classes))
        large = counts >= self.folds
        if large.sum() < 2:
            expected = f"two classes of at least {self.folds} users each"
            held = ", ".join(f"{name}: {n}" for name, n in zip(found.classes, counts, strict=True))
            do = "Use fewer folds, or put classes together."
            raise DataError(f"column {self.label!r}", expected=expected, found=held[:200], do=do)
        kept = found.take(large[found.code])
        classes = tuple(np.array(found.classes, dtype=object)[large])
        return Attribute(kept.name, kept.user, (np.cumsum(large) - 1)[kept.code], classes, found.n_strangers)

    def numbers(self, store: SequenceStore) -> Numbers:
        """What is known of the users, as numbers.

        Raises:
            DataError: See `read_numbers`; or fewer users than there are folds.
        """
        found = read_numbers(store, self.label, self.source)
        if len(found) < self.folds:
            do = "Use fewer folds."
            expected, has = f"at least {self.folds} users", f"{len(found)}"
            raise DataError(f"column {self.label!r}", expected=expected, found=has, do=do)
        return found

    def requests(self, store: SequenceStore) -> Examples:
        """The whole history of every user of whom something is known."""
        user = (self.numbers if self.scale == "number" else self.attribute)(store).user
        return Examples.histories(store, user, store.offsets[user + 1], store.n_events)

    def score(self, vectors: EmbeddingTable, store: SequenceStore) -> list[TaskResult]:
        """One row per metric, named ``LABEL/METRIC``, with 95 % intervals over users; then what a constant reaches.

        Args:
            vectors: One for each user of `requests`, or more; several vectors a user are laid end to end.
            store: Whose ids the vectors go by.

        Raises:
            MissingError: A user without a vector.
            NumericError: A vector that is not finite.
        """
        if self.scale == "number":
            numbers = self.numbers(store)
            x = _vectors(vectors, store, numbers.user)
            guess, constant = self._guess_numbers(x, numbers.value)
            return self._results(of_numbers(guess, numbers.value), NUMBER_WORDS, "", len(x), constant)
        known = self.attribute(store)
        x = _vectors(vectors, store, known.user)
        probability, constant = self._guess(x, known)
        if self.scale == "nominal":
            found, words, about = (
                measure(probability, known.code),
                DEFINITIONS,
                f"; {len(known.classes)} classes",
            )
        else:
            found, words = of_levels(middle(probability), known.code), LEVEL_WORDS
            about = f"; {len(known.classes)} classes in the order {', '.join(known.classes)[:200]}"
        return self._results(found, words, about, len(x), constant)

    def _results(
        self, found: dict[str, Estimate], words: Mapping[str, str], about: str, n: int, constant: float
    ) -> list[TaskResult]:
        fewest = n * (self.folds - 1) // self.folds
        told = "" if self.labelled is None else f" of {min(self.labelled, fewest):,} labelled users"
        how = f"{self.probe} probe{told}, {self.folds} folds over users, seed {self.seed}{about}"
        rows = []
        for name, one in found.items():
            low, high = one.interval()
            rows.append(
                TaskResult(f"{self.label}/{name}", one.value, n, low, high, f"{words[name]}; {how}; {WORDS}")
            )
        name, card = _CONSTANTS[self.scale]
        rows.append(TaskResult(f"{self.label}/{name}", constant, n, None, None, card))
        return rows

    def _guess(
        self, x: Float[ndarray, "n dim"], known: Attribute
    ) -> tuple[Float64[ndarray, "n classes"], float]:
        """Probabilities from probes that did not see the user, and what a constant of the other folds reaches."""
        n_classes, constant = len(known.classes), 0.0
        probability = np.empty((len(x), n_classes))
        folds = StratifiedKFold(self.folds, shuffle=True, random_state=self.seed)
        for fit, test in folds.split(x, known.code):
            told = self._told(fit, known)
            probability[test] = self._probe().fit(x[told], known.code[told], n_classes).probability(x[test])
            if self.scale == "nominal":
                constant += float((known.code[test] == np.bincount(known.code[fit]).argmax()).sum())
            else:
                constant += float(np.abs(known.code[test] - round(np.median(known.code[fit]))).sum())
        return probability, constant / len(x)

    def _guess_numbers(
        self, x: Float[ndarray, "n dim"], value: Float64[ndarray, " n"]
    ) -> tuple[Float64[ndarray, " n"], float]:
        """Numbers from probes that did not see the user, and the mean error of the median of the other folds."""
        guess, constant = np.empty(len(x)), 0.0
        for fit, test in KFold(self.folds, shuffle=True, random_state=self.seed).split(x):
            told = fit if self.labelled is None else self._drawn(fit)
            guess[test] = NumberProbe(self.probe, self.seed).fit(x[told], value[told]).guess(x[test])
            constant += float(np.abs(value[test] - np.median(value[fit])).sum())
        return guess, constant / len(x)

    def _probe(self) -> LinearProbe | MlpProbe | OrdinalProbe:
        make = partial(_PROBES[self.probe], self.seed)
        return OrdinalProbe(make) if self.scale == "ordinal" else make()

    def _drawn(self, fit: Int64[ndarray, " fit"]) -> Int64[ndarray, " told"]:
        """As many as are told, or all where there are fewer."""
        told: ndarray = np.sort(np.random.default_rng(self.seed).permutation(fit)[: self.labelled])
        return told

    def _told(self, fit: Int64[ndarray, " fit"], known: Attribute) -> Int64[ndarray, " told"]:
        """Those whose labels a probe is told."""
        if self.labelled is None or self.labelled >= len(fit):
            return fit
        told = self._drawn(fit)
        if len(np.unique(known.code[told])) < 2:
            do = "Choose some more, or another seed."
            found = f"one among {self.labelled} users"
            raise DataError("labelled", expected="two classes among them", found=found, do=do)
        return told


def _vectors(
    vectors: EmbeddingTable, store: SequenceStore, user: Int64[ndarray, " n"]
) -> Float[ndarray, "n dim"]:
    """One for each user, finite."""
    x = np.asarray(vectors.take(store.users.decode(user + 1)).vectors)
    x = x.reshape(len(x), -1)
    if not np.isfinite(x).all():
        odd = store.users.decode(user[~np.isfinite(x).all(1)][:1] + 1)[0]
        found = f"others, of user {odd!r} first"
        raise NumericError("vectors", expected="finite numbers", found=found, do="Look at the encoder.")
    return x
