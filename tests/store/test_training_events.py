"""Users and items of the training part, against a plain loop."""

import pytest

from usermodel.events.splits import LeaveLastOutConfig
from usermodel.events.splits_held_out import UserSplitConfig
from usermodel.store.training_events import training_events


@pytest.mark.parametrize("config", [LeaveLastOutConfig(), UserSplitConfig(valid=0.2, test=0.4)], ids=repr)
def test_each_training_event_once_and_no_other(tiny_store, config):
    split = tiny_store.split(config)
    wanted = [
        (user, int(tiny_store.items[row]))
        for user in range(tiny_store.n_users)
        for row in range(int(split.start[user]), int(split.train_stop[user]))
    ]
    user, item = training_events(tiny_store, split)
    assert list(zip(user.tolist(), item.tolist(), strict=True)) == wanted
    assert 0 < len(wanted) < tiny_store.n_events
