"""One example per user."""

import numpy as np
import pytest

from tests.sampling.test_contract import FakeStore
from usermodel.events.splits import LeaveLastOutConfig
from usermodel.sampling.recent import RecentConfig


@pytest.mark.parametrize(("min_events", "users"), [(1, [0, 1, 2, 3]), (2, [0, 3]), (4, [3])])
def test_by_hand(min_events, users):
    # Two events of each are held out: 3, 1, 1 and 6 are left, because the first always stays.
    store = FakeStore([list(range(n)) for n in (5, 2, 3, 8)])
    split = store.split(LeaveLastOutConfig())
    found = RecentConfig(min_events=min_events).sample(
        store, split, max_history=4, rng=np.random.default_rng(0)
    )
    assert found.user.tolist() == users
    wanted = {0: (0, 3), 1: (5, 6), 2: (7, 8), 3: (12, 16)}
    assert list(zip(found.start.tolist(), found.stop.tolist(), strict=True)) == [wanted[u] for u in users]
    assert (found.target_start == found.target_stop).all()
