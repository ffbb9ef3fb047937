"""A statistic carries the split it was fitted on, and the task believes it on no other."""

import pytest
import tiny
import torch

from usermodel.baselines.item_knn import ItemKnn
from usermodel.baselines.popularity import Popularity
from usermodel.benchmark.evaluate import evaluate
from usermodel.errors import MismatchError
from usermodel.events.splits import (
    FittedOn,
    GlobalTimeConfig,
    LeaveLastOutConfig,
    RollingConfig,
    Split,
    UserRatioConfig,
    UserSplitConfig,
    split_hash,
)
from usermodel.tasks.next_item import NextItem
from usermodel.training.pretrain import pretrain

CONFIGS = [
    LeaveLastOutConfig(),
    LeaveLastOutConfig(k=2),
    GlobalTimeConfig(),
    GlobalTimeConfig(test_quantile=0.95),
    UserRatioConfig(),
    UserSplitConfig(),
    UserSplitConfig(seed=1),
    RollingConfig(),
    RollingConfig(fold=1),
]
HELD_OUT = UserSplitConfig(valid=0.3, test=0.3)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tiny.make_store(tmp_path_factory.mktemp("fitted") / "store")


def test_the_hash_is_that_of_the_configuration_and_the_store(store, tiny_store, tmp_path):
    hashes = [store.split(config).hash for config in CONFIGS]
    assert len(set(hashes)) == len(CONFIGS)
    assert all(len(one) == 64 for one in hashes)
    assert hashes == [split_hash(config, store.content_hash) for config in CONFIGS]
    assert tiny_store.split().hash != store.split().hash
    # The same log again, elsewhere.
    assert tiny.make_store(tmp_path / "again").split().hash == store.split().hash
    assert store.split().fitted_on == FittedOn("leave-last-out", store.split().hash)


@pytest.mark.parametrize("baseline", [Popularity, ItemKnn])
def test_the_task_refuses_a_baseline_of_another_split(store, baseline):
    task = NextItem()
    labels = task.requests(store)
    own = baseline.fit(store, store.split(), labels)
    assert own.fitted_on == store.split().fitted_on
    assert task.score(own, store, labels)[0].n == len(labels)
    other = baseline.fit(store, store.split(HELD_OUT), labels)
    message = (
        "expected a scorer fitted on the split of the labels .leave-last-out.*found one fitted on user-split"
    )
    with pytest.raises(MismatchError, match=message):
        task.score(other, store, labels)


def test_the_task_refuses_a_baseline_of_another_store(store, tmp_path):
    twin = tiny.make_store(tmp_path / "twin", seed=1)
    assert twin.n_items == store.n_items
    task = NextItem()
    foreign = Popularity.fit(twin, twin.split(), task.requests(twin))
    with pytest.raises(MismatchError, match="fitted on the split of the labels"):
        task.score(foreign, store, task.requests(store))


def test_a_scorer_that_claims_nothing_is_scored(store):
    task = NextItem()
    labels = task.requests(store)
    by_hand = Split(store.offsets[:-1], *[store.offsets[1:]] * 3, name="all")
    scorer = Popularity.fit(store, by_hand, labels)
    assert scorer.fitted_on is None
    assert task.score(scorer, store, labels)
    assert task.score(Popularity(torch.zeros(store.n_items)), store, labels)


def test_statistics_never_see_held_out_users(store):
    """Counted by hand: the events of the users who train, and of nobody else."""
    split = store.split(HELD_OUT)
    place = HELD_OUT.draw(store.users.ids)
    expected = [0] * store.n_items
    for user in range(store.n_users):
        if place[user] >= 0.6:
            for row in range(store.offsets[user], store.offsets[user + 1]):
                expected[store.items[row] - 1] += 1
    assert 0 < sum(expected) < store.n_events
    assert store.item_counts(split.train_stop)[1:].tolist() == expected
    labels = NextItem(split=HELD_OUT).requests(store)
    assert Popularity.fit(store, split, labels).counts.tolist() == expected
    # And yet the whole history of a held-out user is read.
    assert (labels.stop == store.offsets[labels.user + 1] - 1).all()
    assert (place[labels.user] < 0.3).all()


@pytest.mark.parametrize("config", [HELD_OUT, UserRatioConfig(valid=0.3, test=0.3), LeaveLastOutConfig(k=2)])
def test_a_run_trains_and_is_evaluated_on_every_kind(store, tmp_path, config):
    recipe = tiny.RECIPE.override({"data.split": config.model_dump(), "training.max_epochs": 1})
    run = pretrain(store, recipe, tmp_path / "run")
    results = evaluate(run, store)
    assert results[0].n == len(store.split(config).targets("test")[0]) > 0
    assert run.meta["split"] == store.split(config).name
