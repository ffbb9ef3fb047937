"""Look-alikes against brute force; files; users who leave; the commands."""

import contextlib
import json

import numpy as np
import polars as pl
import pytest
import tiny

from usermodel import manifest
from usermodel.ann.kinds import kinds
from usermodel.benchmark.evaluate import evaluate
from usermodel.cli.main import main
from usermodel.embedding_table import EmbeddingTable
from usermodel.embeddings.keys import IdKey
from usermodel.errors import ConfigError, DataError, IntegrityError, MissingError
from usermodel.retrieval.forget import ForgetfulIndex
from usermodel.retrieval.item_index import ItemIndex
from usermodel.retrieval.user_index import UserIndex


def cosines(table):
    unit = table.normalized().to_numpy()
    return unit @ unit.T


def test_similar_users_are_those_of_the_largest_cosine(made):
    folder, _, _, _ = made
    table = EmbeddingTable.load(folder / "emb")
    found = UserIndex.build(folder / "emb").similar(["u007", "u001"], 4)
    expected = []
    for user in ("u007", "u001"):
        row = table.row(user)
        near = [other for other in np.argsort(-cosines(table)[row], kind="stable") if other != row][:4]
        expected += [(user, rank, table.ids[int(other)]) for rank, other in enumerate(near, 1)]
    assert found.select("user_id", "rank", "neighbour_id").rows() == expected
    assert (found["score"] <= 1 + 1e-6).all()


def test_an_audience_is_near_the_mean_of_its_seeds_and_without_them(made):
    folder, _, _, _ = made
    table = EmbeddingTable.load(folder / "emb")
    seeds = ["u002", "u005", "u002", "u011"]
    found = UserIndex.build(table).expand(seeds, 6)
    unit = table.normalized().to_numpy()
    mean = np.mean([unit[table.row(seed)] for seed in set(seeds)], axis=0)
    scores = unit @ (mean / np.linalg.norm(mean))
    expected = [int(row) for row in np.argsort(-scores, kind="stable") if table.ids[int(row)] not in seeds][
        :6
    ]
    assert found["user_id"].to_list() == [table.ids[row] for row in expected]
    assert found["score"].to_list() == pytest.approx(scores[expected].tolist(), abs=1e-5)
    with pytest.raises(DataError, match="at least one user"):
        UserIndex.build(table).expand([])
    with pytest.raises(MissingError, match="'nobody'"):
        UserIndex.build(table).similar(["nobody"])


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_both_indexes_come_back_from_disk(made, tmp_path, kind):
    folder, store, run, encoder = made
    users = encoder.encode(store)
    people = UserIndex.build(users, kind=kind)
    people.save(tmp_path / "people")
    assert UserIndex.load(tmp_path / "people").similar(["u003"], 5).equals(people.similar(["u003"], 5))
    items = ItemIndex.build(run, kind=kind, users=users)
    items.save(tmp_path / "items")
    items.save(folder / f"{kind}.faiss", overwrite=True)
    for path in (tmp_path / "items", folder / f"{kind}.faiss"):
        loaded = ItemIndex.load(path)
        assert loaded.recommend(users, 4, exclude_seen=store).equals(
            items.recommend(users, 4, exclude_seen=store)
        )
        assert loaded.measured == items.measured
    assert items.recall(users, 5) >= 0.9
    with pytest.raises(MissingError, match="expected an index of users; found one of items"):
        UserIndex.load(tmp_path / "items")
    with pytest.raises(MissingError, match="expected an index of items; found one of users"):
        ItemIndex.load(tmp_path / "people")
    data = bytearray((tmp_path / "people" / "index.faiss").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "people" / "index.faiss").write_bytes(data)
    with pytest.raises(IntegrityError, match="sha256"):
        UserIndex.load(tmp_path / "people")


def test_facts_that_do_not_fit_are_refused(made, tmp_path):
    _, store, _, encoder = made
    UserIndex.build(encoder.encode(store), kind="hnsw").save(tmp_path / "people")
    notes = tmp_path / "people" / "manifest.json"
    whole = json.loads(notes.read_text())
    for change in (
        {"type": "flat"}, {"type": "none"}, {"n": 29}, {"dim": 9}, {"effort": {"efSearch": 0}}, {"effort": {"nprobe": 3}},
        {"effort": 7}, {"seed": "x"}, {"measured": {"recall": 1}}, {"metric": 3},
    ):  # fmt: skip
        notes.write_text(json.dumps(whole | {"meta": {**whole["meta"], **change}}))
        with pytest.raises(IntegrityError):
            UserIndex.load(tmp_path / "people").similar(["u003"])


def test_allow_and_deny(made):
    _, store, run, encoder = made
    users, index = encoder.encode(store), ItemIndex.build(run)
    everything = index.recommend(users, 25)
    some = ["i001", "i004", "i007", "nothing"]
    with pytest.warns(UserWarning, match="allow: 1 of 4 ids are not in the index"):
        allowed = index.recommend(users, 25, allow=some)
    assert set(allowed["item_id"]) == set(some[:3])
    assert allowed.height == 3 * len(users)
    with pytest.warns(UserWarning, match="deny: 1 of 4 ids are not in the index"):
        denied = index.recommend(users, 25, deny=some)
    assert denied.height == 22 * len(users)
    for part in (allowed, denied):
        kept = everything.filter(pl.col("item_id").is_in(part["item_id"].unique().implode()))
        assert kept["item_id"].to_list() == part["item_id"].to_list()
    assert index.recommend(users, 5, allow=some[:3], deny=["i004"])["item_id"].n_unique() == 2
    with pytest.raises(DataError, match="allow: expected items of this index; found none of them"):
        index.recommend(users, 5, allow=["nothing"])


def test_several_vectors_a_user_count_by_the_best(made):
    _, store, run, encoder = made
    one, two = encoder.encode(store), encoder.encode(store, as_of=int(np.median(store.times)))
    both = EmbeddingTable(one.ids, np.stack([one.vectors, two.vectors], axis=1), one.encoder_hash)
    items = encoder.items().to_numpy()
    found = ItemIndex.build(run).recommend(both, 3, exclude_seen=store)
    for user in one:
        scores = np.maximum(items @ one[user], items @ two[user])
        row = one.row(user)
        seen = set(store.items[store.offsets[row] : store.offsets[row + 1]] - 1)
        order = [p for p in np.argsort(-scores, kind="stable") if p not in seen][:3]
        mine = found.filter(pl.col("user_id") == user)
        assert mine["score"].to_list() == pytest.approx(scores[order].tolist(), abs=1e-5)


def several(n=40, interests=3, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, interests, 6)).astype(np.float32)
    return EmbeddingTable(pl.Series([f"u{row:03d}" for row in range(n)]), vectors, "hash")


def nearest_pair(table, metric):
    """For every two users the score of the best pair of their vectors, with loops."""
    vectors = table.normalized().to_numpy() if metric == "cosine" else table.to_numpy()
    out = np.zeros((len(table), len(table)))
    for one, mine in enumerate(vectors):
        for other, yours in enumerate(vectors):
            out[one, other] = max(float(a @ b) for a in mine for b in yours)
    return out


@pytest.mark.parametrize("k", [1, 4, 39, 60])
@pytest.mark.parametrize("metric", ["cosine", "inner-product"])
def test_users_with_several_vectors_are_as_alike_as_their_nearest_pair(k, metric, tmp_path):
    table = several()
    UserIndex.build(table, metric=metric).save(tmp_path / "people")
    people = UserIndex.load(tmp_path / "people")
    assert (len(people), people.interests) == (40, 3)
    assert "40 users" in repr(people)
    found, scores = people.similar(["u007", "u001"], k), nearest_pair(table, metric)
    assert found["user_id"].to_list() == ["u007"] * min(k, 39) + ["u001"] * min(k, 39)
    for row, user in ((7, "u007"), (1, "u001")):
        mine = found.filter(pl.col("user_id") == user)
        order = [other for other in np.argsort(-scores[row], kind="stable") if other != row][:k]
        assert mine["neighbour_id"].to_list() == [table.ids[int(other)] for other in order]
        assert mine["rank"].to_list() == list(range(1, len(order) + 1))
        assert mine["score"].to_list() == pytest.approx(scores[row, order].tolist(), abs=1e-5)


@pytest.mark.parametrize("k", [1, 5, 60])
def test_an_audience_of_users_with_several_vectors(k):
    table, seeds = several(), ["u002", "u005", "u011"]
    found = UserIndex.build(table).expand(seeds, k)
    unit = table.normalized().to_numpy()
    mean = np.concatenate([unit[table.row(seed)] for seed in seeds]).mean(axis=0)
    scores = (unit @ (mean / np.linalg.norm(mean))).max(axis=1)
    expected = [row for row in np.argsort(-scores, kind="stable") if table.ids[int(row)] not in seeds][:k]
    assert found["user_id"].to_list() == [table.ids[int(row)] for row in expected]
    assert found["score"].to_list() == pytest.approx(scores[expected].tolist(), abs=1e-5)


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_users_with_several_vectors_are_forgotten_whole(kind, tmp_path):
    table = several(200)
    UserIndex.build(table, kind=kind).save(tmp_path / "people")
    receipt = ForgetfulIndex.open(tmp_path / "people").forget(pl.Series(["u004", "u005", "nobody"]))
    assert (receipt.found, receipt.unknown) == (2, 1)
    people = UserIndex.load(tmp_path / "people")
    assert len(people) == 198
    found = people.similar(["u003"], 300)
    assert found.height == 197
    assert not {"u003", "u004", "u005"} & set(found["neighbour_id"])
    assert found["neighbour_id"].n_unique() == 197


def test_no_users_are_refused():
    for shape in ((0, 6), (0, 2, 6), (3, 0, 6)):
        table = EmbeddingTable(
            pl.Series([f"u{row}" for row in range(shape[0])], dtype=pl.String),
            np.zeros(shape, np.float32),
            "hash",
        )
        with pytest.raises(DataError, match="at least one user with a vector; found vectors of shape"):
            UserIndex.build(table)


@pytest.mark.parametrize("ids", ["raw", "hmac"])
def test_forgotten_users_leave_an_index_without_a_trace(made, tmp_path, ids):
    _, store, _, encoder = made
    (tmp_path / "key").write_text("k" * 32)
    secret = {"ids": "hmac", "key": tmp_path / "key"} if ids == "hmac" else {}
    encoder.export(store, tmp_path / "emb", **secret)
    UserIndex.build(tmp_path / "emb", kind="hnsw").save(tmp_path / "people")
    before = UserIndex.load(tmp_path / "people").table
    if ids == "hmac":
        with pytest.raises(ConfigError, match="expected the key of its pseudonyms"):
            ForgetfulIndex.open(tmp_path / "people")
    (tmp_path / "gone.txt").write_text("u004\nnobody\n")
    words = ["forget", tmp_path / "people", "--users", tmp_path / "gone.txt", "--json"]
    call(*words, *(["--key", tmp_path / "key"] if ids == "hmac" else []))
    after = UserIndex.load(tmp_path / "people")
    assert len(after) == 29
    gone = IdKey(b"k" * 32).of(pl.Series(["u004"]))[0] if ids == "hmac" else "u004"
    assert gone not in after.table
    np.testing.assert_array_equal(
        after.table.vectors, before.take([one for one in before if one != gone]).vectors
    )
    assert not tiny.traces(tmp_path / "people", gone)


def test_nobody_left_and_indexes_of_items(made, tmp_path):
    folder, store, run, _ = made
    ItemIndex.build(run).save(tmp_path / "items")
    before = manifest.read(tmp_path / "items").content_hash
    assert ForgetfulIndex.open(tmp_path / "items").forget(pl.Series(["u004"])).found == 0
    assert manifest.read(tmp_path / "items").content_hash == before
    UserIndex.build(folder / "emb").save(tmp_path / "people")
    with pytest.raises(DataError, match="expected users who stay"):
        ForgetfulIndex.open(tmp_path / "people").forget(store.users.ids)


# --------------------------------------------------------------------------------------------------------- command line


def call(*words):
    from unittest.mock import patch

    with patch("sys.argv", ["usermodel", *map(str, words)]), contextlib.suppress(SystemExit):
        main()


def test_the_commands(made, tmp_path, capsys):
    folder, store, run, _ = made
    call("index", run.path, "-o", tmp_path / "items", "--type", "hnsw", "--store", store.path)
    said = capsys.readouterr().err
    assert "chosen on 15 users" in said
    assert "of exact on 15 others, held out" in said.replace("\n", " ")
    assert f"wrote an hnsw index of 25 items to {tmp_path / 'items'}" in said.replace("\n", "")
    call("index", folder / "emb", "-o", tmp_path / "people", "--of", "users")
    assert "wrote a flat index of 30 users" in capsys.readouterr().err
    call(
        "recommend",
        run.path,
        store.path,
        "--users",
        "u001",
        "--allow",
        "i001,i002",
        "--keep-seen",
        "--index",
        tmp_path / "items",
        "--format",
        "json",
    )
    assert {row["item_id"] for row in json.loads(capsys.readouterr().out)} == {"i001", "i002"}
    call("similar", tmp_path / "people", "--users", "u001", "-k", "3", "--format", "csv")
    assert capsys.readouterr().out.startswith("user_id,rank,neighbour_id,score\nu001,1,")
    call(
        "similar",
        tmp_path / "people",
        "--users",
        "u001,u002",
        "-k",
        "3",
        "--expand",
        "-o",
        tmp_path / "alike.parquet",
    )
    assert pl.read_parquet(tmp_path / "alike.parquet").columns == ["rank", "user_id", "score"]
    capsys.readouterr()
    call("evaluate", run.path, store.path, "--index", tmp_path / "items", "--json", tmp_path / "s.json")
    scores = json.loads((tmp_path / "s.json").read_text())
    assert 0.9 <= scores["index_recall@10"] <= 1
    assert "returns, nothing excluded" in scores["definitions"]["index_recall@10"]
    flat = (
        {one.metric: one.value for one in evaluate(run, store, index=folder / "items.faiss")}
        if (folder / "items.faiss").exists()
        else {}
    )
    assert flat.get("index_recall@100", 1) == 1
    capsys.readouterr()
    call("index", folder / "emb", "-o", tmp_path / "x.faiss", "--of", "users")
    assert "expected embeddings and a folder" in capsys.readouterr().err
