"""SPLITS on disk: a split comes back whole, and only to the store it was made for."""

import json

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import tiny

from usermodel import manifest
from usermodel.errors import IntegrityError, MismatchError, MissingError, OutputExistsError
from usermodel.events.parquet import read_parquet, write_parquet
from usermodel.events.splits import (
    PARTS,
    GlobalTimeConfig,
    LeaveLastOutConfig,
    RollingConfig,
    Split,
    UserRatioConfig,
    UserSplitConfig,
)
from usermodel.events.splits_table import read_split, write_split
from usermodel.schema import splits_schema

CONFIGS = [
    LeaveLastOutConfig(),
    LeaveLastOutConfig(k=2),
    GlobalTimeConfig(),
    UserRatioConfig(valid=0.2, test=0.2),
    UserSplitConfig(valid=0.2, test=0.2),
    RollingConfig(fold=1),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tiny.make_store(tmp_path_factory.mktemp("splits") / "store")


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_round_trip(store, tmp_path, config):
    split = store.split(config)
    write_split(store, split, tmp_path / "split.parquet")
    back = read_split(tmp_path / "split.parquet", store)
    for part in PARTS:
        for mine, theirs in zip(split.part(part), back.part(part), strict=True):
            assert mine.tolist() == theirs.tolist()
    assert (back.name, back.config, back.hash) == (split.name, config, split.hash)
    assert back.table(store).equals(split.table(store))


def test_the_table_by_hand(tiny_store, tmp_path):
    write_split(tiny_store, tiny_store.split(), tmp_path / "split.parquet")
    assert pq.read_schema(tmp_path / "split.parquet").remove_metadata() == splits_schema()
    # ann has five events, bob three, cid two, dee one.
    assert read_parquet(tmp_path / "split.parquet").rows() == [
        ("ann", "train", 0, 3),
        ("ann", "valid", 3, 4),
        ("ann", "test", 4, 5),
        ("bob", "train", 0, 1),
        ("bob", "valid", 1, 2),
        ("bob", "test", 2, 3),
        ("cid", "train", 0, 1),
        ("cid", "valid", 1, 1),
        ("cid", "test", 1, 2),
        ("dee", "train", 0, 1),
        ("dee", "valid", 1, 1),
        ("dee", "test", 1, 1),
    ]
    facts = manifest.read(tmp_path / "split.parquet", "split").meta
    assert facts["parts"] == {
        "train": {"users": 4, "events": 6},
        "valid": {"users": 2, "events": 2},
        "test": {"users": 3, "events": 3},
    }
    assert facts["store"] == tiny_store.content_hash
    assert facts["config"] == LeaveLastOutConfig().to_dict()


def test_another_store_is_refused(store, tiny_store, tmp_path):
    path = tmp_path / "split.parquet"
    write_split(store, store.split(), path)
    with pytest.raises(MismatchError, match=f"expected a split of store {tiny_store.content_hash[:12]}"):
        read_split(path, tiny_store)
    with pytest.raises(MismatchError, match=f"found one of {store.content_hash[:12]}"):
        write_split(tiny_store, store.split(), tmp_path / "other.parquet")
    by_hand = Split(store.offsets[:-1], *[store.offsets[1:]] * 3, name="all")
    with pytest.raises(MismatchError, match="found one of no known store"):
        by_hand.table(store)
    with pytest.raises(OutputExistsError):
        write_split(store, store.split(), path)
    with pytest.raises(MissingError, match="nothing there"):
        read_split(tmp_path / "none.parquet", store)


def forge(path, change, **meta):
    """Change a written split and give it a manifest that fits the bytes."""
    found = manifest.read(path)
    frame = change(read_parquet(path))
    path.unlink()
    with manifest.write_file(path.with_name("forged.parquet"), "split") as draft:
        write_parquet(frame, draft.path)
        draft.meta.update(found.meta | meta)
    return path.with_name("forged.parquet")


def moved(frame):
    """The training part of the first user reaches into the validation part."""
    stop = np.array(frame["stop"])
    stop[0] += 1
    return frame.with_columns(stop=pl.Series(stop))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (moved, "expected consecutive ranges inside each history"),
        (lambda frame: frame.reverse(), "in store order; found another order"),
        (lambda frame: frame.head(5), "expected 3 rows for each of 30 users; found 5 rows"),
        (lambda frame: frame.rename({"stop": "end"}), "expected 3 rows for each of 30 users"),
        (lambda frame: frame.with_columns(stop=pl.lit(None, pl.Int64)), "expected 3 rows for each"),
    ],
)
def test_a_changed_table_is_refused(store, tmp_path, change, message):
    path = tmp_path / "split.parquet"
    write_split(store, store.split(), path)
    with pytest.raises(IntegrityError, match=message):
        read_split(forge(path, change), store)


def test_a_table_under_the_name_of_another_configuration_is_refused(store, tmp_path):
    path = tmp_path / "split.parquet"
    write_split(store, store.split(), path)
    other = forge(path, lambda frame: frame, config=LeaveLastOutConfig(k=2).to_dict())
    with pytest.raises(IntegrityError, match="another configuration"):
        read_split(other, store)


def test_a_split_by_hand_can_be_kept_too(store, tmp_path):
    """Another program's split has no configuration, therefore no hash, and nothing can claim to be fitted on it."""
    split = store.split()
    by_hand = Split(
        split.start,
        split.train_stop,
        split.valid_stop,
        split.test_stop,
        "peer",
        store_hash=store.content_hash,
    )
    assert (by_hand.hash, by_hand.fitted_on) == ("", None)
    write_split(store, by_hand, tmp_path / "peer.parquet")
    back = read_split(tmp_path / "peer.parquet", store)
    assert (back.config, back.name, back.fitted_on) == (None, "peer", None)
    assert json.loads((tmp_path / "peer.parquet.manifest.json").read_text())["meta"]["config"] is None
