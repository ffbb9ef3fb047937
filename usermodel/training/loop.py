"""The training loop, all of it: one file that can be read in ten minutes.

Every batch is a function of (seed, epoch, batch number), and everything random inside a step follows a seed made from
(seed, step). A run that was killed and resumed therefore takes exactly the steps of one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from usermodel.batch import collate
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError, InterruptedRunError, NumericError
from usermodel.events.splits import Split
from usermodel.loader import epoch_batches, generator, step_seed
from usermodel.objectives.protocol import Objective
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore
from usermodel.training import checkpoint
from usermodel.training.recipe import Recipe, TrainingConfig
from usermodel.training.run import write_history
from usermodel.training.validation import Validate


@dataclass(frozen=True)
class Progress:
    """What the loop tells whoever watches.

    Attributes:
        epoch: Number of the running epoch, from 1.
        max_epochs: The most there can be.
        done: Events of the epoch done.
        total: Events of the epoch.
        loss: Mean loss of the epoch so far.
        metrics: Latest validation.
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
        self.encoder: EncoderModule = recipe.encoder.build(store.n_items)
        self.objective: Objective = recipe.objective.build(self.encoder)
        self.modules = nn.ModuleDict({"encoder": self.encoder, "objective": self.objective})
        self.fabric = Fabric(accelerator="auto", devices=1, precision="32-true")
        self.modules.to(self.fabric.device)
        self.optimiser = _optimiser(self.config, self.modules)
        self.state = checkpoint.State()
        self.best: dict[str, Tensor] = {}
        self.metrics: dict[str, float] = {}
        self.stop_requested = False

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / "checkpoints"

    def restore(self) -> list[str]:
        """Continue from the latest intact checkpoint; returns what was skipped."""
        self.state, self.best, skipped = checkpoint.restore(self.checkpoints, self.modules, self.optimiser)
        return skipped

    def save(self) -> None:
        """Write a checkpoint."""
        checkpoint.save(self.checkpoints, self.modules, self.optimiser, self.state, self.best)

    def run(self, validate: Validate, on_progress: OnProgress | None) -> None:
        """Train until the epochs, the steps or the patience are used up; the encoder then holds the best weights.

        Raises:
            InterruptedRunError: Someone asked to stop; a checkpoint was saved.
            NumericError: The loss is not finite; the checkpoints before it stay.
        """
        saved_at = started = time.monotonic()
        earlier = self.state.seconds
        while not self._finished():
            examples, batches = self._epoch()
            total = int(examples.lengths.sum())
            done = int(sum(examples.lengths[rows].sum() for rows in batches[: self.state.batch]))
            for rows in batches[self.state.batch :]:
                self._step(examples.take(rows))
                done += int(examples.lengths[rows].sum())
                self.state.seconds = earlier + time.monotonic() - started
                if on_progress is not None:
                    on_progress(self._progress(done, total))
                if self.stop_requested or time.monotonic() - saved_at > self.config.checkpoint_every_s:
                    self.save()
                    saved_at = time.monotonic()
                if self.stop_requested:
                    found, do = "a request to stop", "Continue with --resume."
                    raise InterruptedRunError(str(self.folder), expected="to finish", found=found, do=do)
                if self._out_of_steps():
                    break
            self._end_epoch(validate, total)
            if on_progress is not None:
                on_progress(self._progress(total, total, epoch=self.state.epoch))
        self.state.seconds = earlier + time.monotonic() - started
        self.save()
        self.encoder.load_state_dict(self.best)

    def _epoch(self) -> tuple[Examples, list[Any]]:
        seed, epoch = self.config.seed, self.state.epoch
        history = self.encoder.max_history
        examples = self.recipe.sampling.sample(
            self.store, self.split, max_history=history, rng=generator(seed, "sample", epoch)
        )
        users, events = self.config.batch_users, self.config.batch_events
        return examples, epoch_batches(examples.lengths, seed=seed, epoch=epoch, batch_users=users, batch_events=events)

    def _step(self, examples: Examples) -> None:
        torch.manual_seed(step_seed(self.config.seed, self.state.step))
        self.modules.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * min(1.0, (self.state.step + 1) / max(self.config.warmup_steps, 1))
        batch = collate(self.store, examples).to(self.fabric.device)
        device = self.fabric.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self._bf16()):
            output = self.objective(self.encoder, batch)
        loss = float(output.loss.detach())
        if not torch.isfinite(output.loss):
            first = self.store.users.decode(examples.user[:3] + 1).to_list()
            found = f"{loss} in step {self.state.step + 1}, with users such as {first}"
            do = "Lower training.learning_rate; the checkpoints before this step are intact."
            raise NumericError("loss", expected="a finite loss", found=found, do=do)
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(output.loss)
        self.optimiser.step()
        self.state.step += 1
        self.state.batch += 1
        self.state.loss_sum += loss * output.n_targets
        self.state.n_targets += output.n_targets

    def _bf16(self) -> bool:
        if self.config.precision == "auto":
            return has_bf16(self.fabric.device)
        return self.config.precision == "bf16"

    def _end_epoch(self, validate: Validate, total: int) -> None:
        state = self.state
        loss = state.loss_sum / max(state.n_targets, 1)
        row = {"epoch": state.epoch + 1, "step": state.step, "loss": loss, "events": total, "seconds": round(state.seconds, 3)}
        state.epoch += 1
        state.batch, state.loss_sum, state.n_targets = 0, 0.0, 0
        if state.epoch % self.config.validate_every == 0 or state.epoch == self.config.max_epochs or self._out_of_steps():
            self.metrics = validate(self.encoder)
            row |= self.metrics
            self._compare()
        state.history.append(row)
        write_history(state.history, self.folder / "metrics.csv")

    def _compare(self) -> None:
        state, monitor = self.state, self.config.monitor
        if monitor not in self.metrics:
            found = ", ".join(self.metrics)
            raise ConfigError("training.monitor", expected="a metric of the validation", found=found, do="Choose one of these.")
        value = self.metrics[monitor]
        if state.best is None or value > state.best:
            state.best, state.best_epoch, state.bad = value, state.epoch, 0
            self.best = {name: weight.detach().cpu().clone() for name, weight in self.encoder.state_dict().items()}
        else:
            state.bad += 1

    def _out_of_steps(self) -> bool:
        return self.config.max_steps is not None and self.state.step >= self.config.max_steps

    def _finished(self) -> bool:
        return self.state.epoch >= self.config.max_epochs or self.state.bad >= self.config.patience or self._out_of_steps()

    def _progress(self, done: int, total: int, epoch: int | None = None) -> Progress:
        number = self.state.epoch + 1 if epoch is None else epoch
        loss = self.state.loss_sum / max(self.state.n_targets, 1) if epoch is None else self.state.history[-1]["loss"]
        return Progress(number, self.config.max_epochs, done, total, loss, self.metrics)


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products are faster than float32 ones on a device; emulation on old processors is not."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _optimiser(config: TrainingConfig, modules: nn.Module) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(modules.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
