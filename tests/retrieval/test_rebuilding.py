"""Indexes that are stale or damaged: built again, said, written back, and tuned as they were."""

import contextlib
import json
import os
import shutil
import warnings
from unittest.mock import patch

import pytest
import tiny

from usermodel import manifest
from usermodel.cli.main import main
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.errors import IntegrityError, MismatchError, MissingError
from usermodel.retrieval.item_index import ItemIndex
from usermodel.retrieval.user_index import UserIndex


def damage(path, how="flip"):
    if how == "gone":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data if how == "flip" else data[: len(data) // 3])


def quiet(load):
    """What a load gives, which must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load()


@pytest.mark.parametrize("how", ["flip", "short", "gone"])
@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-pq"])
def test_a_damaged_folder_is_mended_once(made, tmp_path, kind, how):
    _, store, run, encoder = made
    users = encoder.encode(store)
    first = ItemIndex.build(run, kind=kind, users=users)
    first.save(tmp_path / "items")
    whole = (tmp_path / "items" / "manifest.json").read_bytes()
    damage(tmp_path / "items" / "index.faiss", how)
    with pytest.raises(IntegrityError):
        ItemIndex.load(tmp_path / "items")
    with pytest.warns(
        UserWarning, match=rf"index.faiss: expected .*; found .*\. Rebuilt as {kind} of 25 vectors"
    ) as said:
        mended = ItemIndex.load(tmp_path / "items", rebuild=True)
    assert "from its own table, with the effort that it had; written back to" in str(said[0].message)
    assert said[0].filename == __file__
    for index in (mended, quiet(lambda: ItemIndex.load(tmp_path / "items", rebuild=True))):
        assert index.recommend(users, 5, exclude_seen=store).equals(
            first.recommend(users, 5, exclude_seen=store)
        )
        assert index.measured == first.measured
        assert dict(index.search.index.effort) == dict(first.search.index.effort)
    assert (tmp_path / "items" / "manifest.json").read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items"]


@pytest.mark.parametrize("how", ["flip", "short"])
def test_a_damaged_file_is_mended_from_its_run(made, how):
    folder, store, run, encoder = made
    users, path = encoder.encode(store), folder / f"{how}.faiss"
    first = ItemIndex.build(run, kind="ivf-flat", users=store)
    first.save(path)
    before = path.read_bytes()
    damage(path, how)
    with pytest.warns(UserWarning, match="Rebuilt as ivf-flat"):
        mended = ItemIndex.load(path, rebuild=True)
    assert path.read_bytes() == before
    assert mended.measured == first.measured
    again = quiet(lambda: ItemIndex.load(path))
    assert again.recommend(users, 5).equals(first.recommend(users, 5))
    assert again.users_of.resolve() == store.path.resolve()


def test_damaged_users_are_mended(made, tmp_path):
    folder, *_ = made
    first = UserIndex.build(folder / "emb", kind="hnsw")
    first.save(tmp_path / "people")
    damage(tmp_path / "people" / "index.faiss")
    with pytest.raises(IntegrityError, match="sha256"):
        UserIndex.load(tmp_path / "people")
    with pytest.warns(UserWarning, match="Rebuilt as hnsw of 30 vectors") as said:
        UserIndex.load(tmp_path / "people", rebuild=True)
    assert said[0].filename == __file__
    again = quiet(lambda: UserIndex.load(tmp_path / "people"))
    assert again.similar(["u003"], 5).equals(first.similar(["u003"], 5))
    assert again.table.meta["store_hash"] == first.table.meta["store_hash"]


@pytest.mark.parametrize("name", ["items.npy", "items.ids.parquet", "manifest.json"])
def test_what_the_index_is_made_of_cannot_be_mended(made, tmp_path, name):
    _, _, run, _ = made
    ItemIndex.build(run).save(tmp_path / "items")
    damage(tmp_path / "items" / "index.faiss")
    damage(tmp_path / "items" / name, "short")
    before = {path.name: path.read_bytes() for path in (tmp_path / "items").iterdir()}
    with pytest.raises(IntegrityError, match=name):
        ItemIndex.load(tmp_path / "items", rebuild=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "items").iterdir()} == before


def test_facts_of_another_kind_are_no_plan(made, tmp_path):
    _, _, run, _ = made
    ItemIndex.build(run, kind="hnsw").save(tmp_path / "items")
    notes = tmp_path / "items" / "manifest.json"
    whole = json.loads(notes.read_text())
    for change in ({"type": "none"}, {"effort": {"nprobe": 3}}, {"measured": {"recall": 1}}):
        notes.write_text(json.dumps(whole | {"meta": {**whole["meta"], **change}}))
        with pytest.raises(IntegrityError):
            ItemIndex.load(tmp_path / "items", rebuild=True)
    assert ItemIndex.build(run).search.index.kind == "flat"
    with pytest.raises(MissingError):
        UserIndex.load(tmp_path / "items", rebuild=True)
    with pytest.raises(MissingError):
        ItemIndex.load(tmp_path / "nothing", rebuild=True)


def test_an_index_that_cannot_be_written_serves_all_the_same(made, tmp_path):
    _, store, run, encoder = made
    ItemIndex.build(run).save(tmp_path / "items")
    damage(tmp_path / "items" / "index.faiss")

    def full(*_, **__):
        raise OSError(28, os.strerror(28))

    with (
        patch.object(manifest, "_fsync", full),
        pytest.warns(
            UserWarning, match=r"not written back \(No space left.*so that the next load builds it again"
        ),
    ):
        index = ItemIndex.load(tmp_path / "items", rebuild=True)
    assert len(index.recommend(encoder.encode(store), 3)) == 90
    with pytest.raises(IntegrityError):
        ItemIndex.load(tmp_path / "items")


@pytest.fixture(scope="module")
def other(made):
    folder, store, *_ = made
    return tiny.pretrain(store, tiny.RECIPE.override({"training.seed": 5}), folder / "other")


def stale(tmp_path, made, other, **options):
    """An index of a run in whose place another one is now."""
    shutil.copytree(made[2].path, tmp_path / "run")
    built = ItemIndex.build(tmp_path / "run", **options)
    built.save(tmp_path / "items.faiss")
    shutil.rmtree(tmp_path / "run")
    shutil.copytree(other.path, tmp_path / "run")
    with pytest.raises(MismatchError, match="which it was built from"):
        ItemIndex.load(tmp_path / "items.faiss")
    return built


def test_a_stale_file_is_tuned_on_users_of_the_same_store(made, other, tmp_path):
    _, store, _, _ = made
    built = stale(tmp_path, made, other, kind="hnsw", metric="cosine", recall=0.8, users=store)
    with pytest.warns(
        UserWarning, match="Rebuilt as hnsw of 25 vectors from what .* tuned on users of .*store"
    ):
        fresh = ItemIndex.load(tmp_path / "items.faiss", rebuild=True)
    encoder = UserEncoder.load(tmp_path / "run")
    assert fresh.encoder_hash == encoder.content_hash != built.encoder_hash
    assert (fresh.measured.on, fresh.measured.target, fresh.measured.n_queries) == ("users", 0.8, 15)
    assert fresh.search.index.spec.metric == "cosine"
    again = quiet(lambda: ItemIndex.load(tmp_path / "items.faiss", rebuild=True))
    users = encoder.encode(store)
    assert again.recommend(users, 4).equals(fresh.recommend(users, 4))
    assert again.measured == fresh.measured
    expected = ItemIndex.build(tmp_path / "run", kind="hnsw", metric="cosine", recall=0.8, users=users)
    assert dict(again.search.index.effort) == dict(expected.search.index.effort)
    assert again.measured == expected.measured


@pytest.mark.parametrize(
    ("users", "said"),
    [
        (None, "tuned on the items, as before"),
        ("table", "tuned on the items, because the users whom it was tuned on are not kept with it"),
        ("store", "tuned on the items, because users of .* are not to be had"),
    ],
)
def test_a_stale_file_without_its_users_says_so(made, other, tmp_path, users, said):
    _, store, _, encoder = made
    given = {None: None, "table": encoder.encode(store), "store": tiny.make_store(tmp_path / "store")}[users]
    stale(tmp_path, made, other, kind="hnsw", users=given)
    if users == "store":
        (tmp_path / "store").rename(tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match=said):
        fresh = ItemIndex.load(tmp_path / "items.faiss", rebuild=True)
    assert fresh.measured.on == "vectors"


def test_a_stale_file_of_embeddings_is_tuned_on_their_users(made, other, tmp_path):
    _, store, _, encoder = made
    encoder.export(store, tmp_path / "emb")
    ItemIndex.build(tmp_path / "emb", kind="hnsw").save(tmp_path / "items.faiss")
    UserEncoder.load(other).export(store, tmp_path / "emb", overwrite=True)
    with pytest.warns(UserWarning, match="tuned on its users"):
        fresh = ItemIndex.load(tmp_path / "items.faiss", rebuild=True)
    assert fresh.measured.on == "users"
    assert fresh.encoder_hash == UserEncoder.load(other).content_hash


def test_flat_indexes_have_nothing_to_tune(made, other, tmp_path):
    stale(tmp_path, made, other, kind="flat")
    with pytest.warns(UserWarning, match=r"from what [^,]*/run holds now; written back"):
        assert ItemIndex.load(tmp_path / "items.faiss", rebuild=True).measured is None
    quiet(lambda: ItemIndex.load(tmp_path / "items.faiss"))


def call(*words):
    with patch("sys.argv", ["usermodel", *map(str, words)]), contextlib.suppress(SystemExit):
        main()


def test_the_commands(made, tmp_path, capsys):
    folder, store, run, _ = made
    ItemIndex.build(run).save(tmp_path / "items")
    UserIndex.build(folder / "emb").save(tmp_path / "people")
    for name in ("items", "people"):
        damage(tmp_path / name / "index.faiss")
    ask = ["recommend", run.path, store.path, "--users", "u001", "--format", "csv"]
    call(*ask, "--index", tmp_path / "items")
    out, err = capsys.readouterr()
    assert (out, "sha256" in err) == ("", True)
    call(*ask, "--index", tmp_path / "items", "--rebuild")
    first, err = capsys.readouterr()
    assert "Rebuilt as flat of 25 vectors" in err.replace("\n", " ")
    call(*ask, "--index", tmp_path / "items")
    assert capsys.readouterr() == (first, "")
    call(*ask, "--rebuild")
    assert "--rebuild: expected an index to rebuild; found none" in capsys.readouterr().err.replace("\n", " ")
    alike = ["similar", tmp_path / "people", "--users", "u001", "--format", "csv"]
    call(*alike, "--rebuild")
    first, err = capsys.readouterr()
    assert "Rebuilt as flat of 30 vectors" in err.replace("\n", " ")
    call(*alike)
    assert capsys.readouterr() == (first, "")
