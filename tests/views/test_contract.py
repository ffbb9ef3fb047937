"""What every view owes: found by walking the package, checked on random batches."""

import importlib
import itertools
import json
import pkgutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import usermodel.views
from usermodel.batch import JaggedBatch
from usermodel.errors import ConfigError
from usermodel.views.protocol import ViewConfig
from usermodel.views.similar import SIMILAR, without_similar

HISTORIES = st.lists(st.lists(st.integers(1, 40), max_size=12), min_size=1, max_size=8)


def implementations() -> list[ViewConfig]:
    found = []
    for info in pkgutil.iter_modules(usermodel.views.__path__):
        module = importlib.import_module(f"{usermodel.views.__name__}.{info.name}")
        found += [
            value()
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, ViewConfig)
            and value is not ViewConfig
            and value.__module__ == module.__name__
        ]
    return found


contract = pytest.mark.parametrize("view", implementations(), ids=lambda view: type(view).__name__)


def make(histories) -> JaggedBatch:
    items = torch.tensor([item for history in histories for item in history], dtype=torch.int64)
    offsets = torch.tensor([0, *map(len, histories)]).cumsum(0)
    columns = {"price": items * 3, SIMILAR: items + 100}
    return JaggedBatch(items, torch.arange(len(items)) * 10, offsets, columns)


def users_of(batch) -> list[tuple]:
    masked = batch.masked if batch.masked is not None else torch.zeros_like(batch.item_index).bool()
    rows = zip(
        batch.item_index.tolist(),
        batch.timestamps_s.tolist(),
        batch.features["price"].tolist(),
        masked.tolist(),
        strict=True,
    )
    rows, borders = list(rows), batch.offsets.tolist()
    return [tuple(rows[a:b]) for a, b in itertools.pairwise(borders)]


def test_the_walk_finds_them():
    names = {type(view).__name__ for view in implementations()}
    assert names >= {"ByLength", "Crop", "Insert", "Mask", "OneOf", "Reorder", "Substitute"}


@contract
def test_the_configuration_survives_json(view):
    assert ViewConfig.from_dict(json.loads(json.dumps(view.to_dict()))) == view


@contract
@given(histories=HISTORIES, seed=st.integers(0, 20))
def test_every_user_stays_and_keeps_something(view, histories, seed):
    torch.manual_seed(seed)
    batch = make(histories)
    out = view(batch)
    assert out.n_users == batch.n_users
    assert out.offsets[0] == 0
    assert out.offsets[-1] == out.n_events == len(out.timestamps_s) == len(out.features["price"])
    assert ((out.lengths > 0) == (batch.lengths > 0)).all()
    assert out.masked is None or len(out.masked) == out.n_events
    # Columns of an event stay together, and times do not run backwards.
    for user in users_of(out):
        assert all(price == 3 * item for item, _, price, _ in user if item <= 40)
        assert [row[1] for row in user] == sorted(row[1] for row in user)


@contract
@given(histories=HISTORIES, seed=st.integers(0, 20))
def test_others_are_left_as_they_were(view, histories, seed):
    torch.manual_seed(seed)
    batch = make(histories)
    chosen = torch.arange(len(histories)) % 2 == 0
    before, after = users_of(batch), users_of(view.applied(batch, chosen))
    assert [after[n] for n in range(1, len(before), 2)] == [before[n] for n in range(1, len(before), 2)]


@contract
def test_equal_seeds_draw_equal_views_and_the_input_is_not_touched(view):
    batch = make([list(range(1, 11))] * 20)
    before = users_of(batch)
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(users_of(view(batch)))
    assert outs[0] == outs[1]
    assert outs[0] != outs[2]
    assert users_of(batch) == before


@contract
def test_hiding_is_announced(view):
    torch.manual_seed(0)
    out = view(make([list(range(1, 11))] * 50))
    assert view.masks == (out.masked is not None and bool(out.masked.any()))


@contract
@pytest.mark.parametrize("histories", [[[]], [[], []], [[3]], [[3], []]], ids=str)
def test_the_smallest_histories(view, histories):
    out = view(make(histories))
    assert out.n_users == len(histories)
    for history, user in zip(histories, users_of(out), strict=True):
        # Before a lone event there is room for a similar item; nothing else can happen to it.
        assert [row[0] for row in user if row[0] <= 40] in (
            [history, []] if view.reads_similar else [history]
        )
        assert len(user) <= 2 * len(history)


@contract
def test_a_view_that_reads_similar_items_says_so(view):
    batch = without_similar(make([list(range(1, 11))] * 50))
    if view.reads_similar:
        with pytest.raises(ConfigError, match="which items are similar"):
            view(batch)
    else:
        assert view(batch).n_users == 50
