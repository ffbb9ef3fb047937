"""GR: watch time as a short sum of values, which a small decoder says one after the other, largest first.

Source: Ma et al., "Generative Regression Based Watch Time Prediction for Short-Video Recommendation" (WWW 2026): value tokens, curriculum
learning with embedding mixup, decoding by local expectation. Deviations: vocabulary of training rows only; the curriculum falls over
``curriculum_steps`` of the whole training and does not begin anew each epoch; no gradient goes through the law of the first pass, only
through the embeddings it mixes; Huber's loss is of labels over their standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, huber_loss

from usermodel.heads.value_tokens import BEGIN, END, FIRST, PAD, build_values, sequences
from usermodel.heads.watch_time import WatchTimeConfig, WatchTimeHead, mean_of_rows, scalar

#: Tokens to either side of the likeliest one whose values count.
_NEAR: Final = 10
_STD: Final = 0.02
#: Parts of a batch by length of the labels' sums.
_LENGTHS: Final = 8


class GenerativeRegressionConfig(WatchTimeConfig):
    """The decoder, the loss, and how true tokens leave the input.

    Attributes:
        dim: Width of the decoder.
        layers: Its layers.
        heads: Heads of attention.
        hidden: Width of the feed-forward part.
        dropout: Of the decoder.
        resolution: Labels are whole numbers of it: milliseconds, where they are seconds.
        longest: Most tokens of a label.
        cross_entropy: Weight of the loss of tokens.
        error: Weight of Huber's loss of the guess.
        curriculum: How the probability of true tokens in the second pass falls from 1 to 0.
        curriculum_steps: Steps in which it does; from then on the input is the decoder's own law.
    """

    dim: int = Field(default=128, ge=1)
    layers: int = Field(default=3, ge=1)
    heads: int = Field(default=8, ge=1)
    hidden: int = Field(default=256, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    resolution: float = Field(default=1e-3, gt=0)
    longest: int = Field(default=20, ge=1)
    cross_entropy: float = Field(default=10.0, ge=0)
    error: float = Field(default=1.0, ge=0)
    curriculum: Literal["linear", "exponential", "sigmoid"] = "linear"
    curriculum_steps: int = Field(default=1000, ge=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> GenerativeRegressionConfig:
        if self.dim % self.heads:
            raise ValueError(f"dim divisible by heads, got dim={self.dim} and heads={self.heads}")
        return self

    def statistics(
        self, label: Float64[ndarray, " rows"], duration: Float64[ndarray, " rows"]
    ) -> dict[str, Tensor]:
        """The ``values``, largest first, in units of ``resolution``; and the standard deviation of the labels."""
        del duration
        values = build_values(np.round(label / self.resolution).astype(np.int64), self.longest)
        return {"values": torch.from_numpy(values), "std": scalar(float(label.std()) or 1.0)}

    def build(self, dim: int, statistics: Mapping[str, Tensor]) -> GenerativeRegression:
        """See `WatchTimeConfig.build`."""
        return GenerativeRegression(self, dim, statistics)


class GenerativeRegression(WatchTimeHead):
    """``L = cross_entropy CE(tokens) + error Huber(guess, y)``; the guess is the sum of local expectations of all tokens.

    First pass: true tokens as input. Second pass: each input is the true token with probability p, else the mean embedding
    under the first pass's law of it; the loss is that of the second pass. p falls from 1 to 0, see ``curriculum``.
    """

    values: Tensor
    std: Tensor
    steps: Tensor
    worth: Tensor

    def __init__(
        self, config: GenerativeRegressionConfig, dim: int, statistics: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("values", statistics["values"])
        self.register_buffer("std", statistics["std"].float())
        # Part of the weights: training that goes on does so where the curriculum was.
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        of_tokens = torch.cat([torch.zeros(FIRST), self.values.float() * config.resolution])
        self.register_buffer("worth", of_tokens, persistent=False)
        n, width = FIRST + len(self.values), config.dim
        self.embedding = nn.Embedding(n, width, padding_idx=PAD)
        self.position = nn.Embedding(config.longest + 1, width)
        for table in (self.embedding, self.position):
            nn.init.normal_(table.weight, std=_STD)
        self.memory = nn.Linear(dim, width)
        layer = nn.TransformerDecoderLayer(
            width, config.heads, config.hidden, config.dropout, batch_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, config.layers)
        self.out = nn.Linear(width, n)

    def encode(self, label: Float[Tensor, " rows"]) -> Int64[Tensor, "rows length"]:
        """Tokens of labels, then the end, then padding."""
        whole = np.round(label.double().cpu().numpy() / self.config.resolution).astype(np.int64)
        tokens = sequences(whole, self.values.cpu().numpy(), self.config.longest)
        return torch.from_numpy(tokens).to(label.device)

    def decode(self, tokens: Int64[Tensor, "rows length"]) -> Float64[Tensor, " rows"]:
        """The sums of tokens."""
        whole = torch.cat([self.values.new_zeros(FIRST), self.values])[tokens].sum(1)
        return whole.double() * self.config.resolution

    def loss(
        self,
        x: Float[Tensor, "rows dim"],
        label: Float[Tensor, " rows"],
        duration: Float[Tensor, " rows"],
    ) -> Float[Tensor, ""]:
        """See `WatchTimeHead.loss`."""
        del duration
        if not len(x):
            nothing: Tensor = self.out(self.memory(x)).sum()
            return nothing
        tokens, memory, keep = self.encode(label), self.memory(x)[:, None], self.keep_probability()
        if self.training:
            self.steps += 1
        # Most labels are short sums and few are long: in parts by length, padding is a small share of what is computed.
        order = (tokens != PAD).sum(1).argsort(stable=True)
        per_row = torch.cat(
            [
                self._row_losses(tokens[rows], memory[rows], label[rows], keep)
                for rows in torch.tensor_split(order, _LENGTHS)
                if len(rows)
            ]
        )
        return mean_of_rows(per_row)

    def _row_losses(
        self, tokens: Tensor, memory: Tensor, label: Tensor, keep: float
    ) -> Float[Tensor, " rows"]:
        """Of rows of about the same length, whose common padding is cut off."""
        tokens = tokens[:, : int((tokens != PAD).sum(1).max())]
        true = torch.cat([tokens.new_full((len(tokens), 1), BEGIN), tokens[:, :-1]], 1)
        inputs = self.embedding(true)
        if keep < 1:
            with torch.no_grad():
                law = self._logits(inputs, memory)[:, :-1].softmax(2)
            # The law of a position is the next one's input; the first has none before it.
            kept = torch.rand(len(true), true.shape[1] - 1, 1, device=memory.device) < keep
            mixed = torch.where(kept, inputs[:, 1:], law @ self.embedding.weight)
            inputs = torch.cat([inputs[:, :1], mixed], 1)
        logits = self._logits(inputs, memory)
        real = tokens != PAD
        entropy = cross_entropy(logits.transpose(1, 2), tokens, reduction="none", ignore_index=PAD)
        # The end is worth nothing, in training as in guessing.
        guess = (self._expectation(logits.softmax(2)) * (real & (tokens != END))).sum(1)
        error = huber_loss(guess / self.std, label / self.std, reduction="none")
        return self.config.cross_entropy * entropy.sum(1) / real.sum(1) + self.config.error * error

    def forward(
        self, x: Float[Tensor, "rows dim"], duration: Float[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        """Says the likeliest token until the end, and adds up local expectations."""
        del duration
        memory, total = self.memory(x)[:, None], torch.zeros(len(x), device=x.device)
        tokens = torch.full((len(x), 1), BEGIN, dtype=torch.int64, device=x.device)
        # Rows that have not said the end; the others cost nothing.
        going = torch.arange(len(x), device=x.device)
        for _ in range(self.config.longest):
            law = self._logits(self.embedding(tokens), memory[going])[:, -1].softmax(1)
            likeliest = law.argmax(1)
            on = likeliest != END
            going, tokens, law, likeliest = going[on], tokens[on], law[on], likeliest[on]
            if not len(going):
                break
            total[going] += self._expectation(law[:, None]).squeeze(1)
            tokens = torch.cat([tokens, likeliest[:, None]], 1)
        return total

    def keep_probability(self) -> float:
        """The probability of true tokens in this step's second pass."""
        done = min(int(self.steps) / self.config.curriculum_steps, 1.0)
        if done in (0.0, 1.0):
            return 1.0 - done
        if self.config.curriculum == "linear":
            return 1.0 - done
        return float(
            0.01**done if self.config.curriculum == "exponential" else 1 / (1 + np.exp(10 * (done - 0.5)))
        )

    def _logits(self, inputs: Tensor, memory: Tensor) -> Tensor:
        length = inputs.shape[1]
        place = self.position(torch.arange(length, device=inputs.device))
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=inputs.device)
        logits: Tensor = self.out(self.decoder(inputs + place, memory, tgt_mask=mask, tgt_is_causal=True))
        # Neither is ever said.
        return logits.index_fill(2, torch.tensor([PAD, BEGIN], device=logits.device), float("-inf"))

    def _expectation(self, law: Float[Tensor, "rows length tokens"]) -> Float[Tensor, "rows length"]:
        """Mean worth of the tokens near the likeliest one, by its law, which is not scaled up to them."""
        near = torch.arange(-_NEAR, _NEAR + 1, device=law.device)
        at = law.argmax(2, keepdim=True) + near
        inside = (at >= FIRST) & (at < law.shape[2])
        at = at.clamp(0, law.shape[2] - 1)
        return (law.gather(2, at) * self.worth[at] * inside).sum(2)
