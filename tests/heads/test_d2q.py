"""D2Q: decoding undoes encoding, and ranks are those within the group."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from usermodel.heads.d2q import D2qConfig


def fit(label, duration, **options):
    label, duration = np.array(label, dtype=float), np.array(duration, dtype=float)
    head = D2qConfig(**options).fit(2, label, duration)
    return head, torch.from_numpy(label), torch.from_numpy(duration)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0, 5, 7, 30])), min_size=1, max_size=40).filter(
        lambda rows: any(label for label, _ in rows)
    ),
    st.integers(1, 8),
)
@settings(max_examples=100, deadline=None)
def test_decoding_undoes_encoding_on_training_rows(rows, groups):
    head, label, duration = fit(*zip(*rows, strict=True), groups=groups)
    code = head.encode(label, duration)
    assert float(code.min()) > 0
    assert float(code.max()) < 1
    torch.testing.assert_close(head.decode(code, duration), label, atol=1e-9, rtol=0)


def test_ranks_by_hand():
    """Durations 5 and 50: labels 1, 2, 2, 4 have middles .5/4, 2/4, 2/4, 3.5/4; 30 and 10 have 1.5/2 and .5/2."""
    head, label, duration = fit([1, 2, 2, 4, 30, 10], [5, 5, 5, 5, 50, 50], groups=2)
    assert head.edges.tolist() == [0.0, 5.0]
    assert head.encode(label, duration).tolist() == pytest.approx([0.125, 0.5, 0.5, 0.875, 0.75, 0.25])
    # Between two labels, and outside.
    at = torch.tensor([0.3125, 0.01, 0.99], dtype=torch.float64)
    assert head.decode(at, torch.full((3,), 5.0)).tolist() == pytest.approx([1.5, 1.0, 4.0])
    assert head.encode(torch.tensor([3.0, 0.0, 99.0]), torch.full((3,), 4.0)).tolist() == pytest.approx(
        [0.6875, 0.125, 0.875]
    )


def test_unknown_durations_are_a_group_of_their_own():
    head, _, _ = fit([100, 200, 1, 2], [0, -1, 10, 10], groups=2)
    half = torch.full((3,), 0.5, dtype=torch.float64)
    found = head.decode(half, torch.tensor([float("nan"), 0.0, 10.0]))
    assert found.tolist() == pytest.approx([150.0, 150.0, 1.5])


def test_few_unknown_durations_stay_apart_and_unseen_ones_have_the_law_of_all():
    label = [500.0] * 10 + [float(n % 5) for n in range(990)]
    half = torch.full((1,), 0.5, dtype=torch.float64)
    head, _, _ = fit(label, [0.0] * 10 + [10.0 + n for n in range(990)], groups=50)
    assert float(head.decode(half, torch.zeros(1))) == 500
    head, _, _ = fit([1, 1, 1, 9, 9], [5, 5, 5, 60, 60], groups=2)
    assert float(head.decode(half, torch.zeros(1))) == pytest.approx(1 + 8 * 0.2 / 0.5)


@pytest.mark.parametrize("short", [10.0, 10.1, 0.1, 1 / 3])
def test_durations_as_batches_hold_them_find_their_group(short):
    """10.1 is another number in float32."""
    head, _, _ = fit([6, 7, 40, 41], [short, short, 60.1, 60.1], groups=2)
    half = torch.full((2,), 0.5, dtype=torch.float64)
    duration = torch.tensor([short, 60.1], dtype=torch.float64)
    for one in (duration, duration.float()):
        assert head.decode(half, one).tolist() == pytest.approx([6.5, 40.5])


def test_mixed_labels_are_mixed_quantiles():
    head, label, duration = fit([1, 2, 10, 20], [5, 5, 50, 50], groups=2)
    partner = torch.tensor([3, 2, 1, 0])
    found = head.mixed(label, duration, partner, torch.full((4,), 0.5, dtype=torch.float64))
    code = head.encode(label, duration)
    assert torch.allclose(head.encode(found, duration), (code + code[partner]) / 2)
    assert float(found[:2].max()) <= 2  # in the labels of the own group


def test_many_labels_become_so_many_quantiles():
    rng = np.random.default_rng(0)
    label = rng.exponential(size=1000)
    head, y, duration = fit(label, np.ones(1000), groups=1, knots=100)
    # Those of the one group, and of rows of unknown duration, who have the law of all.
    assert len(head.values) == 200
    error = (head.decode(head.encode(y, duration), duration) - y).abs()
    assert float(error.median()) < 0.02


def test_groups_have_about_equal_rows():
    rng = np.random.default_rng(0)
    duration = rng.exponential(30, 10_000)
    head, _, d = fit(duration, duration, groups=50)
    counts = torch.bincount(torch.searchsorted(head.edges, d.float().double()))[1:]
    assert len(counts) == 50
    assert int(counts.min()) >= 199
    assert int(counts.max()) <= 201
