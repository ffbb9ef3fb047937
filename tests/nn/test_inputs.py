import math

import pytest
import torch

from usermodel.batch import JaggedBatch
from usermodel.errors import DataError
from usermodel.nn.inputs import EventInputs, InputsConfig

DIM = 4
OFFSETS = torch.tensor([0, 3, 3, 4, 6])
TIMES = torch.tensor([100, 100, 4_000, 7, 50, 86_450])
TYPES = torch.tensor([1, 2, 0, 3, 4, 2], dtype=torch.int32)
WATCHED = torch.tensor([-1, 0, 1_500, 60_000, 10**9, 2])


def batch() -> JaggedBatch:
    features = {"event_type": TYPES, "watch_time_ms": WATCHED}
    return JaggedBatch(torch.arange(1, 7), TIMES, OFFSETS, features)


def inputs(**options) -> EventInputs:
    torch.manual_seed(0)
    module = EventInputs(InputsConfig(**options), DIM, n_event_types=3)
    for weight in module.parameters():
        torch.nn.init.normal_(weight)
    return module


def bucket(value: int, n: int) -> int:
    return min(int(math.log(max(value, 1)) / 0.301), n - 1) + 1


#: Code of each event by input: types above 3 came later; the first event of a user has no gap; -1 is no watch time.
CODES = {
    "event_type": [1, 2, 0, 3, 0, 2],
    "time_gap": [0, bucket(0, 25), bucket(3_900, 25), 0, 0, bucket(86_400, 25)],
    "watch_time_ms": [0, *(bucket(value, 30) for value in WATCHED.tolist()[1:])],
}
OPTIONS = {
    "event_type": {"event_type": True},
    "time_gap": {"time_gap_buckets": 25},
    "watch_time_ms": {"watch_time_buckets": 30},
}


@pytest.mark.parametrize("merge", ["sum", "gated"])
@pytest.mark.parametrize("names", [[name] for name in CODES] + [list(CODES)], ids="+".join)
def test_vectors_by_code_are_added_or_gated(names, merge):
    options = {key: value for name in names for key, value in OPTIONS[name].items()}
    module = inputs(**options, merge=merge)
    items = torch.randn(6, DIM)
    rows = []
    for event in range(6):
        total = items[event]
        for name in names:
            vector = module.tables[name].weight[CODES[name][event]]
            if merge == "gated":
                gate = module.gates[name]
                both = torch.cat([items[event], vector])
                vector = vector / (1 + torch.exp(-(gate.weight @ both + gate.bias)))
            total = total + vector
        rows.append(total)
    torch.testing.assert_close(module(items, batch()), torch.stack(rows), atol=1e-6, rtol=1e-5)
    assert CODES["time_gap"] == [0, 1, 25, 0, 0, 25]
    assert CODES["watch_time_ms"][-2] == 30


def test_what_is_unknown_adds_nothing_and_learns_nothing():
    module = EventInputs(InputsConfig(event_type=True, time_gap_buckets=5), DIM, n_event_types=3)
    module(torch.zeros(6, DIM), batch()).sum().backward()
    for table in module.tables.values():
        assert not table.weight[0].any()
        assert not table.weight.grad[0].any()
        assert table.weight.grad.any()


def test_a_batch_without_the_column_is_named():
    bare = JaggedBatch(torch.arange(1, 7), TIMES, OFFSETS, {"rating": torch.zeros(6)})
    with pytest.raises(DataError, match="event_type: expected a column of the events; found rating"):
        inputs(event_type=True)(torch.zeros(6, DIM), bare)


def test_an_empty_batch():
    none = torch.zeros(0, dtype=torch.int64)
    empty = JaggedBatch(none, none, torch.tensor([0, 0]), {"event_type": none, "watch_time_ms": none})
    module = inputs(event_type=True, time_gap_buckets=5, watch_time_buckets=5)
    assert module(torch.zeros(0, DIM), empty).shape == (0, DIM)
