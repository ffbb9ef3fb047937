"""Which figures there are for which tables, their values against plain numpy, and the advice that goes with them."""

import numpy as np
import polars as pl
import pytest

from usermodel.embedding_table import EmbeddingTable
from usermodel.errors import DataError, MismatchError, NumericError
from usermodel.metrics.popularity_leakage import popularity_r2
from usermodel.report.advice import _ADVICE, Finding
from usermodel.report.health import health
from usermodel.store.build import build_store

OF_A_TABLE = [
    "effective_rank",
    "uniformity",
    "shared_length",
    "norm_variation",
    "dead_dimensions",
    "near_duplicates",
    "exact_duplicates",
]


def table(vectors, ids, name="user_id", **columns):
    vectors = np.asarray(vectors, dtype=np.float32)
    return EmbeddingTable(pl.Series("id", ids, dtype=pl.String), vectors, "hash", pl.DataFrame(columns), name)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Forty users, twenty items of very different frequency; vectors drawn at random."""
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user:02d}", f"i{min(int(rng.exponential(8)), 19):02d}", 1_700_000_000 + 100 * time + user)
        for time in range(25)
        for user in range(40)
    ]
    rows += [(f"u{item:02d}", f"i{item:02d}", 1_600_000_000) for item in range(20)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    store = build_store(frame, tmp_path_factory.mktemp("health") / "store")
    assert (store.n_users, store.n_items) == (40, 20)
    users = table(rng.normal(size=(40, 6)), store.users.ids, n_events=np.diff(store.offsets))
    items = table(rng.normal(size=(20, 6)), store.vocabulary.ids, name="item_id")
    return store, users, items


def value(findings, group, name):
    return next((one.value for one in findings if (one.group, one.name) == (group, name)), None)


def latest_item(store, user, events=None):
    first, stop = store.offsets[user], store.offsets[user + 1]
    return int(store.items[(stop if events is None else first + events) - 1]) - 1


def align(pairs):
    x, y = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
    x, y = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (x, y))
    return np.square(x - y).sum(axis=1).mean()


def test_what_is_told_depends_on_what_is_there(world):
    store, users, items = world
    names = [
        [(one.group, one.name) for one in health(*given)]
        for given in ((users,), (users, items), (users, items, store))
    ]
    assert names[0] == [("users", name) for name in OF_A_TABLE]
    assert names[1] == names[0] + [("items", name) for name in OF_A_TABLE]
    further = [("items", "popularity_r2"), ("items", "popularity_r2_of_norm"), ("pairs", "alignment")]
    assert names[2] == names[1] + further


def test_popularity_counts_all_events_whatever_the_order_of_the_table(world, monkeypatch):
    store, users, items = world
    monkeypatch.setattr("usermodel.report.health._EVENTS", 7)
    order = np.random.default_rng(1).permutation(20)
    mixed = table(items.vectors[order], items.ids.gather(order), name="item_id")
    counts = np.bincount(store.items, minlength=21)[1:]
    found = health(users, mixed, store)
    wanted = popularity_r2(items.vectors[order], counts[order])
    assert value(found, "items", "popularity_r2") == pytest.approx(wanted)
    lengths = np.linalg.norm(items.vectors[order].astype(np.float64), axis=1)[:, None]
    assert value(found, "items", "popularity_r2_of_norm") == pytest.approx(
        popularity_r2(lengths, counts[order])
    )


def test_alignment_is_between_users_and_their_latest_items(world):
    store, users, items = world
    pairs = [(users.vectors[user], items.vectors[latest_item(store, user)]) for user in range(40)]
    assert value(health(users, items, store), "pairs", "alignment") == pytest.approx(align(pairs))
    order = np.arange(40)[::-3]
    some = table(users.vectors[order], users.ids.gather(order))  # without n_events: all of them
    wanted = align([pairs[user] for user in order])
    assert value(health(some, items, store), "pairs", "alignment") == pytest.approx(wanted)


def test_alignment_looks_no_further_than_the_vectors_have_seen(world):
    """The store has grown since: a vector of three events is held against the third. One of no events has no item."""
    store, users, items = world
    seen = np.full(40, 3)
    seen[5], seen[6] = 0, 10_000
    old = table(users.vectors, users.ids, n_events=seen)
    pairs = [
        (users.vectors[user], items.vectors[latest_item(store, user, 3)])
        for user in range(40)
        if user not in {5, 6}
    ]
    assert value(health(old, items, store), "pairs", "alignment") == pytest.approx(align(pairs))


def test_items_and_users_that_one_side_lacks_are_left_out(world):
    store, users, items = world
    few = table(items.vectors[:15], [*items.ids[:14], "elsewhere"], name="item_id")
    more = table(users.vectors, [*users.ids[:39], "stranger"])
    found = health(more, few, store)
    there = [user for user in range(39) if latest_item(store, user) < 14]
    assert 0 < len(there) < 39
    pairs = [(users.vectors[user], items.vectors[latest_item(store, user)]) for user in there]
    assert value(found, "pairs", "alignment") == pytest.approx(align(pairs))
    counts = np.bincount(store.items, minlength=21)[1:15]
    assert value(found, "items", "popularity_r2") == pytest.approx(popularity_r2(items.vectors[:14], counts))


def test_another_store_is_refused(world, tmp_path):
    store, users, items = world
    with pytest.raises(MismatchError, match="expected users of the embeddings; found none of the 2"):
        health(table(users.vectors[:2], ["x", "y"]), items, store)
    with pytest.raises(MismatchError, match="expected items of the embeddings; found none of the 2"):
        health(users, table(items.vectors[:2], ["x", "y"], name="item_id"), store)
    numbers = EmbeddingTable(pl.Series([1, 2]), users.vectors[:2], "hash")
    with pytest.raises(DataError, match="ids are strings in this store"):
        health(numbers, items, store)


def test_no_users_one_user_and_users_of_whom_nothing_is_known(world):
    store, users, items = world
    nobody = table(np.zeros((0, 6)), [])
    unknown = table(np.zeros((3, 6)), users.ids[:3], n_events=[0, 0, 0])
    for these in (nobody, unknown):
        assert health(these) == []
        assert {one.group for one in health(these, items, store)} == {"items"}
    alone = health(table(users.vectors[:1], users.ids[:1]), items, store)
    assert [one.name for one in alone if one.group == "users"] == ["shared_length", "norm_variation"]
    assert value(alone, "pairs", "alignment") is not None


def test_of_several_vectors_each_counts_on_its_own(world):
    store, users, items = world
    several = table(users.vectors[:20], users.ids[:20])
    # What encoders of several interests make: [n, interests, dim].
    object.__setattr__(several, "vectors", users.vectors.reshape(20, 2, 6))
    found, wanted = health(several, items, store), health(users, items)
    assert [one for one in found if one.group == "users"] == [one for one in wanted if one.group == "users"]
    assert {one.group for one in found} == {"users", "items"}


def test_equal_vectors_are_told_as_such(world):
    store, _, _ = world
    found = {one.name: one for one in health(table(np.ones((40, 6)), store.users.ids))}
    assert found["effective_rank"].value == 0
    assert "All vectors are equal" in found["effective_rank"].advice
    assert found["exact_duplicates"].value == 1
    assert found["uniformity"].value == pytest.approx(0, abs=1e-6)
    assert "Nearly one direction" in found["uniformity"].advice


def test_a_vector_that_is_not_finite_is_an_error(world):
    _, users, items = world
    vectors = users.vectors.copy()
    vectors[7, 2] = np.nan
    with pytest.raises(NumericError, match="NaN or infinity in row 7"):
        health(table(vectors, users.ids))
    vectors = items.vectors.copy()
    vectors[3, 0] = np.inf
    with pytest.raises(NumericError, match="NaN or infinity in row 3"):
        health(users, table(vectors, items.ids, name="item_id"))


@pytest.mark.parametrize("name", _ADVICE)
def test_every_figure_has_advice_for_every_value(name):
    """Bounds rise, and each line is given from its own bound on."""
    group, _, short = name.rpartition(".")
    bounds = [bound for bound, _ in _ADVICE[name]]
    assert bounds == sorted(set(bounds))
    assert bounds[0] == -np.inf
    for at, (bound, text) in enumerate(_ADVICE[name]):
        measure = -9.0 if at == 0 else bound
        assert Finding(group, short, measure).advice == text
        assert Finding(group, short, measure * 64, 64.0).advice == text
        if at:
            assert Finding(group, short, np.nextafter(bound, -10)).advice == _ADVICE[name][at - 1][1]


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (Finding("users", "effective_rank", 40.0, 64.0), "use most dimensions"),
        (Finding("users", "effective_rank", 3.0, 64.0), "few dimensions"),
        (Finding("users", "uniformity", -3.0, -3.8), "Spread over the sphere"),
        (Finding("users", "uniformity", -1.0, -3.8), "Crowded"),
        (Finding("users", "uniformity", 1e-15, -3.8), "Nearly one direction"),
        (Finding("items", "dead_dimensions", 1, 64.0), "hardly vary"),
        (Finding("items", "popularity_r2", -0.2), "hardly say"),
        (Finding("pairs", "alignment", 1.99, 2.0), "no nearer"),
        (Finding("pairs", "alignment", 0.0, 0.0), "near their latest item"),
    ],
)
def test_advice_by_example(finding, words):
    assert words in finding.advice
