"""The negatives group of a recipe: where it has an effect, and where it is refused."""

import json

import pytest
import torch

from usermodel.errors import ConfigError, InterruptedRunError
from usermodel.events.splits import LeaveLastOutConfig
from usermodel.negatives.in_batch import InBatchConfig
from usermodel.negatives.mixed import MixedConfig
from usermodel.negatives.protocol import NegativeSampler
from usermodel.negatives.uniform import UniformConfig
from usermodel.negatives.without_false_negatives import WithoutFalseNegativesConfig
from usermodel.sampling.item_uniform import ItemUniformConfig
from usermodel.training import loop as loop_module
from usermodel.training.objective import build_objective
from usermodel.training.pretrain import pretrain
from usermodel.training.recipe import Recipe
from usermodel.training.run import Run

SAMPLED = {"objective.loss": "sampled-softmax", "objective.n_negatives": 5}


def build(recipe, store):
    split = store.split(LeaveLastOutConfig())
    return build_objective(recipe, recipe.encoder.build(store.n_items), store, split)


def test_the_group_decides_how_negatives_are_drawn(store, recipe):
    for shared in (True, False):
        sampled = recipe.override(SAMPLED | {"negatives.shared": shared})
        assert build(sampled, store).loss.negatives.shared == shared
        assert build(sampled, store).loss.negatives.n_items == store.n_items
    assert build(recipe, store).loss.negatives is None


def test_the_group_without_effect_is_refused(store, recipe):
    with pytest.raises(ConfigError) as caught:
        build(recipe.override({"negatives.shared": False}), store)
    assert str(caught.value) == (
        "negatives: expected its default, because the objective draws no negatives; found UniformConfig(shared=False). "
        "Drop it, or choose objective.loss=sampled-softmax."
    )


@pytest.mark.parametrize(
    "negatives",
    [
        InBatchConfig(),
        MixedConfig(),
        WithoutFalseNegativesConfig(source=InBatchConfig(), similarity=0.5),
    ],
)
def test_counts_of_events_do_not_say_how_often_items_are_targets_where_these_are_drawn(
    store, recipe, negatives
):
    sampled = recipe.override(SAMPLED | {"negatives": negatives})
    build(sampled, store)
    with pytest.raises(ConfigError, match=r"where ItemUniformConfig draws .* Set frequencies=streaming"):
        build(sampled.override({"sampling": ItemUniformConfig()}), store)


def test_a_streaming_estimate_goes_with_any_targets(store, recipe):
    negatives = InBatchConfig(frequencies="streaming")
    build(recipe.override(SAMPLED | {"negatives": negatives, "sampling": ItemUniformConfig()}), store)


def test_a_recipe_saved_before_there_were_negatives_still_loads(recipe, tmp_path):
    saved = recipe.to_dict()
    del saved["negatives"]
    for key in ("loss", "n_negatives", "calibration"):
        del saved["objective"][key]
    assert Recipe.from_dict(json.loads(json.dumps(saved))) == recipe


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("loss", ["sampled-softmax", "gbce", "bce"])
def test_a_run_learns_says_which_loss_and_resumes_bit_for_bit(
    store, recipe, tmp_path, run_facts, loss, shared
):
    sampled = recipe.override(
        {"objective.loss": loss, "objective.n_negatives": 5, "negatives.shared": shared}
    )
    whole = pretrain(store, sampled, tmp_path / "whole")
    assert (whole.meta["loss"], whole.meta["n_negatives"]) == (loss, 5)
    assert Run.open(whole).meta["loss"] == loss
    rows = whole.history()
    assert rows[-1]["loss"] < rows[0]["loss"]

    steps = []

    def stop(progress):
        steps.append(progress)
        if len(steps) == 4:
            import signal

            signal.raise_signal(signal.SIGINT)

    with pytest.raises(InterruptedRunError):
        pretrain(store, sampled, tmp_path / "cut", on_progress=stop)
    pretrain(store, out=tmp_path / "cut", resume=True)
    assert run_facts(tmp_path / "cut") == run_facts(tmp_path / "whole")


def test_the_full_softmax_says_so(store, recipe, tmp_path):
    meta = pretrain(store, recipe, tmp_path / "run").meta
    assert meta["loss"] == "softmax"
    assert "n_negatives" not in meta


class Following(NegativeSampler):
    """Keeps a number that follows the encoder, and a random one."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.refreshed = inner, 0
        self.register_buffer("norm", torch.zeros(2))

    def refresh(self, encoder, store):
        self.refreshed += 1
        self.norm = torch.stack([encoder.item_vectors().detach().norm(), torch.rand(())])

    def sample(self, positives, context, *, n, generator=None, log_q=True):
        drawn = self.inner.sample(positives, context, n=n, generator=generator, log_q=log_q)
        assert self.norm[0] > 0
        return drawn


def test_a_sampler_is_refreshed_once_an_epoch_and_its_buffers_survive_a_resume(
    store, recipe, tmp_path, monkeypatch
):
    made = []
    plain = UniformConfig.build
    monkeypatch.setattr(
        UniformConfig, "build", lambda *args: made.append(Following(plain(*args))) or made[-1]
    )
    sampled = recipe.override(SAMPLED)
    pretrain(store, sampled, tmp_path / "whole")
    assert made[0].refreshed == recipe.training.max_epochs
    steps = []

    def stop(progress):
        steps.append(progress)
        if len(steps) == 4:
            loop.stop_requested = True

    folder = tmp_path / "cut"
    folder.mkdir()
    loop = loop_module.Loop(store, store.split(LeaveLastOutConfig()), sampled, folder)
    with pytest.raises(InterruptedRunError):
        loop.run(lambda _: {"ndcg@10": 0.0}, stop)
    again = loop_module.Loop(store, store.split(LeaveLastOutConfig()), sampled, folder)
    again.restore()
    assert again.state.batch > 0
    assert torch.equal(again.objective.loss.negatives.norm, loop.objective.loss.negatives.norm)
    assert again.objective.loss.negatives.norm[0] > 0
