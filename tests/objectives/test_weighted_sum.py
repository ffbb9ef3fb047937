import json

import numpy as np
import pytest
import torch

from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError
from usermodel.events.splits import LeaveLastOutConfig
from usermodel.negatives.uniform import Uniform
from usermodel.objectives.icsrec import IcsrecConfig
from usermodel.objectives.masked_item import MaskedItemConfig
from usermodel.objectives.next_item import NextItemConfig
from usermodel.objectives.weighted_sum import Term, WeightedSumConfig
from usermodel.recipes.catalog import parse_assignments
from usermodel.sampling.all_positions import AllPositionsConfig
from usermodel.training.recipe import Recipe

HISTORIES = [[3, 1, 4, 1], [5], [2, 6], [], [9, 9, 9, 8, 7]]
NEXT, PIECES = NextItemConfig(), IcsrecConfig(next_item=0.0, fine=0.0)
BOTH = WeightedSumConfig(terms=(Term(objective=NEXT), Term(objective=PIECES, weight=0.3, name="pairs")))


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return TransformerConfig(dim=8, hidden=16, max_history=8, init_std=0.3, dropout=0.1).build(9)


def test_value_gradient_and_parts_are_the_weighted_ones(encoder, make_batch):
    batch, weights = make_batch(*HISTORIES), list(encoder.parameters())
    torch.manual_seed(1)
    output = BOTH.build(encoder)(encoder, batch)
    torch.manual_seed(1)
    one, two = NEXT.build(encoder)(encoder, batch), PIECES.build(encoder)(encoder, batch)
    wanted = one.loss + 0.3 * two.loss
    assert one.loss.item() > 0
    assert two.loss.item() > 0
    torch.testing.assert_close(output.loss, wanted)
    for a, b in zip(*(torch.autograd.grad(loss, weights) for loss in (output.loss, wanted)), strict=True):
        torch.testing.assert_close(a, b)
    assert output.n_targets == one.n_targets + two.n_targets == 8 + 4
    assert {name: value.item() for name, value in output.parts.items()} == {
        "next_item/softmax": one.loss.item(),
        "pairs/softmax": two.parts["softmax"].item(),
        "pairs/coarse": two.parts["coarse"].item(),
    }


def test_one_term_of_weight_1_is_the_objective_itself(encoder, make_batch):
    batch = make_batch(*HISTORIES)
    torch.manual_seed(1)
    output = WeightedSumConfig().build(encoder)(encoder, batch)
    torch.manual_seed(1)
    alone = NEXT.build(encoder)(encoder, batch)
    assert torch.equal(output.loss, alone.loss)
    assert output.n_targets == alone.n_targets


def test_it_survives_json_inside_a_recipe_and_inside_itself():
    nested = WeightedSumConfig(terms=(Term(objective=BOTH, weight=2.0), Term(objective=NEXT)))
    recipe = Recipe(objective=nested)
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    assert type(again.objective.terms[0].objective.terms[1].objective) is IcsrecConfig


def test_terms_can_be_given_on_a_command_line():
    text = json.dumps(
        [
            {"weight": 0.5},
            {"name": "b", "objective": {"class": "usermodel.objectives.icsrec:IcsrecConfig", "fine": 0.0}},
        ]
    )
    name = "usermodel.objectives.weighted_sum:WeightedSumConfig"
    given = parse_assignments([f"objective.class={name}", f"objective.terms={text}"])
    assert Recipe().override(given).objective.terms == (
        Term(weight=0.5),
        Term(name="b", objective=IcsrecConfig(fine=0.0)),
    )
    changed = Recipe().override(given).override({"objective.terms.1.weight": 2.0})
    assert [term.weight for term in changed.objective.terms] == [0.5, 2.0]
    with pytest.raises(ConfigError, match=r"objective\.terms\.1\.wieght.*Did you mean 'weight'"):
        changed.override({"objective.terms.1.wieght": 2.0})


def test_partners_and_negatives_are_wanted_if_one_term_wants_them(encoder):
    sampled = NextItemConfig(loss="bce", n_negatives=4)
    alone, both = (
        WeightedSumConfig(terms=terms)
        for terms in ((Term(),), (Term(), Term(objective=sampled, name="bce"), Term(objective=PIECES)))
    )
    assert (alone.wants_partners, alone.draws_negatives(9)) == (False, False)
    assert (both.wants_partners, both.draws_negatives(9)) == (True, True)
    assert both.build(encoder, Uniform(9)).facts() == {
        "loss": "1 next_item + 1 bce + 1 icsrec",
        "next_item/loss": "softmax", "bce/loss": "bce", "bce/n_negatives": 4, "bce/prior": True,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="negatives"):
        both.build(encoder)


def test_each_term_hears_of_the_epoch(encoder, make_store):
    objective, heard, store = BOTH.build(encoder), [], make_store([1, 2, 3, 4, 5], [6, 7, 8, 9])
    split = store.split(LeaveLastOutConfig())
    examples = AllPositionsConfig().sample(store, split, max_history=8, rng=np.random.default_rng(0))
    for term in objective.objectives:
        term.on_epoch_start = lambda *given, term=term: heard.append((term, given))
    objective.on_epoch_start(encoder, store, examples)
    assert heard == [(term, (encoder, store, examples)) for term in objective.objectives]


def test_equal_names_are_refused():
    with pytest.raises(ValueError, match=r"terms with names that differ \(set name\), got next_item twice"):
        WeightedSumConfig(terms=(Term(), Term(weight=2.0)))
    WeightedSumConfig(terms=(Term(), Term(weight=2.0, name="again")))


def test_terms_must_fit_the_same_encoder(encoder):
    config = WeightedSumConfig(terms=(Term(), Term(objective=MaskedItemConfig())))
    with pytest.raises(ConfigError, match=r"encoder\.causal"):
        config.build(encoder)
