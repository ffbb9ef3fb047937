"""Every recipe in datasets/: a complete card, a test of its values, and twenty rows that become a valid store."""

import dataclasses
import re
import sys
from pathlib import Path

import polars as pl
import pytest

from usermodel.errors import DataError, MissingError
from usermodel.events import data_sets
from usermodel.events.data_cards import TASKS, Card
from usermodel.store.build import build_store

NAMES = data_sets.names()
FOLDER = data_sets.recipes_folder()
HERE = Path(__file__).parent
every_set = pytest.mark.parametrize("name", NAMES)


def test_the_sets_that_were_promised_are_there():
    promised = """movielens-100k movielens-1m movielens-20m movielens-25m amazon-beauty amazon-sports amazon-toys
    amazon-games amazon-2023 yelp steam lastfm gowalla tenrec kuairec kuairand-pure kuairand-1k kuairand-27k mind-small
    mind-large taobao-user-behavior tencent-ttl criteo avazu frappe movielens-tag coat yahoo-r3 citeulike-a cikm16"""
    assert set(promised.split()) <= set(NAMES)


def test_every_file_is_a_recipe_and_no_two_have_one_name():
    files = sorted(FOLDER.glob("*.py"))
    assert files
    cards = [data_sets.load(path.stem.replace("_", "-")).card for path in files]
    assert [card.name.replace("-", "_") for card in cards] == [path.stem for path in files]
    assert len({card.title for card in cards}) == len(cards)
    assert [path.name for path in files if not re.fullmatch(r"[a-z][a-z0-9_]*\.py", path.name)] == []


@every_set
def test_the_card_is_complete(name):
    card = data_sets.load(name).card
    assert dataclasses.is_dataclass(Card)
    with pytest.raises(dataclasses.FrozenInstanceError):
        card.name = "other"
    for text in (card.title, card.source, card.licence, card.licence_short, card.citation):
        assert text.strip() == text != ""
    assert card.source.startswith("https://")
    assert {"user_id", "item_id"} <= card.columns.keys() or {
        "user_id",
        "item_id (labels)",
    } <= card.columns.keys()
    assert set(card.tasks) <= TASKS
    assert card.tasks
    assert card.layouts[0].name == "original"
    assert len({layout.name for layout in card.layouts}) == len(card.layouts)
    # Either anybody may fetch it, or the card says how it is obtained.
    assert bool(card.downloads) != bool(card.by_hand)


@every_set
def test_figures_are_plausible_and_hashes_are_hashes(name):
    card = data_sets.load(name).card
    for layout in card.layouts:
        assert layout.files
        counts = layout.counts
        numbers = [n for n in (counts.users, counts.items, counts.events) if n is not None]
        # Who knows no counts must say why.
        assert len(numbers) in {0, 3}
        assert numbers or layout.about
        if numbers:
            assert counts.events >= max(counts.users, counts.items)
        for file in layout.files:
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert (file.sha256 is None) == (file.n_bytes is None)
    for one in card.downloads:
        assert one.url.startswith("https://")
        assert one.url.endswith(one.name)
        assert one.checksum is None or re.fullmatch("md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", one.checksum)
    for one in card.published:
        assert one.figure
        assert one.source


@every_set
def test_every_set_has_a_sample_and_a_test_of_its_values(name, samples):
    assert name in samples
    text = (HERE / "test_values.py").read_text()
    assert f"def test_{name.replace('-', '_')}(" in text


@every_set
def test_twenty_rows_become_a_valid_store(name, raw_folder, tmp_path):
    prepared = data_sets.read_data_set(name, raw_folder(name))
    tables, log = prepared.tables, prepared.log
    assert tables.layout == "original"
    assert log.sources == (name,)
    assert prepared.checks["events"][1] >= 5
    assert tables.events["user_id"].dtype == pl.String
    assert tables.events["item_id"].dtype == pl.String
    store = build_store(
        log,
        tmp_path / "store",
        impressions=tables.impressions,
        labels=tables.labels,
        items_table=tables.items,
        users_table=tables.users,
    )
    assert (
        store.n_events == tables.events.height == prepared.checks["events"][1] - sum(tables.left_out.values())
    )
    assert store.n_users == prepared.checks["users"][1]
    assert store.n_items == prepared.checks["items"][1]
    assert set(store.meta.get("tables", {})) == set(tables.side_tables())
    assert store.meta["time_kind"] == ("order" if tables.time_unit == "order" else "utc")


@every_set
def test_twenty_rows_are_not_the_whole_set(name, raw_folder):
    prepared = data_sets.read_data_set(name, raw_folder(name))
    known = [kind for kind, (expected, _) in prepared.checks.items() if expected is not None]
    expected_equal = {"criteo": ["items"]}.get(name, [])
    assert [line.partition(":")[0] for line in prepared.differences] == [
        kind for kind in known if kind not in expected_equal
    ]


@every_set
def test_an_empty_folder_names_the_missing_file(name, tmp_path):
    with pytest.raises((MissingError, DataError)) as caught:
        data_sets.read_data_set(name, tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    wanted = [
        file.name.rpartition("/")[2] for layout in data_sets.load(name).card.layouts for file in layout.files
    ]
    stems = {re.split(r"[*.]", one)[-2 if one.startswith("*") else 0] for one in wanted}
    assert any(stem and stem in message for stem in stems) or "log_standard" in message


def test_no_recipe_or_unknown_names_are_refused(monkeypatch, tmp_path):
    with pytest.raises(DataError, match="Did you mean 'movielens-1m'"):
        data_sets.load("movielens1m")
    with pytest.raises(MissingError, match="no such folder"):
        data_sets.read_data_set("coat", tmp_path / "nowhere")
    (tmp_path / "broken.py").write_text("CARD = 1\n")
    monkeypatch.setattr(data_sets, "recipes_folder", lambda: tmp_path)
    assert data_sets.names() == ["broken"]
    with pytest.raises(DataError, match="CARD and read"):
        data_sets.load("broken")


def test_loading_writes_nothing_beside_the_recipes(monkeypatch, tmp_path):
    """Compiled copies would ride into the wheel, and an installed folder may be read-only."""
    (tmp_path / "coat.py").write_text((FOLDER / "coat.py").read_text())
    monkeypatch.setattr(data_sets, "recipes_folder", lambda: tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    assert data_sets.load("coat").card.name == "coat"
    assert [path.name for path in tmp_path.iterdir()] == ["coat.py"]


def test_recipes_are_found_in_the_wheel_first(monkeypatch, tmp_path):
    package = tmp_path / "usermodel"
    (tmp_path / "datasets").mkdir()
    monkeypatch.setattr(data_sets, "_PACKAGE", package)
    assert data_sets.recipes_folder() == tmp_path / "datasets"
    (package / "_datasets").mkdir(parents=True)
    assert data_sets.recipes_folder() == package / "_datasets"


def test_a_damaged_file_is_one_clear_error(raw_folder):
    files = {"steam_reviews.json.gz": "{'username': 'a'\n"}
    with pytest.raises(DataError, match=r"a Python literal a line.*line 1"):
        data_sets.read_data_set("steam", raw_folder("steam", files))
    with pytest.raises(DataError, match=r"u\.user.*5 fields"):
        data_sets.read_data_set(
            "movielens-100k",
            raw_folder("movielens-100k", {"u.data": "1\t1\t1\t881250949\n", "u.user": "1|2\n"}),
        )
    folder = raw_folder("amazon-toys", {"reviews_Toys_and_Games_5.json": "{'not': json}\n"})
    with pytest.raises(DataError, match="a file of the data set"):
        data_sets.read_data_set("amazon-toys", folder)
    folder = raw_folder("lastfm", {"user_artists.dat": "userID,artistID,weight\n1,2,3\n"})
    with pytest.raises(DataError, match=r"files of Last\.fm.*userID"):
        data_sets.read_data_set("lastfm", folder)


def test_several_scenarios_in_one_folder_are_refused(raw_folder, samples):
    text = samples["tenrec"]["QB-video.csv"]
    folder = raw_folder("tenrec", {"QB-video.csv": text, "QK-video.csv": text})
    with pytest.raises(DataError, match="QK-video, QB-video"):
        data_sets.read_data_set("tenrec", folder)
    folder = raw_folder("amazon-2023", {"a.csv": "user_id\n", "b.csv": "user_id\n"})
    with pytest.raises(DataError, match=r"one \.csv\.gz or \.jsonl\.gz"):
        data_sets.read_data_set("amazon-2023", folder)
