"""The training loop, all of it: one file that can be read in ten minutes.

Every batch is a function of (seed, epoch, batch number), and everything random inside a step follows a seed made from
(seed, step, part). A run that was killed and resumed therefore takes exactly the steps of one that was not.

A batch is cut into parts, one for each rank and accumulation step; the gradient is the mean over all targets of all parts.
Every rank takes every step and holds the same state; rank 0 alone reports and writes.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError, IntegrityError, InterruptedRunError, NumericError, shorten
from usermodel.events.splits import Split
from usermodel.loader import cut, epoch_batches, generator, step_seed
from usermodel.objectives.protocol import Objective, ObjectiveOutput
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore
from usermodel.training import checkpoint, logs, optimiser, schedule
from usermodel.training.ema import Ema
from usermodel.training.objective import build_objective
from usermodel.training.precision import products, uses_bf16
from usermodel.training.processes import Team
from usermodel.training.progress import OnProgress, Progress
from usermodel.training.recipe import Recipe, TrainingConfig
from usermodel.training.resident import reader
from usermodel.training.run import write_history
from usermodel.training.validation import Validate


class Loop:
    """State and steps of one run, at one of its processes."""

    def __init__(
        self, store: SequenceStore, split: Split, recipe: Recipe, folder: Path, team: Team | None = None
    ) -> None:
        self.store, self.split, self.recipe, self.folder = store, split, recipe, folder
        self.config: TrainingConfig = recipe.training
        self.team = team or Team(self.config)
        self.fabric = self.team.fabric
        torch.manual_seed(int(generator(self.config.seed, "init").integers(2**63 - 1)))
        self.encoder: EncoderModule = recipe.encoder.build_on(store)
        self.objective: Objective = build_objective(recipe, self.encoder, store, split)
        self.modules = nn.ModuleDict({"encoder": self.encoder, "objective": self.objective})
        self.modules.to(self.fabric.device)
        self.read = reader(store, self.fabric.device)
        self.optimiser = optimiser.build(recipe, self.encoder, self.modules)
        self.weights = list(self.modules.parameters())
        self.kept = self.objective.kept(self.encoder)
        self.ema = Ema(self.kept, self.config.ema)
        self.state = checkpoint.State(store.content_hash)
        self.best: dict[str, Tensor] = {}
        self.stop_requested = self._stop_agreed = False
        self._log = logs.open_log(TrainingConfig(), folder, 0)
        self._planned = 0
        self._started = self._saved = time.monotonic()

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / "checkpoints"

    @property
    def bf16(self) -> bool:
        """Whether products are computed in bfloat16."""
        return uses_bf16(self.config.precision, self.fabric.device)

    def restore(self) -> list[str]:
        """Continue from the latest intact checkpoint; returns a sentence per damaged one that was skipped.

        Raises:
            IntegrityError: Another rank sees other checkpoints.
        """
        for turn in (True, False):
            # Rank 0 first: it sweeps the folder, which the others must not read meanwhile.
            if self.team.is_main is turn:
                parts = (self.modules, self.optimiser, self.store.content_hash, self.ema.average)
                self.state, self.best, skipped = checkpoint.restore(self.checkpoints, *parts)
            first = self.team.share(self.state.step)
        if first != self.state.step:
            expected, found = f"the checkpoint of step {first}, as at rank 0", f"step {self.state.step}"
            do = "Put the run folder on a disk that all hosts share."
            raise IntegrityError(str(self.checkpoints), expected=expected, found=found, do=do)
        return skipped

    def save(self) -> None:
        """Write a checkpoint."""
        if self.team.is_main:
            parts = (self.modules, self.optimiser, self.state, self.best, self.ema.average)
            checkpoint.save(self.checkpoints, *parts)
        self._saved = time.monotonic()

    def run(self, validate: Validate, on_progress: OnProgress | None = None) -> None:
        """Train until the epochs, the steps or the patience are used up; the encoder then holds the best weights.

        Raises:
            InterruptedRunError: Someone asked to stop, at any rank; a checkpoint was saved.
            NumericError: The loss, the gradient or a metric is not finite; the checkpoints before it stay.
            StorageError: No room for a checkpoint; those before it stay.
        """
        report = on_progress or (lambda _: None)
        if self.team.is_main:
            self._log = logs.open_log(self.config, self.folder, self.state.step)
        if self.config.schedule in schedule.PLANNED:
            self._planned = schedule.planned_steps(self.config, len(self._epoch(0)[1]))
        self._saved = time.monotonic()
        self._started = self._saved - self.state.seconds
        while not self._finished():
            total = self._train_epoch(report)
            self._end_epoch(validate, total, report)
        self.state.seconds = time.monotonic() - self._started
        self.save()
        self._write_history()
        self.kept.load_state_dict(self.best)

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
        examples, batches = self._epoch(self.state.epoch)
        if self.state.batch == 0:
            torch.manual_seed(step_seed(self.config.seed, self.state.step))
            self.objective.on_epoch_start(self.encoder, self.store, examples)
        self.modules.train()
        total = int(examples.lengths.sum())
        done = sum(int(examples.lengths[rows].sum()) for rows in batches[: self.state.batch])
        for rows in batches[self.state.batch :]:
            if self._out_of_steps():
                break
            self._step(examples.take(rows))
            done += int(examples.lengths[rows].sum())
            self.state.seconds = time.monotonic() - self._started
            if done < total:
                report(self._progress(done, total))
            # Alone, a request counts at once; ranks agree on it in the next step.
            stop = self._stop_agreed or (self.team.world == 1 and self.stop_requested)
            if stop or time.monotonic() - self._saved > self.config.checkpoint_every_s:
                self.save()
            if stop:
                found, do = "a request to stop", "Continue with --resume."
                raise InterruptedRunError(str(self.folder), expected="to finish", found=found, do=do)
        return done if self._out_of_steps() else total

    def _progress(self, done: int, total: int) -> Progress:
        state = self.state
        loss, parts = self._means()
        rate = schedule.rate(self.config, max(state.step - 1, 0), self._planned, state.drops)
        return Progress(
            state.epoch + 1, self.config.max_epochs, done, total, loss, state.metrics, parts, rate
        )

    def _means(self) -> tuple[float, dict[str, float]]:
        """Mean loss of the epoch so far, and its parts."""
        state, n = self.state, max(self.state.n_targets, 1)
        return state.loss_sum / n, {name: value / n for name, value in state.part_sums.items()}

    def _epoch(self, epoch: int) -> tuple[Examples, list[Any]]:
        seed, config = self.config.seed, self.config
        examples = self.recipe.sampling.sample(
            self.store,
            self.split,
            max_history=self.encoder.max_history,
            rng=generator(seed, "sample", epoch),
        )
        users = config.batch_users and config.batch_users * config.accumulate
        events = config.batch_events * config.accumulate
        batches = epoch_batches(
            examples.lengths, seed=seed, epoch=epoch, batch_users=users, batch_events=events
        )
        return examples, batches

    def _step(self, examples: Examples) -> None:
        """One optimiser step on a batch, of which this rank takes its parts."""
        state, config, team = self.state, self.config, self.team
        rate = schedule.rate(config, state.step, self._planned, state.drops)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        parts = cut(examples.lengths, team.world * config.accumulate)
        names: list[str] = []
        sums: list[Tensor] = []
        for number in range(team.rank, len(parts), team.world):
            seed_all(step_seed(config.seed, state.step, number), self.fabric.device)
            output = self._forward(examples.take(parts[number]) if len(parts) > 1 else examples)
            names = list(output.parts)
            # Sums over targets add up to those of the batch; means do not.
            weight = output.n_targets if len(parts) > 1 else 1
            self.fabric.backward(output.loss * weight)
            values = torch.stack([output.loss.detach(), *output.parts.values()]).double()
            sums.append(torch.cat([values * output.n_targets, values.new_tensor([output.n_targets])]))
        total = torch.stack(sums).sum(0)
        total = team.sum(torch.cat([total, total.new_tensor([self.stop_requested])]))
        team.sum_gradients(self.weights)
        scale = (1.0 / total[-2].clamp(min=1.0)).float() if len(parts) > 1 else None
        norm = optimiser.scale_and_clip(self.weights, scale, config.clip_norm)
        loss_sum, *part_sums, n_targets, stop, length = torch.cat([total, norm.double()[None]]).tolist()
        loss = loss_sum / max(n_targets, 1.0)
        self._require_finite({"loss": loss, "length of the gradient": length}, rate, examples)
        self.optimiser.step()
        state.step += 1
        state.batch += 1
        self.ema.update(state.step)
        state.loss_sum += loss_sum
        state.n_targets += int(n_targets)
        for name, value in zip(names, part_sums, strict=True):
            state.part_sums[name] = state.part_sums.get(name, 0.0) + value
        self._stop_agreed = stop > 0
        if state.step % logs.EVERY == 0:
            self._log({"step/loss": loss, "step/learning_rate": rate}, state.step)

    def _forward(self, examples: Examples) -> ObjectiveOutput:
        batch = self.read(examples)
        with products(bf16=self.bf16, device=self.fabric.device, dim=self.encoder.dim):
            output: ObjectiveOutput = self.objective(self.encoder, batch)
        return output

    def _require_finite(self, values: dict[str, float], rate: float, examples: Examples) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                ids = self.store.users.decode(examples.user + 1).unique(maintain_order=True)
                users = shorten(ids.to_list())
                found = f"{value} in step {self.state.step + 1} at learning rate {rate:g}, with users {users}"
                do = "Lower training.learning_rate or set training.clip_norm; the checkpoints before this step are intact."
                raise NumericError(name, expected="a finite number", found=found, do=do)

    def _end_epoch(self, validate: Validate, events: int, report: OnProgress) -> None:
        state, config = self.state, self.config
        loss, parts = self._means()
        optimiser.settle(self.optimiser)
        now = self._progress(events, events)
        state.epoch += 1
        row = {"epoch": state.epoch, "step": state.step, "loss": loss, "events": events}
        row |= {f"loss/{name}": value for name, value in parts.items()}
        row |= {"learning_rate": now.learning_rate, "seconds": round(state.seconds, 3)}
        state.batch, state.loss_sum, state.n_targets, state.part_sums = 0, 0.0, 0, {}
        last = state.epoch == config.max_epochs or self._out_of_steps()
        if last or state.epoch % config.validate_every == 0:
            # A validation that draws numbers draws the same ones after a resume.
            torch.manual_seed(step_seed(config.seed, state.step))
            with self.ema.applied():
                state.metrics = self.team.share(validate(self.encoder))
                row |= state.metrics
                self._compare()
        state.history.append(row)
        self._write_history()
        self._log({f"epoch/{name}": value for name, value in row.items() if name != "epoch"}, state.step)
        report(replace(now, metrics=state.metrics))

    def _write_history(self) -> None:
        if self.team.is_main:
            write_history(self.state.history, self.folder / "metrics.csv")

    def _compare(self) -> None:
        state, monitor = self.state, self.config.monitor
        if monitor == "none":
            self._keep()
            return
        if monitor not in state.metrics:
            found, do = ", ".join(state.metrics) or "none", "Choose one of these."
            raise ConfigError("training.monitor", expected="a metric of the validation", found=found, do=do)
        value = state.metrics[monitor]
        if not math.isfinite(value):
            found = f"{value} after epoch {state.epoch}"
            raise NumericError(monitor, expected="a finite metric", found=found, do="Look at the validation.")
        schedule.count(self.config, state, value)
        if state.best is None or value > state.best:
            state.best = value
            self._keep()

    def _keep(self) -> None:
        """Remember the weights as those of the finished run."""
        self.state.best_epoch = self.state.epoch
        weights = self.kept.state_dict()
        self.best = {name: weight.detach().cpu().clone() for name, weight in weights.items()}


def seed_all(seed: int, device: torch.device) -> None:
    """`torch.manual_seed` for the processor and one device; that one formats a stack trace each time without CUDA."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
