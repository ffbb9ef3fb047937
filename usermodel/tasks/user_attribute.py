"""User attributes: what do frozen vectors tell about who a user is?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from sklearn.model_selection import StratifiedKFold

from usermodel.embedding_table import EmbeddingTable
from usermodel.errors import ConfigError, DataError, NumericError
from usermodel.heads.linear_probe import LinearProbe
from usermodel.heads.mlp_probe import MlpProbe
from usermodel.metrics.classification import DEFINITIONS, measure
from usermodel.metrics.estimate import WORDS
from usermodel.sampling.protocol import Examples
from usermodel.store.attributes import Attribute, read_attribute
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.protocol import TaskCard, TaskResult

Probe = Literal["linear", "mlp"]
_PROBES: Final[dict[str, type[LinearProbe | MlpProbe]]] = {"linear": LinearProbe, "mlp": MlpProbe}
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
    """

    label: str
    source: Any = None
    folds: int = 5
    seed: int = 0
    probe: Probe = "linear"
    labelled: int | None = None
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

    def requests(self, store: SequenceStore) -> Examples:
        """The whole history of every user with a class."""
        user = self.attribute(store).user
        return Examples.histories(store, user, store.offsets[user + 1], store.n_events)

    def score(self, vectors: EmbeddingTable, store: SequenceStore) -> list[TaskResult]:
        """One row per metric, named ``LABEL/METRIC``, with 95 % intervals over users.

        Args:
            vectors: One for each user of `requests`, or more; several vectors a user are laid end to end.
            store: Whose ids the vectors go by.

        Raises:
            MissingError: A user without a vector.
            NumericError: A vector that is not finite.
        """
        known = self.attribute(store)
        x = np.asarray(vectors.take(store.users.decode(known.user + 1)).vectors)
        x = x.reshape(len(x), -1)
        if not np.isfinite(x).all():
            odd = store.users.decode(known.user[~np.isfinite(x).all(1)][:1] + 1)[0]
            found = f"others, of user {odd!r} first"
            raise NumericError("vectors", expected="finite numbers", found=found, do="Look at the encoder.")
        probability, majority = self._guess(x, known)
        fewest = len(x) * (self.folds - 1) // self.folds
        told = "" if self.labelled is None else f" of {min(self.labelled, fewest):,} labelled users"
        how = f"{self.probe} probe{told}, {self.folds} folds over users, seed {self.seed}"
        classes = f"{len(known.classes)} classes"
        rows = []
        for name, one in measure(probability, known.code).items():
            low, high = one.interval()
            card = f"{DEFINITIONS[name]}; {how}; {classes}; {WORDS}"
            rows.append(TaskResult(f"{self.label}/{name}", one.value, len(x), low, high, card))
        card = "accuracy of always naming the class that most users of the other folds have"
        rows.append(TaskResult(f"{self.label}/majority", majority, len(x), None, None, card))
        return rows

    def _guess(
        self, x: Float[ndarray, "n dim"], known: Attribute
    ) -> tuple[Float64[ndarray, "n classes"], float]:
        """Probabilities from probes that did not see the user, and how often the most frequent class is right."""
        n_classes, right = len(known.classes), 0
        probability = np.empty((len(x), n_classes))
        folds = StratifiedKFold(self.folds, shuffle=True, random_state=self.seed)
        for fit, test in folds.split(x, known.code):
            told = self._told(fit, known)
            probe = _PROBES[self.probe](self.seed).fit(x[told], known.code[told], n_classes)
            probability[test] = probe.probability(x[test])
            right += int((known.code[test] == np.bincount(known.code[fit]).argmax()).sum())
        return probability, right / len(x)

    def _told(self, fit: Int64[ndarray, " fit"], known: Attribute) -> Int64[ndarray, " told"]:
        """Those whose labels a probe is told."""
        if self.labelled is None or self.labelled >= len(fit):
            return fit
        told = np.sort(np.random.default_rng(self.seed).permutation(fit)[: self.labelled])
        if len(np.unique(known.code[told])) < 2:
            do = "Choose some more, or another seed."
            found = f"one among {self.labelled} users"
            raise DataError("labelled", expected="two classes among them", found=found, do=do)
        return told
