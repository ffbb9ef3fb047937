"""The model card beside a trained encoder: true, editable, and no part of what the encoder is."""

import json
import re
import signal

import pytest

from usermodel import manifest
from usermodel.encoders import io
from usermodel.errors import InterruptedRunError
from usermodel.metrics.definitions import definition
from usermodel.metrics.names import parse
from usermodel.training.pretrain import pretrain
from usermodel.training.run import Run


@pytest.fixture(scope="module")
def run(store, recipe, tmp_path_factory):
    return pretrain(store, recipe, tmp_path_factory.mktemp("card") / "run")


def text_of(run):
    return (run.path / "encoder" / "README.md").read_text()


def test_it_says_what_the_run_recorded(run, store):
    text, best = text_of(run), run.meta["best"]["ndcg@10"]
    assert f"| ndcg@10 | {best:.4f} | validation |" in text
    row = run.history()[run.meta["best_epoch"] - 1]
    assert f"| hit@10 | {row['hit@10']:.4f} | validation |" in text
    assert definition(parse("ndcg@10")).split(";")[1] in text
    assert "Test: not measured" in text
    assert f"| users | {store.n_users} |" in text
    assert store.content_hash in text
    assert "| times | an order of events, without times |" in text
    assert f"| seconds | {run.meta['seconds']} |" in text
    assert f"| parameters | {run.meta['parameters']:,} |" in text
    assert str(run.path) not in text
    assert str(store.path) not in text


def test_its_recipe_makes_the_same_weights(run, store, tmp_path):
    recipe = json.loads(re.search(r"```json\n(.*?)\n```", text_of(run), re.DOTALL)[1])
    again = pretrain(store, run.recipe.from_dict(recipe), tmp_path / "run")
    assert io.load(again.path).content_hash == io.load(run.path).content_hash


def test_it_may_be_edited_or_removed(run, tmp_path):
    for path in (run.path, run.path / "encoder"):
        assert not [name for name in manifest.read(path).files if name.endswith("README.md")]
    before, card = io.load(run.path).content_hash, run.path / "encoder" / "README.md"
    text = card.read_text()
    try:
        for change in (lambda: card.write_text("license: mit"), card.unlink):
            change()
            assert io.load(run.path).content_hash == before
            Run.open(run.path)
            manifest.read(run.path, verify=True)
    finally:
        card.write_text(text)


def test_every_other_file_of_the_encoder_is_still_listed_by_the_run(run):
    files = {path.name for path in (run.path / "encoder").iterdir()}
    assert files == {*io.FILES, io.CARD}
    listed = manifest.read(run.path).files
    assert {f"encoder/{name}" for name in io.FILES} | {"config.json", "metrics.csv"} == set(listed)


def test_an_interrupted_run_ends_with_the_same_card_but_for_the_seconds(run, store, recipe, tmp_path):
    steps = []

    def stop(progress):
        steps.append(progress)
        if len(steps) == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(InterruptedRunError):
        pretrain(store, recipe, tmp_path / "cut", on_progress=stop)
    resumed = pretrain(store, out=tmp_path / "cut", resume=True)
    cards = [re.sub(r"\| seconds \| [\d.]+ \|", "", text_of(one)) for one in (run, resumed)]
    assert cards[0] == cards[1]
    assert io.load(resumed.path).content_hash == io.load(run.path).content_hash


def test_metrics_of_a_callers_own_have_no_definition_of_ours(store, recipe, tmp_path):
    mine = pretrain(store, recipe, tmp_path / "run", validate=lambda _: {"ndcg@10": 0.25})
    assert "| ndcg@10 | 0.2500 | validation |" in text_of(mine)
    assert "full ranking" not in text_of(mine)
