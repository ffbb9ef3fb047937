import math

import numpy as np
import pytest
import torch

from usermodel.batch import collate
from usermodel.errors import ConfigError, IntegrityError, InterruptedRunError, NumericError
from usermodel.losses.softmax import full_softmax
from usermodel.objectives.next_item import NextItem
from usermodel.objectives.protocol import ObjectiveOutput
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.loop import Loop
from usermodel.training.precision import has_bf16
from usermodel.training.validation import next_item_validation


def make_loop(store, recipe, folder, **changes) -> Loop:
    recipe = recipe.override({f"training.{key}": value for key, value in changes.items()})
    folder.mkdir(exist_ok=True)
    return Loop(store, store.split(), recipe, folder)


def real_validation(loop: Loop):
    return next_item_validation(loop.store, loop.split, loop.encoder.max_history, loop.config.monitor)


def scripted(*values: float):
    """A validation that says these values, one after another, and keeps the weights it saw."""
    seen = []

    def validate(encoder):
        seen.append({name: weight.clone() for name, weight in encoder.state_dict().items()})
        return {"ndcg@10": values[len(seen) - 1]}

    return validate, seen


def run(loop: Loop, validate=None, stop_at: int | None = None) -> Loop:
    """Run; ask to stop during the step of this number, as a signal would."""
    take = loop._step

    def step(examples):
        take(examples)
        loop.stop_requested |= loop.state.step == stop_at

    loop._step = step
    loop.run(validate or real_validation(loop))
    return loop


def weights_of(loop: Loop) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in loop.modules.state_dict().items()}


def rows_of(loop: Loop) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in loop.state.history]


def same(a: Loop, b: Loop) -> bool:
    ours, theirs = weights_of(a), weights_of(b)
    return rows_of(a) == rows_of(b) and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_learns(store, recipe, tmp_path):
    loop = run(make_loop(store, recipe, tmp_path, max_epochs=6))
    losses = [row["loss"] for row in loop.state.history]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] < 1.05 * math.log(store.n_items)
    assert loop.state.best > loop.state.history[0]["ndcg@10"]
    with torch.no_grad():
        for weight in loop.encoder.parameters():
            weight.zero_()
    chance = real_validation(loop)(loop.encoder)["ndcg@10"]
    assert loop.state.best > chance + 0.2


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(store, recipe, tmp_path):
    a, b, c = (
        run(make_loop(store, recipe, tmp_path / n, seed=seed)) for n, seed in [("a", 7), ("b", 7), ("c", 8)]
    )
    assert same(a, b)
    assert not same(a, c)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bf16", "optimiser": "adamw", "weight_decay": 0.1, "warmup_steps": 9},
        {"batch_users": 7, "max_steps": 20},
        {
            "schedule": "cosine",
            "warmup_steps": 2,
            "accumulate": 3,
            "batch_events": 33,
            "clip_norm": 0.5,
            "ema": 0.9,
        },
        # A rate at which some validations are worse, so that it drops.
        {"schedule": "plateau", "patience": 1, "learning_rate": 0.3, "warmup_steps": 2, "max_epochs": 6},
    ],
)
def test_stopped_at_any_step_and_resumed_equals_uninterrupted(store, recipe, tmp_path, changes):
    whole = run(make_loop(store, recipe, tmp_path / "whole", **changes))
    steps = whole.state.step
    # The last step of all, of an epoch, and a few others.
    ends = [int(row["step"]) for row in whole.state.history]
    places = sorted({1, *ends, *np.random.default_rng(0).integers(1, steps, 4).tolist()})
    for number, stop in enumerate(places):
        with pytest.raises(InterruptedRunError, match="Continue with --resume"):
            run(make_loop(store, recipe, folder := tmp_path / f"cut{number}", **changes), stop_at=stop)
        rest = make_loop(store, recipe, folder, **changes)
        assert rest.restore() == []
        assert rest.state.step == stop
        assert same(run(rest), whole), f"stopped at step {stop} of {steps}"


def test_stopped_at_many_steps_one_after_another(store, recipe, tmp_path):
    whole = run(make_loop(store, recipe, tmp_path / "whole"))
    for stop in (1, 2, 5, 6, 11):
        loop = make_loop(store, recipe, tmp_path / "cut")
        loop.restore()
        with pytest.raises(InterruptedRunError):
            run(loop, stop_at=stop)
    loop = make_loop(store, recipe, tmp_path / "cut")
    loop.restore()
    assert same(run(loop), whole)


def test_a_validation_that_draws_numbers_is_resumed_exactly(store, recipe, tmp_path):
    def noisy(encoder):
        return {"ndcg@10": float(torch.rand(()))}

    whole = run(make_loop(store, recipe, tmp_path / "whole"), noisy)
    stop = int(whole.state.history[0]["step"])
    with pytest.raises(InterruptedRunError):
        run(make_loop(store, recipe, tmp_path / "cut"), noisy, stop_at=stop)
    rest = make_loop(store, recipe, tmp_path / "cut")
    rest.restore()
    assert same(run(rest, noisy), whole)


def test_a_validation_that_leaves_the_encoder_in_evaluation_mode_does_not_switch_dropout_off(
    store, recipe, tmp_path
):
    tidy = run(make_loop(store, recipe, tmp_path / "tidy"), lambda encoder: {"ndcg@10": 0.5})
    careless = run(
        make_loop(store, recipe, tmp_path / "careless"), lambda encoder: encoder.eval() and {"ndcg@10": 0.5}
    )
    assert same(tidy, careless)


def test_early_stopping_keeps_the_best_weights_and_not_the_last(store, recipe, tmp_path):
    validate, seen = scripted(0.1, 0.5, 0.5, 0.4, 0.3, 0.2)
    loop = run(make_loop(store, recipe, tmp_path, max_epochs=50, patience=3), validate)
    assert (loop.state.epoch, loop.state.best_epoch, loop.state.best) == (5, 2, 0.5)
    kept = loop.encoder.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in seen[1].items())
    assert not all(torch.equal(kept[name], value) for name, value in seen[-1].items())


def test_the_best_weights_survive_a_resume(store, recipe, tmp_path):
    validate, seen = scripted(0.9, 0.1, 0.1, 0.1)
    with pytest.raises(InterruptedRunError):
        run(make_loop(store, recipe, tmp_path, max_epochs=3), validate, stop_at=8)
    loop = make_loop(store, recipe, tmp_path, max_epochs=3)
    loop.restore()
    assert loop.state.metrics == {"ndcg@10": 0.9}
    run(loop, validate)
    assert loop.state.best_epoch == 1
    assert all(torch.equal(loop.encoder.state_dict()[name], value) for name, value in seen[0].items())


def test_max_steps_is_respected_and_the_cut_epoch_validated(store, recipe, tmp_path):
    per_epoch = int(run(make_loop(store, recipe, tmp_path / "a", max_epochs=1)).state.step)
    for steps in (1, per_epoch, per_epoch + 2):
        loop = run(make_loop(store, recipe, tmp_path / f"n{steps}", max_steps=steps, validate_every=100))
        assert loop.state.step == steps
        assert loop.state.history[-1]["step"] == steps
        assert loop.state.best_epoch == loop.state.epoch == math.ceil(steps / per_epoch)
    whole = loop.state.history[0]["events"]
    assert loop.state.history[-1]["events"] < whole


def test_validation_comes_every_few_epochs_and_at_the_end(store, recipe, tmp_path):
    loop = run(make_loop(store, recipe, tmp_path, max_epochs=5, validate_every=2))
    assert [row["epoch"] for row in loop.state.history if "ndcg@10" in row] == [2, 4, 5]


def test_progress_never_goes_back(store, recipe, tmp_path):
    seen = []
    loop = make_loop(store, recipe, tmp_path, max_epochs=2)
    loop.run(real_validation(loop), seen.append)
    places = [(now.epoch, now.done) for now in seen]
    assert places == sorted(set(places))
    assert len(seen) == loop.state.step
    assert all(0 < now.done <= now.total and now.max_epochs == 2 and math.isfinite(now.loss) for now in seen)
    ends = [now for now in seen if now.done == now.total]
    assert [now.epoch for now in ends] == [1, 2]
    assert [now.metrics["ndcg@10"] for now in ends] == [row["ndcg@10"] for row in loop.state.history]
    assert seen[0].metrics == {}


def test_after_a_resume_progress_still_shows_the_latest_validation(store, recipe, tmp_path):
    whole = make_loop(store, recipe, tmp_path / "whole")
    wanted = []
    whole.run(real_validation(whole), wanted.append)
    stop = int(whole.state.history[0]["step"]) + 2
    with pytest.raises(InterruptedRunError):
        run(make_loop(store, recipe, tmp_path / "cut"), stop_at=stop)
    rest, seen = make_loop(store, recipe, tmp_path / "cut"), []
    rest.restore()
    rest.run(real_validation(rest), seen.append)
    assert seen == wanted[stop:]


class Broken(NextItem):
    """NaN from the fourth step on."""

    calls = 0

    def forward(self, encoder, batch):
        self.calls += 1
        output = super().forward(encoder, batch)
        return ObjectiveOutput(output.loss * (float("nan") if self.calls > 3 else 1.0), output.n_targets)


def test_a_loss_that_is_not_finite_stops_before_the_optimiser(store, recipe, tmp_path):
    loop = make_loop(store, recipe, tmp_path, checkpoint_every_s=1e-9)
    loop.objective = Broken(loop.objective.loss)
    seen = []
    step = loop._step

    def spy(examples):
        seen.append(weights_of(loop))
        step(examples)

    loop._step = spy
    with pytest.raises(
        NumericError,
        match=r"loss: expected a finite number; found nan in step 4 at learning rate 0\.01, with users (u\d+, )+u\d+\. Lower",
    ):
        loop.run(real_validation(loop))
    assert all(torch.equal(weights_of(loop)[name], value) for name, value in seen[3].items())
    assert not all(torch.equal(seen[2][name], value) for name, value in seen[3].items())
    assert loop.state.step == 3
    assert [path.name for path in sorted(loop.checkpoints.iterdir())] == [
        "step-0000000002",
        "step-0000000003",
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_not_finite_is_an_error(store, recipe, tmp_path, value):
    with pytest.raises(
        NumericError, match=r"ndcg@10: expected a finite metric; found (nan|inf) after epoch 1"
    ):
        run(make_loop(store, recipe, tmp_path), lambda _: {"ndcg@10": value})


@pytest.mark.parametrize(("metrics", "found"), [({"auc": 0.5}, "auc"), ({}, "none")])
def test_a_monitor_that_is_not_there_is_named(store, recipe, tmp_path, metrics, found):
    with pytest.raises(
        ConfigError, match=rf"training\.monitor: expected a metric of the validation; found {found}"
    ):
        run(make_loop(store, recipe, tmp_path), lambda _: metrics)


def test_warm_up_rises_linearly(store, recipe, tmp_path):
    loop = make_loop(store, recipe, tmp_path, warmup_steps=4, learning_rate=0.08, max_epochs=1)
    rates, step = [], loop._step

    def spy(examples):
        step(examples)
        rates.append(loop.optimiser.param_groups[0]["lr"])

    loop._step = spy
    loop.run(real_validation(loop))
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.08])


def test_the_mean_loss_weighs_batches_by_their_targets(store, recipe, tmp_path):
    """With a learning rate of almost nothing, the epoch's mean is the mean over all targets of the untrained encoder."""
    quiet = recipe.override({"encoder.dropout": 0.0})
    loop = make_loop(store, quiet, tmp_path, learning_rate=1e-12, max_epochs=1, batch_users=7)
    examples, _ = loop._epoch(0)
    inputs, target = collate(store, examples).shifted()
    with torch.no_grad():
        wanted = full_softmax(loop.encoder(inputs).events, loop.encoder.item_vectors(), target - 1)
    run(loop)
    assert loop.state.history[0]["loss"] == pytest.approx(wanted.item(), rel=1e-5)


def test_an_item_index_outside_the_vocabulary_is_an_error_and_not_a_crash(recipe, tmp_path, make_store):
    path = make_store(tmp_path / "store", users=20).path
    items = np.load(path / "items.npy")
    items[0] = 10_000
    np.save(path / "items.npy", items)
    damaged = SequenceStore.open(path)
    with pytest.raises(IntegrityError, match="found the index 10000"):
        run(make_loop(damaged, recipe, tmp_path / "run"))


def test_precision_is_what_the_recipe_says(store, recipe, tmp_path):
    kinds = {name: make_loop(store, recipe, tmp_path, precision=name) for name in ("fp32", "bf16", "auto")}
    assert not kinds["fp32"].bf16
    assert kinds["bf16"].bf16
    assert kinds["auto"].bf16 == has_bf16(kinds["auto"].fabric.device)
    a, b = (
        run(make_loop(store, recipe, tmp_path / name, precision=name, max_epochs=1))
        for name in ("fp32", "bf16")
    )
    assert a.state.history[0]["loss"] != b.state.history[0]["loss"]
    assert a.state.history[0]["loss"] == pytest.approx(b.state.history[0]["loss"], rel=0.02)
    assert all(value.dtype == torch.float32 for value in weights_of(b).values())


class BrokenGradient(NextItem):
    """A finite loss with a gradient that is not, from the fourth step on."""

    calls = 0

    def forward(self, encoder, batch):
        self.calls += 1
        output = super().forward(encoder, batch)
        zero = (encoder.items.weight[1, 0] - encoder.items.weight[1, 0].detach()).abs().sqrt()
        return ObjectiveOutput(output.loss + zero if self.calls > 3 else output.loss, output.n_targets)


def test_a_gradient_that_is_not_finite_stops_before_the_optimiser(store, recipe, tmp_path):
    loop = make_loop(store, recipe, tmp_path, checkpoint_every_s=1e-9)
    loop.objective = BrokenGradient(loop.objective.loss)
    before = []
    step = loop._step
    loop._step = lambda examples: (before.append(weights_of(loop)), step(examples))
    message = r"length of the gradient: expected a finite number; found (nan|inf) in step 4 at learning rate 0\.01, with users u\d+"
    with pytest.raises(NumericError, match=message):
        loop.run(real_validation(loop))
    assert all(torch.equal(weights_of(loop)[name], value) for name, value in before[3].items())
    assert (loop.state.step, len(list(loop.checkpoints.iterdir()))) == (3, 2)


def losses_of(loop: Loop) -> list[float]:
    """Loss of each step."""
    seen, step = [], loop._step

    def spy(examples):
        before = loop.state.loss_sum, loop.state.n_targets
        step(examples)
        seen.append((loop.state.loss_sum - before[0]) / (loop.state.n_targets - before[1]))

    loop._step = spy
    loop.run(real_validation(loop))
    return seen


@pytest.mark.parametrize("size", [{"batch_events": 120}, {"batch_users": 12}])
def test_accumulated_batches_take_the_steps_of_the_bigger_batch(store, recipe, tmp_path, size):
    quiet = recipe.override({"encoder.dropout": 0.0})
    ((name, number),) = size.items()
    big = losses_of(make_loop(store, quiet, tmp_path / "big", **size))
    for parts in (2, 4):
        small = make_loop(store, quiet, tmp_path / f"by{parts}", accumulate=parts, **{name: number // parts})
        assert losses_of(small) == pytest.approx(big, rel=1e-6)


def test_each_part_of_a_batch_draws_negatives_of_its_own_and_always_the_same(store, recipe, tmp_path):
    """As many processes draw them too, whatever each of them drew before."""
    sampled = recipe.override({"objective.loss": "sampled-softmax", "objective.n_negatives": 5})

    def drawn(name: str) -> list[list[int]]:
        loop = make_loop(store, sampled, tmp_path / name, accumulate=2, max_steps=2)
        sampler, seen = loop.objective.loss.negatives, []
        sample = sampler.sample

        def spy(*args, **options):
            seen.append(sample(*args, **options))
            return seen[-1]

        sampler.sample = spy
        run(loop)
        return [negatives.ids.tolist() for negatives in seen]

    first = drawn("first")
    assert len({tuple(ids) for ids in first}) == len(first) == 4
    torch.manual_seed(123)
    assert drawn("again") == first


def test_more_parts_than_examples_leave_some_without_any(store, recipe, tmp_path):
    quiet = recipe.override({"encoder.dropout": 0.0})
    one = losses_of(make_loop(store, quiet, tmp_path / "one", batch_users=5, max_steps=3))
    many = losses_of(make_loop(store, quiet, tmp_path / "many", batch_users=1, accumulate=5, max_steps=3))
    assert many == pytest.approx(one, rel=1e-6)
    loop = make_loop(store, quiet, tmp_path / "few", accumulate=9)
    examples, _ = loop._epoch(0)
    loop._step(examples.take(np.arange(2)))
    assert loop.state.n_targets == int((examples.lengths[:2] - 1).sum())


def test_gradients_are_shortened_together(store, recipe, tmp_path):
    loops = [
        make_loop(store, recipe, tmp_path / name, clip_norm=clip)
        for name, clip in [("a", None), ("b", 1e-3), ("c", 1e3)]
    ]
    grads = []
    for loop in loops:
        loop._step(loop._epoch(0)[0])
        grads.append(torch.cat([w.grad.flatten() for w in loop.encoder.parameters() if w.grad is not None]))
    assert grads[1].norm().item() == pytest.approx(1e-3, rel=1e-4)
    torch.testing.assert_close(grads[1] / grads[1].norm(), grads[0] / grads[0].norm())
    assert torch.equal(grads[0], grads[2])


def test_the_average_of_the_weights_is_validated_kept_and_exported(store, recipe, tmp_path):
    validate, seen = scripted(0.1, 0.2, 0.3)
    loop = make_loop(store, recipe, tmp_path, ema=0.8)
    weights = []
    step = loop._step

    def spy(examples):
        step(examples)
        weights.append(loop.encoder.items.weight.detach().clone())

    first = loop.encoder.items.weight.detach().clone()
    loop._step = spy
    loop.run(validate)
    average = first
    for number, weight in enumerate(weights, 1):
        decay = min(0.8, (1 + number) / (10 + number))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(seen[-1]["items.weight"], average)
    assert not torch.allclose(average, weights[-1], atol=1e-4)
    assert torch.equal(loop.encoder.items.weight, seen[-1]["items.weight"])


def test_the_rate_falls_to_nothing_over_the_planned_steps(store, recipe, tmp_path):
    loop = make_loop(store, recipe, tmp_path, schedule="linear", learning_rate=0.1, max_steps=10)
    seen = []
    loop.run(real_validation(loop), lambda now: seen.append(now.learning_rate))
    assert seen == pytest.approx([0.1 * (10 - step) / 10 for step in range(10)])
    assert [row["learning_rate"] for row in loop.state.history] == pytest.approx([0.06, 0.01])


def test_on_a_plateau_the_rate_drops_a_few_times_and_then_training_ends(store, recipe, tmp_path):
    values = (0.5, 0.4, 0.4, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5)
    validate, seen = scripted(*values)
    plateau = {"schedule": "plateau", "patience": 2, "max_epochs": 50, "plateau_factor": 0.5}
    loop = make_loop(store, recipe, tmp_path, learning_rate=0.08, **plateau)
    shown, starts = [], []
    train = loop._train_epoch
    loop._train_epoch = lambda report: (starts.append(weights_of(loop)), train(report))[1]
    loop.run(validate, lambda now: shown.append((now.epoch, now.learning_rate)))
    wanted = [0.08, 0.08, 0.08, 0.04, 0.04, 0.04, 0.02, 0.02]
    assert [row["learning_rate"] for row in loop.state.history] == pytest.approx(wanted)
    assert all(rate == pytest.approx(wanted[epoch - 1]) for epoch, rate in shown)
    assert (loop.state.epoch, loop.state.best_epoch, loop.state.drops, loop.state.bad) == (8, 4, 2, 2)
    # Training goes on from where it is; the best weights are those of the finished run.
    for name, value in seen[2].items():
        assert torch.equal(starts[3][f"encoder.{name}"], value)
    assert all(torch.equal(loop.encoder.state_dict()[name], value) for name, value in seen[3].items())


def test_a_run_that_is_cut_just_after_a_drop_goes_on_at_the_lower_rate(store, recipe, tmp_path):
    changes = {"schedule": "plateau", "patience": 1, "max_epochs": 4, "ema": 0.9}
    values = [0.5, 0.4, 0.4, 0.3]
    whole = run(make_loop(store, recipe, tmp_path / "whole", **changes), scripted(*values)[0])
    assert [row["learning_rate"] for row in whole.state.history] == pytest.approx([0.01, 0.01, 0.002, 0.0004])
    first = int(whole.state.history[1]["step"]) + 1
    with pytest.raises(InterruptedRunError):
        run(make_loop(store, recipe, tmp_path / "cut", **changes), scripted(*values)[0], stop_at=first)
    rest = make_loop(store, recipe, tmp_path / "cut", **changes)
    rest.restore()
    assert same(run(rest, scripted(*values[2:])[0]), whole)
