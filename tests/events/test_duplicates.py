"""Exact repeats: counted always, dropped on request, and the first one stays."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.events.readers import read_events

T0 = 1_700_000_000
ROWS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(T0, T0 + 1), st.sampled_from([None, 1.0, 2.0])),
    min_size=1,
    max_size=12,
)  # fmt: skip


@given(ROWS, st.booleans())
def test_repeats_are_counted_and_dropped(rows, rated):
    frame = pl.DataFrame(
        rows,
        schema=["user_id", "item_id", "timestamp", "stars"],
        orient="row",
        schema_overrides={"stars": pl.Float64},
    )
    options = {"rating": "stars"} if rated else {}
    seen = [(user, item, time * 10**6, *([stars] if rated else [])) for user, item, time, stars in rows]
    once = list(dict.fromkeys(seen))
    kept, dropped = (read_events(frame, duplicates=policy, **options) for policy in ("keep", "drop"))
    assert kept.frame.collect().rows() == seen
    assert dropped.frame.collect().rows() == once
    n = len(seen) - len(once)
    assert [kept.accounting[key] for key in ("accepted", "duplicates", "repeated")] == [len(seen), 0, n]
    assert [dropped.accounting[key] for key in ("accepted", "duplicates", "repeated")] == [len(once), n, n]


@pytest.mark.parametrize("id_type", ["string", "int"])
def test_repeats_across_files_and_units(tmp_path, id_type):
    for name, time in [("1.csv", T0), ("2.csv", T0 * 1000)]:
        (tmp_path / name).write_text(f"user_id,item_id,timestamp\n7,8,{time}\n7,9,{time}\n")
    log = read_events(tmp_path, duplicates="drop", id_type=id_type)
    assert log.accounting == {"rows_read": 4, "accepted": 2, "duplicates": 2, "repeated": 2, "quarantined": 0}
    assert log.frame.collect()["item_id"].cast(pl.String).to_list() == ["8", "9"]


def test_ids_that_look_alike_are_no_repeats():
    frame = pl.DataFrame({"user_id": ["7", "007"], "item_id": ["x", "x"], "timestamp": [T0, T0]})
    assert read_events(frame, duplicates="drop").n_events() == 2
