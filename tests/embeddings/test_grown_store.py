"""An old encoder on a store that has grown: vectors, recommendations and scores as if new items were not there."""

import contextlib
import json
import signal
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import tiny
import torch

from usermodel import manifest
from usermodel.batch import JaggedBatch
from usermodel.benchmark.evaluate import evaluate
from usermodel.cli.main import main
from usermodel.embeddings.files import load_table, save_tables
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.errors import InterruptedRunError, MismatchError
from usermodel.events.splits import (
    GlobalTimeConfig,
    LeaveLastOutConfig,
    RollingConfig,
    UserRatioConfig,
    UserSplitConfig,
)
from usermodel.events.vocabulary import Vocabulary
from usermodel.retrieval.item_index import ItemIndex
from usermodel.store.build import build_store
from usermodel.training.pretrain import pretrain

T1 = 1_700_100_000


def new_days():
    """Known and new items for old users, two new users, one of whom takes nothing that is known."""
    rng = np.random.default_rng(5)
    user = [f"u{u:03d}" for u in rng.integers(0, 30, 120)] + ["v0"] * 3 + ["v1"] * 4
    item = [f"i{i:03d}" for i in rng.integers(0, 40, 120)] + [
        "i900",
        "i901",
        "i900",
        "i003",
        "i902",
        "i004",
        "i005",
    ]
    times = T1 + rng.permutation(len(user))
    return pl.DataFrame({"user_id": user, "item_id": item, "timestamp": times})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grown")
    store = tiny.make_store(folder / "store")
    run = tiny.make_run(store, folder / "run")
    return store, run, store.append(new_days(), folder / "grown")


@pytest.fixture(scope="module")
def cleaned(made, tmp_path_factory):
    """The same users and known items, built from a log without the events of new items."""
    store, _, grown = made
    frame = pl.concat([tiny.frame(), new_days()])
    known = frame.filter(pl.col("item_id").is_in(store.vocabulary.ids.to_list()))
    folder = tmp_path_factory.mktemp("cleaned") / "store"
    return build_store(known, folder, vocabulary=(grown.users, store.vocabulary))


def test_vectors_equal_those_of_a_store_without_the_events_of_new_items(made, cleaned):
    _, run, grown = made
    encoder = UserEncoder.load(run)
    assert grown.n_items > cleaned.n_items == encoder.module.n_items
    found, expected = encoder.encode(grown), encoder.encode(cleaned)
    assert found.ids.to_list() == expected.ids.to_list()
    assert (found.to_numpy() == expected.to_numpy()).all()
    assert (
        encoder.encode(grown, batch_events=30).to_numpy()
        == encoder.encode(cleaned, batch_events=30).to_numpy()
    ).all()
    some = ["v1", "u004"]
    assert (
        encoder.encode(grown, users=some).to_numpy() == encoder.encode(cleaned, users=some).to_numpy()
    ).all()


def test_every_skipped_event_is_counted(made, cleaned, tmp_path):
    store, run, grown = made
    encoder = UserEncoder.load(run)
    table = encoder.encode(grown)
    assert table.columns["n_events"].to_list() == np.diff(grown.offsets).tolist()
    assert (table.columns["n_events"] - table.columns["n_unknown"]).to_list() == np.diff(
        cleaned.offsets
    ).tolist()
    nothing = table.ids.filter(table.columns["n_events"] == table.columns["n_unknown"])
    assert nothing.to_list() == ["v0"]
    assert not table["v0"].any()
    assert encoder.n_unknown_items(grown) == grown.n_items - store.n_items
    assert encoder.n_unknown_items(store) == 0
    for path in ("users.parquet", "folder"):
        save_tables(tmp_path / path, table, encoder.items())
        facts = manifest.read(tmp_path / path).meta
        assert facts["n_events"] == grown.n_events
        assert facts["n_unknown"] == grown.n_events - cleaned.n_events > 50
        assert load_table(tmp_path / path).columns.equals(table.columns)


def test_recommendations_are_known_items_that_were_not_seen(made, cleaned):
    store, run, grown = made
    users = UserEncoder.load(run).encode(grown)
    index = ItemIndex.build(run)
    found = index.recommend(users, 25, exclude_seen=grown)
    assert set(found["item_id"]) <= set(store.vocabulary.ids)
    assert found.equals(index.recommend(users, 25, exclude_seen=cleaned))
    seen = pl.concat([tiny.frame(), new_days()]).select("user_id", "item_id").unique()
    assert found.join(seen, on=["user_id", "item_id"], how="semi").is_empty()
    left = (
        25
        - seen.filter(pl.col("item_id").is_in(store.vocabulary.ids.to_list()))
        .group_by("user_id")
        .len()["len"]
    )
    assert found.height == left.sum() + 25  # v0 has seen nothing that is known


def naive_ranks(run, grown):
    """Rank of each last event among all items of the grown store, one user at a time."""
    encoder = UserEncoder.load(run)
    items = encoder.items().to_numpy()
    values = []
    for user in range(grown.n_users):
        history = grown.items[grown.offsets[user] : grown.offsets[user + 1]].tolist()
        if len(history) < 2:
            continue
        target, before = history[-1], history[:-1]
        window = [item for item in before if item <= len(items)][-6:]
        vector = encode_alone(encoder, window)
        scores = np.concatenate([items @ vector, np.full(grown.n_items - len(items), -1e30)])
        others = [item for item in range(1, grown.n_items + 1) if item != target and item not in before]
        higher = sum(scores[item - 1] > scores[target - 1] + 1e-6 for item in others)
        level = sum(abs(scores[item - 1] - scores[target - 1]) <= 1e-6 for item in others)
        values.append(np.mean([1 / rank for rank in range(higher + 1, higher + level + 2)]))
    return values


def encode_alone(encoder, window):
    item = torch.tensor(window, dtype=torch.int64)
    with torch.no_grad():
        batch = JaggedBatch(item, torch.zeros_like(item), torch.tensor([0, len(item)]))
        return encoder.module(batch).users[0].numpy()


def test_evaluation_ranks_all_items_and_counts_targets_that_cannot_be_ranked(made):
    store, run, grown = made
    results = {one.metric: one for one in evaluate(run, grown)}
    last = grown.items[grown.offsets[1:] - 1]
    assert results["mrr"].n_unknown_targets == (last > store.n_items).sum() > 5
    assert results["mrr"].n == grown.n_users
    assert results["mrr"].value == pytest.approx(np.mean(naive_ranks(run, grown)), abs=1e-6)
    assert results["mrr"].definition.endswith("items that the scorer does not know: below all others")
    assert {one.n_unknown_targets for one in evaluate(run, store)} == {0}


def test_a_new_target_is_a_miss(tmp_path, made):
    """Everybody's last event is a new item."""
    store, run, _ = made
    users = store.users.ids.to_list()
    day = pl.DataFrame({"user_id": users, "item_id": ["new"] * 30, "timestamp": [T1] * 30})
    results = evaluate(run, store.append(day, tmp_path / "grown"))
    assert [one.value for one in results if one.metric in {"hit@5", "ndcg@5", "hit@10"}] == [0, 0, 0]
    assert results[0].n_unknown_targets == results[0].n == 30


# ------------------------------------------------------------------------------------------------------------ refusals


def other_stores(store, folder):
    """Same items less one; other items; the same items in another order; all of them with numbers of their own."""
    ids, users, frame = store.vocabulary.ids, store.users, tiny.frame()
    shorter = frame.filter(pl.col("item_id") != ids[-1])
    swapped = Vocabulary(pl.concat([ids[1:2], ids[:1], ids[2:]]))
    return {
        "only the first 24 of them": build_store(shorter, folder / "short", vocabulary=(users, Vocabulary(ids[:-1]))),
        "24 other ids": build_store(frame.filter(pl.col("item_id") != ids[0]), folder / "without"),
        "25 other ids": build_store(frame, folder / "swapped", vocabulary=(users, swapped)),
        "26 other ids": build_store(frame.with_columns(pl.col("item_id") + "x"), folder / "o", vocabulary=(users, Vocabulary(ids[:1]))),
    }  # fmt: skip


def test_any_other_vocabulary_is_refused_by_name(made, tmp_path):
    store, run, _ = made
    encoder = UserEncoder.load(run)
    index, users = ItemIndex.build(run), encoder.encode(store)
    for found, other in other_stores(store, tmp_path).items():
        for whose, call in (
            ("the encoder", lambda other=other: encoder.encode(other)),
            ("the encoder", lambda other=other: evaluate(run, other)),
            ("the index", lambda other=other: index.recommend(users, exclude_seen=other)),
        ):
            with pytest.raises(MismatchError) as caught:
                call()
            assert str(caught.value) == (
                f"{other.path}: expected a vocabulary that starts with the 25 ids of {whose} "
                f"({store.vocabulary.hash[:12]}); found {found} ({other.vocabulary.hash[:12]}). "
                "Build the store from the same vocabulary, or pretrain on this store."
            )


def test_evaluation_wants_a_store_that_has_all_that_was_trained_on(made, tmp_path):
    """A larger vocabulary proves nothing about events: a target could be what another log calls training."""
    store, run, grown = made
    frame = pl.concat([tiny.frame(), new_days()])
    rebuilt = build_store(frame.tail(250), tmp_path / "rebuilt", vocabulary=store)
    with pytest.raises(
        MismatchError, match=f"store of the run .{store.content_hash[:12]}.* grown into by append"
    ):
        evaluate(run, rebuilt)
    # Later generations count, also when somebody was forgotten in between.
    later = grown.append(new_days().head(3), tmp_path / "later")
    later.forget(["u000", "v1"])
    assert evaluate(run, later.path)[0].n == grown.n_users - 2


@pytest.mark.parametrize(
    "split",
    [UserRatioConfig(valid=0.3, test=0.3), GlobalTimeConfig(), RollingConfig(), LeaveLastOutConfig(k=2)],
    ids=lambda split: split.kind,
)
def test_evaluation_refuses_cuts_that_move(made, split):
    store, run, grown = made
    assert not split.holds_when_grown
    with pytest.raises(MismatchError) as caught:
        evaluate(replace(run, recipe=run.recipe.override({"data.split": split.model_dump()})), grown)
    assert str(caught.value) == (
        f"{grown.path}: expected the store of the run ({store.content_hash[:12]}), because the cuts of {split.kind} "
        f"move with new events; found one that has grown from it ({grown.content_hash[:12]}). Evaluate on the old "
        "store, or pretrain with a split whose cuts stay, such as leave-last-out."
    )


CUTS = [(1_700_000_000 + 60 * minutes) * 1_000_000 for minutes in (120, 170, 10**4)]


@pytest.mark.parametrize(
    "split",
    [
        LeaveLastOutConfig(),
        UserSplitConfig(valid=0.3, test=0.3),
        GlobalTimeConfig(valid_from=CUTS[0], test_from=CUTS[1]),
        RollingConfig(folds=((CUTS[0], CUTS[1], CUTS[2]),)),
    ],
    ids=lambda split: split.kind,
)
def test_no_target_of_a_grown_store_was_one_in_training(tmp_path, split):
    """New events before, between and after the old ones, with times of their own to tell them apart."""
    rng = np.random.default_rng(3)
    frame = tiny.frame()
    store = build_store(
        frame.with_columns(pl.Series("timestamp", rng.permutation(frame["timestamp"]))), tmp_path / "store"
    )
    users = [f"u{u:03d}" for u in rng.integers(0, 34, 90)]
    times = (1_700_000_000 - 1800 + rng.integers(0, 5 * 3600, 90)) // 60 * 60 + 7
    day = pl.DataFrame({"user_id": users, "item_id": ["i001"] * 90, "timestamp": times})
    grown = store.append(day, tmp_path / "grown")
    assert split.holds_when_grown
    old = store.split(split)
    trained = {
        (store.users.ids[u], int(store.times[row]))
        for u in range(store.n_users)
        # The first event of a user has no history to be told from: it is never a target.
        for row in range(int(old.start[u]) + 1, int(old.train_stop[u]))
    }
    for part in ("valid", "test"):
        who, rows = grown.split(split).targets(part)
        targets = {(grown.users.ids[int(u)], int(grown.times[row])) for u, row in zip(who, rows, strict=True)}
        assert len(targets) > 3
        assert not targets & trained


def test_resume_on_a_grown_store_is_refused_and_a_new_run_is_not(made, tmp_path):
    store, run, grown = made
    with pytest.raises(
        MismatchError, match=f"{store.content_hash[:12]}.*found store {grown.content_hash[:12]}"
    ):
        pretrain(grown, out=run.path, resume=True)

    def stop(_):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(InterruptedRunError):
        pretrain(store, tiny.RECIPE, tmp_path / "cut", on_progress=stop)
    with pytest.raises(MismatchError, match=f"to resume on store {store.content_hash[:12]}"):
        pretrain(grown, out=tmp_path / "cut", resume=True)
    anew = pretrain(grown, tiny.RECIPE.override({"training.max_epochs": 1}), tmp_path / "anew")
    assert UserEncoder.load(anew).module.n_items == grown.n_items


# --------------------------------------------------------------------------------------------------------- command line


def test_the_commands_say_what_they_skipped(made, tmp_path, capsys, monkeypatch):
    store, run, grown = made

    def call(*words):
        monkeypatch.setattr("sys.argv", ["usermodel", *map(str, words)])
        with contextlib.suppress(SystemExit):
            main()
        return capsys.readouterr()

    table = UserEncoder.load(run).encode(grown)
    n_items, unknown = grown.n_items - store.n_items, int(table.columns["n_unknown"].sum())
    said = call("embed", run.path, grown.path, "-o", tmp_path / "users.parquet").err
    assert (
        f"skipped {unknown} of {grown.n_events} events: the encoder does not know {n_items} items\n"
        "1 users have no other events; their vectors are zeros\n"
        f"wrote {grown.n_users} user vectors"
    ) in said
    assert "skipped" not in call("embed", run.path, store.path, "-o", tmp_path / "old.parquet").err
    shown = call("recommend", run.path, grown.path, "--users", "v0,v1", "--format", "json")
    assert f"skipped 4 of 7 events: the encoder does not know {n_items} items" in shown.err
    assert len(json.loads(shown.out)) == 20
    shown = call("evaluate", run.path, grown.path, "--json", tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text())
    n = scores["n_unknown_targets"]
    assert n == evaluate(run, grown)[0].n_unknown_targets
    assert f"{n} of {scores['n']} targets are items that the run does not know" in shown.err
