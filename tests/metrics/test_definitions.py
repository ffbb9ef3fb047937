import pytest

from usermodel.errors import ConfigError
from usermodel.metrics.definitions import definition
from usermodel.metrics.names import LIST_KINDS, RANK_KINDS, parse
from usermodel.metrics.presets import OURS, PRESETS, preset_of, require

NAMES = [kind if kind in ("auc", "gauc") else f"{kind}@7" for kind in RANK_KINDS + LIST_KINDS] + ["mrr"]


@pytest.mark.parametrize("name", NAMES)
def test_a_card_names_target_mask_ties_and_weights(name):
    text = definition(parse(name), OURS, "valid")
    for word in (
        "full ranking over all items",
        "whole history",
        "ties: mean over all orders",
        "over users",
        "valid part",
    ):
        assert word in text or (word, name) == ("over users", "coverage@7")
    assert ("without an interval" in text) == (name == "coverage@7")
    assert ("first 7" in text or "<= 7" in text) == ("@7" in name)
    assert "{" not in text


def test_cards_differ():
    assert len({definition(parse(name)) for name in NAMES}) == len(NAMES)
    assert definition(parse("hit@7")) != definition(parse("hit@8"))


@pytest.mark.parametrize("preset", PRESETS)
def test_cards_of_presets_name_the_tool_and_its_word(preset):
    for kind, theirs in PRESETS[preset].names.items():
        metric = parse(kind if kind in ("auc", "gauc") else f"{kind}@7")
        text = definition(metric, PRESETS[preset])
        assert PRESETS[preset].tool in text
        assert f": {theirs})" in text
        assert "the tool takes whatever order" in text
    assert ("nothing is excluded" in text) == (preset == "recbole")
    assert ("rounded to 4 places" in text) == (preset == "recbole")


def test_what_differs_is_said():
    assert "1/log2(2)+...+1/log2(7+1)" in definition(parse("ndcg@7"), PRESETS["rectools"])
    assert "ideal 1" in definition(parse("ndcg@7"), PRESETS["bars"])
    assert "number of items" in definition(parse("coverage@7"), PRESETS["rectools"])
    assert "padding item" in definition(parse("coverage@7"), PRESETS["recbole"])
    assert "without the first one of each user" in definition(parse("arp@7"), PRESETS["recbole"])
    assert "weighted by its one target" in definition(parse("gauc"), PRESETS["recbole"])
    assert "weighted by their candidates" in definition(parse("gauc"), PRESETS["bars"])


@pytest.mark.parametrize(
    ("preset", "name"),
    [
        ("recbole", "novelty@5"),
        ("recbole", "popularity_bias@5"),
        ("recbole", "auc"),
        ("recbole", "mrr"),
        ("rectools", "gauc"),
        ("rectools", "mrr"),
        ("bars", "coverage@5"),
        ("bars", "arp@5"),
    ],
)
def test_what_a_tool_does_not_define_is_refused(preset, name):
    with pytest.raises(
        ConfigError, match=f"expected for --as {preset} one of hit .*found '{name}', which .* does not define"
    ):
        require(preset, parse(name))
    require(None, parse(name))


def test_an_unknown_preset_names_the_nearest():
    assert preset_of(None) is OURS
    with pytest.raises(ConfigError, match="Did you mean 'recbole'"):
        preset_of("RecBole")
