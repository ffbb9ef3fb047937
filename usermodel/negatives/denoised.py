"""CET-style denoised hard negatives: hard draws that count less the more they look like positives nobody has recorded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from pydantic import Field
from torch import Tensor

from usermodel.errors import ConfigError
from usermodel.events.splits import Split
from usermodel.negatives.hard import Hard, HardConfig
from usermodel.negatives.history_vectors import history_vectors
from usermodel.negatives.logistic import fit_logistic
from usermodel.negatives.protocol import DrawContext, Negatives, NegativeSampler, NegativesConfig
from usermodel.negatives.user_lists import UserLists
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.training_events import training_events

if TYPE_CHECKING:
    from usermodel.encoders.protocol import EncoderModule

#: Users whose last training event is a case of the two regressions, at most.
CASES: Final = 8192
#: Numbers gathered at once: 16 MiB of float32.
NUMBERS: Final = 1 << 22
#: A share of taken items is at least this, and at most 1 less this: its logarithm has to be finite.
_LEAST: Final = 1e-9


class DenoisedConfig(NegativesConfig):
    """Hard draws, weighted by how probably each is a negative.

    Attributes:
        hard: How candidates are drawn.
        min_weight: No draw counts less.
        decay: What the teacher keeps of itself at each refresh, that is before each epoch; 0 makes it the model at that time.
        dim: Width of the vectors that the teacher has room for: at least ``encoder.dim``.
    """

    hard: HardConfig = HardConfig()
    min_weight: float = Field(default=0.1, ge=0, le=1)
    decay: float = Field(default=0.5, ge=0, lt=1)
    dim: int = Field(default=64, ge=1)

    def build(self, store: SequenceStore, split: Split) -> Denoised:
        """A sampler whose draws all count 1 until it is refreshed."""
        user, item = training_events(store, split)
        lists = UserLists.of(user, item, store.n_users)
        density = float((lists.count[lists.count > 0] / store.n_items).mean()) if len(user) else 0.0
        counts = np.bincount(item, minlength=store.n_items + 1)[1:]
        hard = self.hard.build(store, split)
        return Denoised(self, hard, counts, (split.start, split.train_stop), density=density)


class Denoised(NegativeSampler):
    """``w_j = clip(1 - P(rel_j) (1 - P(sel_j)), min_weight, 1)``: what is relevant and was not selected is no negative.

    - ``P(rel_j) = sigmoid(a_0 + a_1 h_t . v_j)``, where v is a moving average of item vectors (the teacher), moved at refresh.
    - ``P(sel_j) = sigmoid(b_0 + b_1 log(1 + n_j) + b_2 log(1 + r_j))`` with n_j the training events of j and r_j the items that the
      model now scores higher than j: its rank as a retriever.
    - Both are fitted at refresh, by maximum likelihood, on as many cases as controls: a case is the last training event of a
      user, seen from the events before it, a control a uniform item seen from there. Intercepts are then
      shifted by ``log(d / (1 - d))``, with d the share of the items that a user has taken on average, because among the items of
      a user cases are not half (prior correction, King & Zeng 2001).

    ``log_q`` is that of the hard draws, see `Hard`: a sampled softmax estimates the sum over all items of ``w_i exp(s_i)``.

    What is taken from CET (coupled estimation of relevance and selection, of which only the abstract was read) is the idea that
    an observed positive was relevant and selected, so that a pooled item is a false negative where it is relevant and was not
    selected. The rest is ours: this weight and its clip; both models and their features; cases against uniform items; fitting them
    apart, not coupled, on events that the encoder has trained on. What it is worth: see the page on negatives.
    """

    def __init__(
        self,
        config: DenoisedConfig,
        hard: Hard,
        counts: Int64[ndarray, " items"],
        training: tuple[Int64[ndarray, " users"], Int64[ndarray, " users"]],
        *,
        density: float,
    ) -> None:
        super().__init__()
        self.config, self.hard = config, hard
        self._start, self._stop = training
        density = min(max(density, _LEAST), 1.0 - _LEAST)
        self._prior = math.log(density / (1.0 - density))
        self.register_buffer("popularity", torch.from_numpy(np.log1p(counts)).float(), False)
        self.register_buffer("teacher", torch.zeros(len(counts), config.dim))
        self.register_buffer("relevance", torch.zeros(2))
        self.register_buffer("selection", torch.zeros(3))
        self.register_buffer("taught", torch.zeros((), dtype=torch.bool))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        self.popularity: Tensor
        self.teacher: Tensor
        self.relevance: Tensor
        self.selection: Tensor
        self.taught: Tensor
        self.fitted: Tensor

    def sample(
        self,
        positives: Int64[Tensor, " events"],
        context: DrawContext,
        *,
        n: int,
        generator: torch.Generator | None = None,
        log_q: bool = True,
    ) -> Negatives:
        """See `NegativeSampler.sample`; draws are an event's own. Ranks cost scores of all items, asked for or not.

        Raises:
            ConfigError: Whoever draws has no item vectors.
        """
        del positives
        drawn = self.hard.draw(context, n, generator=generator)
        assert drawn.above is not None
        assert drawn.equal is not None
        probability = self.hard.log_probability(drawn.above, drawn.equal) if log_q else None
        weight, unseen = (
            self.weights(context.vectors, drawn.ids, drawn.above),
            self.hard.weight(context, drawn.ids),
        )
        return Negatives(drawn.ids, probability, weight if unseen is None else weight * unseen)

    @torch.no_grad()
    def weights(
        self,
        vectors: Float[Tensor, "events dim"],
        ids: Int64[Tensor, "events n"],
        above: Int64[Tensor, "events n"],
    ) -> Float[Tensor, "events n"]:
        """Weights of items by event: 1 before the first refresh.

        Args:
            vectors: Of events.
            ids: Items, 1 to n_items.
            above: How many items the event scores higher than each.
        """
        a, (b, of_popularity, of_rank) = self.relevance, self.selection
        relevant = torch.sigmoid(a[0] + a[1] * self._taught_scores(vectors, ids))
        selected = torch.sigmoid(
            b + of_popularity * self.popularity[ids - 1] + of_rank * above.float().log1p()
        )
        weight = (1.0 - relevant * (1.0 - selected)).clamp(self.config.min_weight, 1.0)
        return torch.where(self.fitted, weight, 1.0)

    def _taught_scores(self, vectors: Tensor, ids: Tensor) -> Float[Tensor, "events n"]:
        """Products of events and the teacher's vectors of items."""
        vectors, teacher = vectors.float(), self.teacher[:, : vectors.shape[1]]
        step = max(1, NUMBERS // max(ids.shape[1] * vectors.shape[1], 1))
        parts = zip(torch.split(vectors, step), torch.split(ids, step), strict=True)
        return torch.cat([(teacher[some - 1] * chunk[:, None]).sum(2) for chunk, some in parts])

    @torch.no_grad()
    def refresh(self, encoder: EncoderModule, store: SequenceStore) -> None:
        """Move the teacher, then fit both probabilities; users with one training event are no cases.

        Raises:
            ConfigError: Vectors are wider than the teacher.
        """
        items = encoder.item_vectors().float()
        width = items.shape[1]
        if width > self.config.dim:
            found, do = f"{self.config.dim}", f"Set negatives.dim={width}."
            raise ConfigError("negatives.dim", expected=f"at least encoder.dim = {width}", found=found, do=do)
        before = torch.where(self.taught, self.teacher[:, :width], items)
        self.teacher[:, :width] = self.config.decay * before + (1.0 - self.config.decay) * items
        self.taught.fill_(True)
        users = np.flatnonzero(self._stop - self._start >= 2)
        if len(users):
            self._fit(encoder, store, users[:: -(-len(users) // CASES)])

    def _fit(self, encoder: EncoderModule, store: SequenceStore, users: Int64[ndarray, " users"]) -> None:
        last = self._stop[users] - 1
        vectors = history_vectors(encoder, store, users, last)
        context = DrawContext.of(encoder, vectors, torch.from_numpy(users).to(vectors.device))
        case = torch.from_numpy(store.items[last].astype(np.int64)).to(context.vectors.device)
        ids = torch.stack([case, torch.randint_like(case, 1, len(self.teacher) + 1)], 1)
        above = self.hard.places(context, ids)[0]
        scores = self._taught_scores(context.vectors, ids).T.reshape(-1, 1)
        known = torch.stack([self.popularity[ids - 1], above.float().log1p()])
        selecting = known.transpose(1, 2).flatten(1).T
        label = np.arange(len(scores)) < len(case)
        for coefficients, features in ((self.relevance, scores), (self.selection, selecting)):
            found = fit_logistic(features.cpu().double().numpy(), label)
            found[0] += self._prior
            coefficients.copy_(torch.from_numpy(found))
        self.fitted.fill_(True)
