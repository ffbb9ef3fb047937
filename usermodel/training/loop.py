"""The training loop, all of it: one file that can be read in ten minutes.

Every batch is a function of (seed, epoch, batch number), and everything random inside a step follows a seed made from
(seed, step). A run that was killed and resumed therefore takes exactly the steps of one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from usermodel.batch import collate
from usermodel.encoders.encode import require_known_items
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError, InterruptedRunError, NumericError
from usermodel.events.splits import Split
from usermodel.loader import epoch_batches, generator, step_seed
from usermodel.objectives.protocol import Objective, ObjectiveOutput
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore
from usermodel.training import checkpoint
from usermodel.training.recipe import Recipe, TrainingConfig
from usermodel.training.run import write_history
from usermodel.training.validation import Validate


@dataclass(frozen=True)
class Progress:
    """What the loop tells whoever watches, after each step; after the last one of an epoch once it is validated.

    Attributes:
        epoch: Number of the running epoch, from 1.
        max_epochs: The most there can be.
        done: Events of the epoch done; ``total`` only once the epoch is over, its validation included.
        total: Events of the epoch.
        loss: Mean loss of the epoch so far.
        metrics: Latest validation; empty before the first.
    """

    epoch: int
    max_epochs: int
    done: int
    total: int
    loss: float
    metrics: dict[str, float]


OnProgress = Callable[[Progress], None]


class Loop:
    """State and steps of one run."""

    def __init__(self, store: SequenceStore, split: Split, recipe: Recipe, folder: Path) -> None:
        self.store, self.split, self.recipe, self.folder = store, split, recipe, folder
        self.config: TrainingConfig = recipe.training
        torch.manual_seed(int(generator(self.config.seed, "init").integers(2**63 - 1)))
        self.encoder: EncoderModule = recipe.encoder.build_for(recipe.encoder.catalogue(store))
        self.objective: Objective = recipe.objective.build(self.encoder)
        self.modules = nn.ModuleDict({"encoder": self.encoder, "objective": self.objective})
        self.fabric = Fabric(accelerator="auto", devices=1, precision="32-true")
        self.modules.to(self.fabric.device)
        self.optimiser = _optimiser(self.config, self.modules)
        self.state = checkpoint.State(store.content_hash)
        self.best: dict[str, Tensor] = {}
        self.stop_requested = False
        self._started = self._saved = time.monotonic()

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / "checkpoints"

    @property
    def bf16(self) -> bool:
        """Whether products are computed in bfloat16."""
        if self.config.precision == "auto":
            return has_bf16(self.fabric.device)
        return self.config.precision == "bf16"

    def restore(self) -> list[str]:
        """Continue from the latest intact checkpoint; returns a sentence per damaged one that was skipped."""
        restored = checkpoint.restore(self.checkpoints, self.modules, self.optimiser, self.store.content_hash)
        self.state, self.best, skipped = restored
        return skipped

    def save(self) -> None:
        """Write a checkpoint."""
        checkpoint.save(self.checkpoints, self.modules, self.optimiser, self.state, self.best)
        self._saved = time.monotonic()

    def run(self, validate: Validate, on_progress: OnProgress | None = None) -> None:
        """Train until the epochs, the steps or the patience are used up; the encoder then holds the best weights.

        Raises:
            InterruptedRunError: Someone asked to stop; a checkpoint was saved.
            NumericError: The loss or a metric is not finite; the checkpoints before it stay.
        """
        report = on_progress or (lambda _: None)
        self._saved = time.monotonic()
        self._started = self._saved - self.state.seconds
        while not self._finished():
            total = self._train_epoch(report)
            self._end_epoch(validate, total)
            loss = self.state.history[-1]["loss"]
            report(Progress(self.state.epoch, self.config.max_epochs, total, total, loss, self.state.metrics))
        self.state.seconds = time.monotonic() - self._started
        self.save()
        write_history(self.state.history, self.folder / "metrics.csv")
        self.encoder.load_state_dict(self.best)

    def _finished(self) -> bool:
        """Never in the middle of an epoch: one that was cut short by ``max_steps`` still has to be validated."""
        state, config = self.state, self.config
        return state.batch == 0 and (
            state.epoch >= config.max_epochs or state.bad >= config.patience or self._out_of_steps()
        )

    def _out_of_steps(self) -> bool:
        return self.config.max_steps is not None and self.state.step >= self.config.max_steps

    def _train_epoch(self, report: OnProgress) -> int:
        """Take the steps of an epoch that are still to do; returns its events."""
        examples, batches = self._epoch()
        total = int(examples.lengths.sum())
        done = sum(int(examples.lengths[rows].sum()) for rows in batches[: self.state.batch])
        for rows in batches[self.state.batch :]:
            if self._out_of_steps():
                break
            self._step(examples.take(rows))
            done += int(examples.lengths[rows].sum())
            self.state.seconds = time.monotonic() - self._started
            if done < total:
                loss = self.state.loss_sum / max(self.state.n_targets, 1)
                epoch, metrics = self.state.epoch + 1, self.state.metrics
                report(Progress(epoch, self.config.max_epochs, done, total, loss, metrics))
            if self.stop_requested or time.monotonic() - self._saved > self.config.checkpoint_every_s:
                self.save()
            if self.stop_requested:
                found, do = "a request to stop", "Continue with --resume."
                raise InterruptedRunError(str(self.folder), expected="to finish", found=found, do=do)
        return done if self._out_of_steps() else total

    def _epoch(self) -> tuple[Examples, list[Any]]:
        seed, epoch, config = self.config.seed, self.state.epoch, self.config
        examples = self.recipe.sampling.sample(
            self.store,
            self.split,
            max_history=self.encoder.max_history,
            rng=generator(seed, "sample", epoch),
        )
        users, events = config.batch_users, config.batch_events
        batches = epoch_batches(
            examples.lengths, seed=seed, epoch=epoch, batch_users=users, batch_events=events
        )
        return examples, batches

    def _step(self, examples: Examples) -> None:
        state, config = self.state, self.config
        torch.manual_seed(step_seed(config.seed, state.step))
        self.modules.train()
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (state.step + 1) / max(config.warmup_steps, 1))
        batch = collate(self.store, examples)
        require_known_items(self.store, batch)
        with torch.autocast(self.fabric.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            output: ObjectiveOutput = self.objective(self.encoder, batch.to(self.fabric.device))
        loss = float(output.loss.detach())
        if not math.isfinite(loss):
            first = self.store.users.decode(examples.user[:3] + 1).to_list()
            found = f"{loss} in step {state.step + 1}, with users such as {first}"
            do = "Lower training.learning_rate; the checkpoints before this step are intact."
            raise NumericError("loss", expected="a finite loss", found=found, do=do)
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(output.loss)
        self.optimiser.step()
        state.step += 1
        state.batch += 1
        state.loss_sum += loss * output.n_targets
        state.n_targets += output.n_targets

    def _end_epoch(self, validate: Validate, events: int) -> None:
        state, config = self.state, self.config
        loss = state.loss_sum / max(state.n_targets, 1)
        state.epoch += 1
        row = {"epoch": state.epoch, "step": state.step, "loss": loss, "events": events}
        row["seconds"] = round(state.seconds, 3)
        state.batch, state.loss_sum, state.n_targets = 0, 0.0, 0
        last = state.epoch == config.max_epochs or self._out_of_steps()
        if last or state.epoch % config.validate_every == 0:
            # A validation that draws numbers draws the same ones after a resume.
            torch.manual_seed(step_seed(config.seed, state.step))
            state.metrics = validate(self.encoder)
            row |= state.metrics
            self._compare()
        state.history.append(row)
        write_history(state.history, self.folder / "metrics.csv")

    def _compare(self) -> None:
        state, monitor = self.state, self.config.monitor
        if monitor not in state.metrics:
            found, do = ", ".join(state.metrics) or "none", "Choose one of these."
            raise ConfigError("training.monitor", expected="a metric of the validation", found=found, do=do)
        value = state.metrics[monitor]
        if not math.isfinite(value):
            found = f"{value} after epoch {state.epoch}"
            raise NumericError(monitor, expected="a finite metric", found=found, do="Look at the validation.")
        if state.best is None or value > state.best:
            state.best, state.best_epoch, state.bad = value, state.epoch, 0
            weights = self.encoder.state_dict()
            self.best = {name: weight.detach().cpu().clone() for name, weight in weights.items()}
        else:
            state.bad += 1


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products are faster than float32 ones on a device; emulation on old processors is not."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _optimiser(config: TrainingConfig, modules: nn.Module) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(modules.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
