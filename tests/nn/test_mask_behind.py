"""A mask behind a history tells nothing but that it comes next, in histories laid end to end as in a rectangle."""

import dataclasses

import torch

from usermodel.batch import JaggedBatch
from usermodel.nn.mask_behind import hide_all_of, mask_behind, mask_behind_padded
from usermodel.nn.padded import PaddedBatch

FEATURES = {
    "event_type": torch.tensor([1, 2, 3, 4], dtype=torch.int32),
    "watch_time_ms": torch.tensor([10, 20, 30, 40]),
}
#: Three events, none, one.
BATCH = JaggedBatch(
    torch.tensor([5, 6, 7, 8]), torch.tensor([100, 110, 130, 90]), torch.tensor([0, 3, 3, 4]), FEATURES
)


def test_one_event_more_for_each_user_with_any():
    made = mask_behind(BATCH)
    assert made.lengths.tolist() == [4, 0, 2]
    assert made.masked.tolist() == [False, False, False, True, False, True]
    assert made.item_index[~made.masked].tolist() == [5, 6, 7, 8]
    assert made.timestamps_s.tolist() == [100, 110, 130, 130, 90, 90]
    assert made.features["event_type"].tolist() == [1, 2, 3, 0, 4, 0]
    assert made.features["watch_time_ms"].tolist() == [10, 20, 30, -1, 40, -1]
    assert made.features["event_type"].dtype == torch.int32


def test_what_is_hidden_already_stays_so():
    hidden = torch.tensor([True, False, False, False])
    made = mask_behind(dataclasses.replace(BATCH, masked=hidden))
    assert made.masked.tolist() == [True, False, False, True, False, True]


def test_nobody_and_nothing():
    none = torch.zeros(0, dtype=torch.int64)
    assert mask_behind(JaggedBatch(none, none, torch.tensor([0]))).offsets.tolist() == [0]
    assert mask_behind(JaggedBatch(none, none, torch.tensor([0, 0, 0]))).offsets.tolist() == [0, 0, 0]


def test_an_event_that_is_hidden_whole_is_the_mask_behind_those_before_it():
    made = hide_all_of(BATCH, torch.tensor([False, False, True, False]))
    wanted = mask_behind(BATCH.select(torch.tensor([True, True, False, False])))
    assert made.masked[:3].tolist() == wanted.masked.tolist()
    assert made.timestamps_s[:3].tolist() == wanted.timestamps_s.tolist()
    for name in FEATURES:
        assert made.features[name][:3].tolist() == wanted.features[name].tolist()


def test_a_rectangle_holds_the_same_events():
    def rectangle(column, filler):
        rows = column.new_full((3, 3), filler)
        rows[0], rows[2, 0] = column[:3], column[3]
        return rows

    columns = {name: rectangle(column, 9) for name, column in FEATURES.items()}
    padded = PaddedBatch.of(rectangle(BATCH.item_index, 0), rectangle(BATCH.timestamps_s, 7), columns)
    made, wanted = mask_behind_padded(padded), mask_behind(BATCH)
    assert (made.width, made.n_users) == (4, 3)
    assert made.lengths[[0, 2]].tolist() == [4, 2]
    # Of the user without events the vector means nothing.
    real = made.real & torch.tensor([[True], [False], [True]])
    for name in ("timestamps_s", "masked"):
        assert made.rectangle(getattr(made, name))[real].tolist() == getattr(wanted, name).tolist()
    seen = made.item_index[real.flatten() & ~made.masked]
    assert seen.tolist() == BATCH.item_index.tolist()
    for name in FEATURES:
        assert made.rectangle(made.features[name])[real].tolist() == wanted.features[name].tolist()
