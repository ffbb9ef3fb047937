"""Cards against the real files in USERMODEL_DATA_DIR: the counts to the last event, and the hashes."""

import gzip
import hashlib
import os
from pathlib import Path

import polars as pl
import pytest

from usermodel.events import data_sets
from usermodel.events.raw_files import find_all
from usermodel.heads.deepfm import DeepfmConfig
from usermodel.store.build import build_store
from usermodel.tasks.ctr import Ctr
from usermodel.tasks.rows import RandomParts
from usermodel.training.fit_rows import FitRowsConfig

#: Folder there -> name of the set and of the layout that lies in it.
AT_HAND = {
    "amazon-beauty": ("amazon-beauty", "sequences"),
    "citeulike-a": ("citeulike-a", "original"),
    "coat": ("coat", "original"),
    "criteo-sample-200": ("criteo", "sample"),
    "gowalla-lightgcn": ("gowalla", "lightgcn"),
    "kuairand27k-likehate15": ("kuairand-27k", "likehate15"),
    "lastfm-kgcn": ("lastfm", "original"),
    "ml-100k": ("movielens-100k", "original"),
    "ml-1m": ("movielens-1m", "rebuilt"),
    "tenrec-qba-age": ("tenrec", "itfr"),
}
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif("USERMODEL_DATA_DIR" not in os.environ, reason="USERMODEL_DATA_DIR is not set"),
]


def folder(name):
    path = Path(os.environ["USERMODEL_DATA_DIR"]) / name
    if not path.is_dir():
        pytest.skip(f"{name} is not at hand")
    return path


def test_some_set_is_at_hand():
    """A folder that holds some of the sets is fine; one that holds none is a wrong name, not a reason to leave all out."""
    assert [name for name in AT_HAND if (Path(os.environ["USERMODEL_DATA_DIR"]) / name).is_dir()]


@pytest.mark.parametrize("name", AT_HAND)
def test_the_counts_are_those_of_the_card(name):
    prepared = data_sets.read_data_set(AT_HAND[name][0], folder(name))
    assert prepared.tables.layout == AT_HAND[name][1]
    assert None not in [expected for expected, _ in prepared.checks.values()]
    assert prepared.differences == []
    assert not prepared.card.layout(prepared.tables.layout).counts.is_recalled
    assert prepared.tables.left_out == {}


@pytest.mark.parametrize("name", AT_HAND)
def test_the_hashes_are_those_of_the_card(name):
    card = data_sets.load(AT_HAND[name][0]).card
    checked = 0
    for file in card.layout(AT_HAND[name][1]).files:
        found = find_all(folder(name), Path(file.name).name)
        if not found or file.sha256 is None:
            assert file.is_optional, file
            continue
        data = found[0].read_bytes()
        if found[0].suffix == ".gz" and not file.name.endswith(".gz"):
            data = gzip.decompress(data)
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file.sha256, file.n_bytes), file.name
        checked += 1
    assert checked


def test_movielens_100k_joins_people_and_films():
    tables = data_sets.read_data_set("movielens-100k", folder("ml-100k")).tables
    assert tables.users.height == 943
    assert tables.users["gender"].value_counts().sort("gender").rows() == [("F", 273), ("M", 670)]
    assert tables.items.height == 1682
    assert tables.items.filter(pl.col("item_id") == "1")["genres"].item() == "Animation|Children's|Comedy"
    assert tables.events["rating"].cast(pl.Float64).mean() == pytest.approx(3.52986)


def test_movielens_1m_joins_people_and_films():
    tables = data_sets.read_data_set("movielens-1m", folder("ml-1m")).tables
    assert tables.users["gender"].value_counts().sort("gender").rows() == [("F", 1709), ("M", 4331)]
    assert tables.events["item_id"].is_in(tables.items["item_id"].to_list()).all()
    counts = dict(tables.events["event_type"].value_counts().rows())
    assert counts == {"3 stars or more": 836_432, "fewer than 3 stars": 163_678, None: 99}


def test_amazon_beauty_gets_its_raw_ids_back():
    tables = data_sets.read_data_set("amazon-beauty", folder("amazon-beauty")).tables
    assert tables.events.row(0) == ("A1YJEY40YUW4SE", "B004756YJA", 0)
    assert tables.items.height == 12_086


def test_kuairand_excerpt_has_exact_times_and_signals():
    tables = data_sets.read_data_set("kuairand-27k", folder("kuairand27k-likehate15")).tables
    first = tables.events.row(0, named=True)
    assert (first["timestamp"], first["watch_time_ms"], first["duration_ms"]) == (1649581149287, 46186, 45916)
    assert tables.events.filter(pl.col("event_type") == "hate").height == 8_083
    assert tables.events.filter(pl.col("watch_time_ms") == 0).height == 991
    assert tables.events["watch_time_ms"].max() == 612_577
    assert tables.users.height == 27_285
    assert tables.items.height == 7_583


def test_tenrec_has_an_age_for_everybody():
    tables = data_sets.read_data_set("tenrec", folder("tenrec-qba-age")).tables
    ages = tables.events["user_id"].unique().to_frame().join(tables.users, on="user_id", how="left")
    assert ages["age_group"].value_counts().sort("age_group").rows() == [
        ("0", 4606),
        ("1", 1744),
        ("2", 5026),
    ]


def test_coat_has_chosen_and_random_ratings_with_propensities():
    tables = data_sets.read_data_set("coat", folder("coat")).tables
    assert tables.events.group_by("user_id").len()["len"].unique().to_list() == [24]
    assert tables.labels.group_by("user_id").len()["len"].unique().to_list() == [16]
    pairs = (folder("coat") / "random.txt").read_text().split()
    found = {f"{u},{i},{v:.0f}" for u, _, i, v in tables.labels.rows()}
    assert found == set(pairs)
    assert tables.impressions["propensity"].is_between(0, 1).all()
    assert tables.users.width == 15
    assert "gender:men" in tables.users.columns


def test_criteo_sample_keeps_its_columns():
    tables = data_sets.read_data_set("criteo", folder("criteo-sample-200")).tables
    assert tables.labels.height == 200
    assert len([name for name in tables.labels.columns if name[0] in "IC"]) == 39
    assert tables.labels["C1"][0] == "05db9164"


def test_criteo_sample_trains_and_is_scored(tmp_path):
    """200 rows teach nothing; they must pass through."""
    prepared = data_sets.read_data_set("criteo", folder("criteo-sample-200"))
    store = build_store(prepared.log, tmp_path / "store", labels=prepared.tables.labels)
    names = [*(f"bucket(I{n})" for n in range(1, 14)), *(f"C{n}" for n in range(1, 27))]
    fit = FitRowsConfig(epochs=2)
    task = Ctr(
        model=DeepfmConfig(dim=4, hidden=(8,)),
        fit=fit,
        label="value",
        parts=RandomParts(),
        features=tuple(names),
    )
    found = {one.metric: one for one in task.score(None, store)}
    assert found["auc"].n == 20
    assert 0 < found["logloss"].value < 1.5
