"""Configurations: a round trip through JSON by class name, refusals that name the key and the mend, no foreign import."""

import importlib
import json
import sys
from typing import Literal

import pytest
from pydantic import Field, SerializeAsAny, ValidationError, field_validator

from usermodel.config import Config, validate
from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import ConfigError
from usermodel.events.splits import GlobalTimeConfig, LeaveLastOutConfig
from usermodel.sampling.all_positions import AllPositionsConfig
from usermodel.training.recipe import DataConfig, Recipe, TrainingConfig


class Leaf(Config):
    width: int = 1
    rate: float = Field(default=0.5, ge=0, le=1)
    mode: Literal["fast", "slow"] = "fast"


class Wide(Leaf):
    width: int = 9
    extra: tuple[int, ...] = (1, 2)


class Tree(Config):
    leaf: SerializeAsAny[Leaf] = Leaf()
    leaves: tuple[SerializeAsAny[Leaf], ...] = ()
    by_name: dict[str, SerializeAsAny[Leaf]] = Field(default_factory=dict)
    name: str = Field(default="x", pattern="^[a-z]+$")
    must: int

    @field_validator("must")
    @classmethod
    def _even(cls, value):
        if value % 2:
            raise ValueError("an even number")
        return value


def through_json(config, cls=None):
    text = json.dumps(config.to_dict())
    return (cls or type(config)).from_dict(json.loads(text), allow_modules=[__name__])


@pytest.mark.parametrize(
    "config",
    [
        Leaf(),
        Tree(must=2),
        Tree(leaf=Wide(extra=(3,)), leaves=(Wide(), Leaf(width=4)), by_name={"a": Wide(width=5)}, must=4),
        Recipe(),
        Recipe(
            data=DataConfig(split=GlobalTimeConfig(valid_from=5, test_from=7)),
            encoder=TransformerConfig(dim=8),
            training=TrainingConfig(max_steps=3, learning_rate=0.1),
        ),
    ],
)
def test_json_round_trip_keeps_values_and_classes(config):
    again = through_json(config)
    assert again == config
    assert again.to_dict() == config.to_dict()
    assert type(again) is type(config)


def test_every_nested_configuration_names_its_class():
    data = Tree(leaf=Wide(), leaves=(Leaf(),), must=0).to_dict()
    assert data["class"] == f"{__name__}:Tree"
    assert data["leaf"] == {
        "class": f"{__name__}:Wide",
        "width": 9,
        "rate": 0.5,
        "mode": "fast",
        "extra": [1, 2],
    }
    assert data["leaves"][0]["class"] == f"{__name__}:Leaf"
    assert Recipe().to_dict()["sampling"] == {"class": "usermodel.sampling.all_positions:AllPositionsConfig"}


def test_the_subclass_comes_back_where_the_field_asks_for_the_base():
    again = through_json(Recipe(encoder=TransformerConfig(dim=16, heads=2)))
    assert type(again.encoder) is TransformerConfig
    assert again.encoder.dim == 16


def test_a_class_may_be_left_out_where_the_field_has_only_one():
    assert Recipe.from_dict({"training": {"max_epochs": 3}}).training == TrainingConfig(max_epochs=3)


def test_configurations_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Leaf().width = 3


FAILURES = [
    (
        {"training": {"max_epoch": 1}},
        "training.max_epoch: expected a key of TrainingConfig; found an unknown key. Did you mean 'max_epochs'?",
    ),
    ({"trainig": {}}, "trainig: expected a key of Recipe; found an unknown key. Did you mean 'training'?"),
    (
        {"training": {"max_epochs": 0}},
        "training.max_epochs: expected greater than or equal to 1; found 0. Change the value.",
    ),
    (
        {"training": {"max_epochs": True}},
        "training.max_epochs: expected a valid integer; found True. Change the value.",
    ),
    (
        {"training": {"max_epochs": "3"}},
        "training.max_epochs: expected a valid integer; found '3'. Change the value.",
    ),
    (
        {"training": {"max_epochs": 3.0}},
        "training.max_epochs: expected a valid integer; found 3.0. Change the value.",
    ),
    (
        {"training": {"learning_rate": float("nan")}},
        "training.learning_rate: expected a finite number; found nan. Change the value.",
    ),
    (
        {"training": {"learning_rate": float("inf")}},
        "training.learning_rate: expected a finite number; found inf. Change the value.",
    ),
    (
        {"training": {"optimiser": "adamww"}},
        "training.optimiser: expected 'adam' or 'adamw'; found 'adamww'. Did you mean 'adamw'?",
    ),
    (
        {"training": {"monitor": "gauc"}},
        r"training.monitor: expected text that matches pattern '^((hit|ndcg)@[1-9]\d*|mrr|accuracy|macro_f1|auc|none)$'; found 'gauc'. Change the value.",
    ),
    ({"training": 3}, "training: expected the keys of TrainingConfig; found 3. Change the value."),
    (
        {"data": {"split": "global-tim"}},
        "data.split: expected 'leave-last-out', 'global-time', 'user-ratio', 'user-split', 'rolling'; found 'global-tim'. Did you mean 'global-time'?",
    ),
    (
        {"data": {"split": {"kind": "global-time", "valid_form": 1}}},
        "data.split.valid_form: expected a key of GlobalTimeConfig; found an unknown key. Did you mean 'valid_from'?",
    ),
    (
        {"data": {"split": {"kind": "global-time", "valid_quantile": 2}}},
        "data.split.valid_quantile: expected less than 1; found 2. Change the value.",
    ),
    (
        {"encoder": {"class": "usermodel.encoders.transformer:TransformerConfig", "dimm": 3}},
        "encoder.dimm: expected a key of TransformerConfig; found an unknown key. Did you mean 'dim'?",
    ),
    (
        {"encoder": {"class": "usermodel.sampling.all_positions:AllPositionsConfig"}},
        "encoder: expected the keys of EncoderConfig; found AllPositionsConfig(). Change the value.",
    ),
    ([1], "Recipe: expected keys and values; found [1]. Correct the file."),
    ("text", "Recipe: expected keys and values; found 'text'. Correct the file."),
]


@pytest.mark.parametrize(
    ("data", "message"), FAILURES, ids=[message.partition(";")[0] for _, message in FAILURES]
)
def test_a_file_that_does_not_fit_is_one_sentence_about_one_key(data, message):
    with pytest.raises(ConfigError) as caught:
        Recipe.from_dict(data)
    assert str(caught.value) == message


def test_missing_keys_and_our_own_checks_are_told_alike():
    with pytest.raises(ConfigError, match=r"^must: expected a value; found none\. Give one\.$"):
        validate(Tree, {})
    with pytest.raises(ConfigError, match=r"^must: expected an even number; found 3\. Change the value\.$"):
        validate(Tree, {"must": 3})
    with pytest.raises(ConfigError, match=r"^leaves\.1\.widht: .* Did you mean 'width'\?$"):
        validate(Tree, {"must": 2, "leaves": ({"width": 1}, {"widht": 2})})


def test_a_file_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="class: expected Recipe; found TransformerConfig"):
        Recipe.from_dict(TransformerConfig().to_dict())


@pytest.mark.parametrize(
    "path",
    [
        "usermodel.encoders.transformer:NoSuchConfig",
        "usermodel.no_such_module:X",
        "usermodel.manifest:Manifest",
        "usermodel:simulate",
        "usermodel.config",
    ],
)
def test_a_name_that_is_no_configuration_class_is_refused(path):
    with pytest.raises(ConfigError, match="class: expected the import path of a configuration class"):
        Recipe.from_dict({"class": path})


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A module whose import leaves a trace on disk."""
    trace = tmp_path / "imported"
    (tmp_path / "foreign_module.py").write_text(
        f"from pathlib import Path\nPath({str(trace)!r}).touch()\n"
        "from usermodel.config import Config\nclass Mine(Config):\n    size: int = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield trace
    sys.modules.pop("foreign_module", None)


@pytest.mark.parametrize(
    "data",
    [
        {"class": "foreign_module:Mine"},
        {"encoder": {"class": "foreign_module:Mine"}},
        {"data": {"split": [{"class": "foreign_module:Mine"}]}},
        {"class": "usermodel_evil:Mine"},
        {"class": "usermodelx.config:Mine"},
        {"class": ":Mine"},
        {"class": None},
    ],
)
def test_a_class_outside_usermodel_is_refused_before_its_module_is_imported(foreign, data):
    with pytest.raises(ConfigError, match="class: expected a class under usermodel"):
        Recipe.from_dict(data)
    assert not foreign.exists()
    assert "foreign_module" not in sys.modules


def test_a_class_outside_usermodel_is_found_once_its_module_was_allowed(foreign):
    with pytest.raises(ConfigError, match=r"If you trust it, pass --allow-module foreign_module\.$"):
        Config.from_dict({"class": "foreign_module:Mine"})
    value = Config.from_dict({"class": "foreign_module:Mine", "size": 4}, allow_modules=["foreign_module"])
    assert value.to_dict() == {"class": "foreign_module:Mine", "size": 4}
    assert foreign.exists()
    assert isinstance(value, importlib.import_module("foreign_module").Mine)


def test_override_changes_one_key_and_leaves_the_original_alone():
    before = Recipe()
    after = before.override({"encoder.dim": 128, "training.learning_rate": 1})
    assert (after.encoder.dim, after.training.learning_rate) == (128, 1.0)
    assert after.override({"encoder.dim": before.encoder.dim, "training.learning_rate": 1e-3}) == before
    assert before == Recipe()


@pytest.mark.parametrize(
    ("assignments", "split"),
    [
        ({"data.split": "global-time"}, GlobalTimeConfig()),
        ({"data.split.kind": "global-time"}, GlobalTimeConfig()),
        ({"data.split": "global-time", "data.split.valid_from": 5}, GlobalTimeConfig(valid_from=5)),
        ({"data.split": {"kind": "global-time", "test_from": 9}}, GlobalTimeConfig(test_from=9)),
        # A TOML table has no order: what decides which keys exist comes first.
        ({"data.split.valid_from": 5, "data.split.kind": "global-time"}, GlobalTimeConfig(valid_from=5)),
        ({"data.split": GlobalTimeConfig(valid_from=3)}, GlobalTimeConfig(valid_from=3)),
        ({"data.split": "leave-last-out"}, LeaveLastOutConfig()),
        ({"data.split.class": "usermodel.events.splits:GlobalTimeConfig"}, GlobalTimeConfig()),
    ],
)
def test_override_swaps_the_split(assignments, split):
    recipe = Recipe().override(assignments)
    assert recipe.data.split == split
    assert type(recipe.data.split) is type(split)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_keys_of_one_part_are_set_at_once():
    """Neither fits the defaults alone: 15 is no multiple of 2 heads, nor 64 of 3."""
    for assignments in ({"encoder.dim": 15, "encoder.heads": 3}, {"encoder.heads": 3, "encoder.dim": 15}):
        encoder = Recipe().override({**assignments, "training.seed": 4}).encoder
        assert (encoder.dim, encoder.heads) == (15, 3)


def test_override_swaps_a_class_and_keeps_the_rest():
    recipe = Recipe().override(
        {"sampling.class": "usermodel.sampling.all_positions:AllPositionsConfig", "training.seed": 3}
    )
    assert recipe == Recipe(sampling=AllPositionsConfig(), training=TrainingConfig(seed=3))


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (
            {"encoder.dimm": 1},
            "encoder.dimm: expected a key of TransformerConfig; found an unknown key 'dimm'. Did you mean 'dim'?",
        ),
        (
            {"encoders.dim": 1},
            "encoders.dim: expected a key of Recipe; found an unknown key 'encoders'. Did you mean 'encoder'?",
        ),
        (
            {"encoder.dim.x": 1},
            "encoder.dim.x: expected 'dim' to hold further keys; found the value 64. Shorten the key.",
        ),
        (
            {"encoder.dim.0.x": 1},
            "encoder.dim.0.x: expected 'dim' to hold further keys; found the value 64. Shorten the key.",
        ),
        ({"encoder.dim": "wide"}, "encoder.dim: expected a valid integer; found 'wide'. Change the value."),
        (
            {"data.split": "nonsense"},
            "data.split: expected 'leave-last-out', 'global-time', 'user-ratio', 'user-split', 'rolling'; found 'nonsense'. Choose one of: global-time, leave-last-out, rolling, user-ratio, user-split.",
        ),
        (
            {"data.split.valid_from": 1},
            "data.split.valid_from: expected a key of LeaveLastOutConfig; found an unknown key 'valid_from'. Choose one of: k, kind.",
        ),
        (
            {"encoder.class": "os:system"},
            "class: expected a class under usermodel, or under a module that was allowed by name; found 'os:system'. If you trust it, pass --allow-module os.",
        ),
        ({"encoder.class": "usermodel.events.splits:GlobalTimeConfig"}, None),
    ],
)
def test_an_override_that_does_not_fit_names_the_whole_key(assignments, message):
    with pytest.raises(ConfigError) as caught:
        Recipe().override(assignments)
    assert message is None or str(caught.value) == message
