"""usermodel evaluate: what it prints and writes, and what it refuses."""

import json

import pytest
import tiny
from command import usermodel

from usermodel.training.pretrain import pretrain


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    store = tiny.make_store(folder / "store")
    pretrain(store, tiny.RECIPE.override({"training.max_epochs": 1}), folder / "run")
    return folder


def evaluate(road, *options, code=0):
    return usermodel("evaluate", "run", "store", *options, cwd=road, columns=200, code=code)


def test_any_metric_in_the_order_asked_for(road):
    names = ["map@7", "coverage@3", "mrr@4", "recall@2", "novelty@3", "popularity_bias@3", "gauc"]
    out, err = evaluate(road, "--metrics", ", ".join(names), "--json", "some.json")
    scores = json.loads((road / "some.json").read_text())
    assert list(scores["definitions"]) == list(scores["intervals"]) == names
    assert all(isinstance(scores[name], float) for name in names)
    assert scores["intervals"]["coverage@3"] == [None, None]
    low, high = scores["intervals"]["map@7"]
    assert low <= scores["map@7"] <= high
    places = [out.index(name) for name in names]
    assert places == sorted(places)
    # Every number has its card on the screen: what it counts, and the rules.
    for name in names:
        assert f"{name}: {scores['definitions'][name].partition('; full')[0]}" in err
    assert "whole history before the target" in err
    assert "BCa bootstrap" in err


def test_breakdowns_on_the_screen_and_in_the_file(road):
    out, _ = evaluate(
        road, "--metrics", "ndcg@5,hit@5", "--by", "history-length,popularity", "--json", "by.json"
    )
    scores = json.loads((road / "by.json").read_text())
    assert list(scores["by"]) == ["history-length", "popularity"]
    for by, rows in scores["by"].items():
        assert set(rows[0]) == {"metric", "group", "value", "n", "low", "high", "n_unknown_targets"}
        for name in ("ndcg@5", "hit@5"):
            of_name = [row for row in rows if row["metric"] == name]
            assert sum(row["n"] for row in of_name) == scores["n"]
            total = sum(row["n"] * row["value"] for row in of_name)
            assert total / scores["n"] == pytest.approx(scores[name], abs=1e-12)
        assert f"by {by}" in out
        assert rows[0]["group"] in out
    # In a narrow window a head wraps between words.
    for head in ("events before the target", "training events of the target item"):
        assert all(word in out for word in head.split())


def test_without_breakdowns_the_file_has_none(road):
    evaluate(road, "--interval", "normal", "--json", "plain.json")
    scores = json.loads((road / "plain.json").read_text())
    assert "by" not in scores
    assert "as" not in scores
    assert "normal approximation" in scores["definitions"]["ndcg@10"]
    assert {"hit@10", "ndcg@10", "mrr", "split", "n"} <= scores.keys()


def test_a_preset_is_named_with_its_numbers(road):
    out, err = evaluate(road, "--as", "recbole", "--metrics", "ndcg@10,mrr@10", "--json", "as.json")
    scores = json.loads((road / "as.json").read_text())
    assert scores["as"] == "recbole"
    assert scores["ndcg@10"] == round(scores["ndcg@10"], 4)
    assert "as recbole" in out
    assert "nothing is excluded" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--metrics", "ndgc@10"], ["'ndgc@10'", "Did you mean 'ndcg@10'?"]),
        (["--metrics", "hit@99999999999999999999"], ["a K of at most 10,000,000"]),
        (["--metrics", ","], ["metrics", "at least one"]),
        (["--as", "recbole", "--metrics", "novelty@5"], ["novelty@5", "RecBole 1.2.1 does not define"]),
        (["--as", "rectools", "--metrics", "mrr"], ["'mrr'", "mrr@10"]),
        (["--as", "lenskit"], ["lenskit"]),
        (["--by", "populraity"], ["by: expected", "Did you mean 'popularity'?"]),
    ],
)
def test_bad_options_exit_2_and_write_nothing(road, options, words):
    out, err = evaluate(road, *options, "--json", "no.json", code=2)
    assert out == ""
    for word in words:
        assert word in err
    assert not (road / "no.json").exists()


def test_an_existing_file_is_replaced_only_on_request(road, monkeypatch):
    short = "--metrics", "hit@5"
    (road / "notes.json").write_text("mine")
    with monkeypatch.context() as unscored:
        # Whatever is wrong with the name is said before anything is scored.
        unscored.setattr("usermodel.benchmark.evaluate.evaluate", None)
        _, err = evaluate(road, *short, "--json", "notes.json", code=2)
        assert "notes.json: expected an output that does not exist yet; found an existing one." in err
        assert "Choose another name, or pass --overwrite." in err
        for name in ("run", "", "/dev/null"):
            _, err = evaluate(road, *short, "--json", name, "--overwrite", code=2)
            assert "expected the name of a file; found" in err
    assert (road / "notes.json").read_text() == "mine"
    evaluate(road, *short, "--json", "notes.json", "--overwrite")
    assert "hit@5" in json.loads((road / "notes.json").read_text())


def test_lists_as_long_as_the_catalogue_and_longer_are_the_same(road):
    evaluate(road, "--metrics", "coverage@9999999,novelty@9999999,hit@9999999", "--json", "long.json")
    evaluate(road, "--metrics", "coverage@500,novelty@500,hit@500", "--json", "whole.json")
    long, whole = (json.loads((road / f"{name}.json").read_text()) for name in ("long", "whole"))
    assert [long[f"{kind}@9999999"] for kind in ("coverage", "novelty", "hit")] == [
        whole[f"{kind}@500"] for kind in ("coverage", "novelty", "hit")
    ]
