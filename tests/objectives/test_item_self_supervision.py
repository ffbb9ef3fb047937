"""Two views of items: what each shows, the loss by loops, and who is refused."""

import json

import pytest
import torch

from usermodel.encoders.catalogue import Catalogue
from usermodel.encoders.mean_pool import MeanPoolConfig
from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError
from usermodel.nn.item_features import ItemFeature
from usermodel.objectives import item_self_supervision
from usermodel.objectives.item_self_supervision import ItemSelfSupervisionConfig
from usermodel.objectives.matryoshka import MatryoshkaConfig, Size
from usermodel.objectives.next_item import NextItemConfig
from usermodel.objectives.weighted_sum import Term, WeightedSumConfig

N_ITEMS = 30
NAMES = ("a", "copy", "other", "numbers")


PLAIN = ItemSelfSupervisionConfig(value_dropout=0.0)


def make(config=PLAIN, encoder=MeanPoolConfig, **changes):
    """Items with a feature, its copy, one of several values, and a number."""
    rng = torch.Generator().manual_seed(3)
    one = torch.randint(1, 4, (N_ITEMS + 1, 1), generator=rng, dtype=torch.int32)
    several = torch.randint(0, 3, (N_ITEMS + 1, 2), generator=rng, dtype=torch.int32)
    several[:, 1] *= several[:, 0] != several[:, 1]
    numbers = torch.randn(N_ITEMS + 1, 1, generator=rng)
    features = (
        ItemFeature("a", "codes", 3, 1, one),
        ItemFeature("copy", "codes", 3, 1, one.clone()),
        ItemFeature("other", "codes", 2, 2, several),
        ItemFeature("numbers", "numbers", 1, 1, numbers),
    )
    inputs = {"item_features": list(NAMES), "score_item_features": True}
    shape = {"dim": 6, "init_std": 0.3, "dropout": 0.0, "inputs": inputs} | changes
    torch.manual_seed(0)
    module = encoder().override(shape).build_for(Catalogue(N_ITEMS, (), features))
    return module, config.build(module)


@pytest.fixture
def views(monkeypatch):
    """The views of each loss, in turn."""
    seen = []

    def look(first, second, label, **options):
        seen.append((first.detach(), second.detach(), label))
        return first.sum() + second.sum()

    monkeypatch.setattr(item_self_supervision, "info_nce", look)
    return seen


@pytest.mark.parametrize("masking", ["correlated", "random"])
def test_every_feature_is_hidden_in_one_view_and_shown_in_the_other(masking, views, make_batch):
    encoder, objective = make(ItemSelfSupervisionConfig(masking=masking, value_dropout=0.0))
    masks = set()
    for seed in range(40):
        torch.manual_seed(seed)
        objective(encoder, make_batch([1]))
        first, second, index = views[-1]
        torch.manual_seed(seed)
        assert torch.equal(torch.randint(1, N_ITEMS + 1, (256,)), index)
        mask = objective.draw_mask()
        masks.add(tuple(mask.tolist()))
        assert 0 < mask.sum() < 5
        # By hand, feature by feature.
        wanted = [torch.zeros(256, 6), torch.zeros(256, 6)]
        parts = [encoder.items(index), *(part(index) for part in encoder.item_features.parts)]
        for number, part in enumerate(parts):
            hides, shows = (0, 1) if mask[number] else (1, 0)
            wanted[hides] = wanted[hides] + objective.hidden[number]
            wanted[shows] = wanted[shows] + part
        torch.testing.assert_close(first, wanted[0])
        torch.testing.assert_close(second, wanted[1])
        torch.testing.assert_close(first + second, encoder.item_vectors(index) + objective.hidden.sum(0))
    assert len(masks) > 2


def test_correlated_masks_go_by_mutual_information():
    _, objective = make()
    masks = {tuple(objective.draw_mask().tolist()) for _ in range(200)}
    # Of five features, the drawn one and two more; the id and what it is a copy of tell most of each.
    assert {sum(mask) for mask in masks} == {3}
    hidden = objective.facts()["hidden_with"]
    assert set(hidden) == {"item_id", *NAMES}
    assert set(hidden["a"]) == {"item_id", "copy"}
    assert set(hidden["copy"]) == {"item_id", "a"}
    assert all("item_id" in others for name, others in hidden.items() if name != "item_id")
    rows = {tuple(row) for row in objective.together.tolist()}
    assert masks == rows


def test_random_masks_hide_each_half_as_often():
    _, objective = make(ItemSelfSupervisionConfig(masking="random"))
    torch.manual_seed(0)
    masks = torch.stack([objective.draw_mask() for _ in range(4_000)])
    assert set(masks.sum(1).tolist()) == {2}
    assert ((masks.float().mean(0) - 0.4).abs() < 4 * (0.24 / 4_000) ** 0.5).all()
    assert len({tuple(mask) for mask in masks.tolist()}) == 10


def test_the_loss_by_loops(make_batch):
    encoder, objective = make(ItemSelfSupervisionConfig(batch_items=20, temperature=0.3, value_dropout=0.0))
    torch.manual_seed(5)
    output = objective(encoder, make_batch([1, 2]))
    torch.manual_seed(5)
    index, mask = torch.randint(1, N_ITEMS + 1, (20,)), objective.draw_mask()
    assert len(set(index.tolist())) < 20
    parts, losses = encoder.item_parts(index), []
    views = [
        sum(part if mask[k] == side else objective.hidden[k].expand(20, 6) for k, part in enumerate(parts))
        for side in (False, True)
    ]
    for one, other in (views, views[::-1]):
        for i in range(20):
            scores = torch.cosine_similarity(one[i][None], other) / 0.3
            kept = [j for j in range(20) if j == i or index[j] != index[i]]
            losses.append(torch.logsumexp(scores[kept], 0) - scores[i])
    torch.testing.assert_close(output.loss, torch.stack(losses).mean())
    assert output.n_targets == 20
    assert output.parts["info_nce"].item() == output.loss.item()


def test_items_are_drawn_evenly_whatever_the_batch(views, make_batch):
    encoder, objective = make()
    torch.manual_seed(0)
    for _ in range(120):
        objective(encoder, make_batch([1, 1, 1], [1, 2]))
    counts = torch.bincount(torch.cat([label for _, _, label in views]), minlength=N_ITEMS + 1)
    expected = 120 * 256 / N_ITEMS
    assert counts[0] == 0
    # Chi-square with 29 degrees of freedom: 58.3 at one in a thousand.
    assert float(((counts[1:] - expected) ** 2 / expected).sum()) < 58.3


def test_it_is_a_term_beside_the_next_item_and_of_each_size(make_batch):
    both = WeightedSumConfig(terms=(Term(), Term(objective=ItemSelfSupervisionConfig(), weight=0.2)))
    sizes = MatryoshkaConfig(objective=both, sizes=(Size(width=3, layers=1),))
    assert MatryoshkaConfig.from_dict(json.loads(json.dumps(sizes.to_dict()))) == sizes
    batch = make_batch([1, 2, 3], [4, 5])
    for config in (both, sizes):
        encoder, objective = make(config)
        output = objective(encoder, batch)
        output.loss.backward()
        assert all(bool(weight.grad.any()) for weight in objective.parameters())
        assert all(bool(w.grad.any()) for name, w in encoder.named_parameters() if "pooling" not in name)
    assert "1x3/item_self_supervision/info_nce" in output.parts


@pytest.mark.parametrize(
    "encoder",
    [
        MeanPoolConfig(),
        TransformerConfig(),
        TransformerConfig(inputs={"item_features": ("a", "copy", "other", "numbers")}),
    ],
    ids=["mean pool", "transformer", "features that do not score"],
)
def test_encoders_whose_items_have_no_features_are_refused(encoder):
    features = tuple(ItemFeature(name, "numbers", 1, 1) for name in encoder.inputs.item_features)
    module = encoder.build_for(Catalogue(9, (), features))
    with pytest.raises(
        ConfigError, match=r"encoder\.inputs: expected item features that score.*score_item_features=true"
    ):
        ItemSelfSupervisionConfig().build(module)
    assert NextItemConfig().build(module)
