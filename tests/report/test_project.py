"""Principal components against a hand computation and against the singular value decomposition."""

import numpy as np
import pytest

from usermodel.errors import DataError, NumericError
from usermodel.report import project
from usermodel.report.project import map_neighbours, project_2d


def test_value_by_hand():
    # Centred already. Along (3, 4)/5 lie +5 and -5, across it, along (-4, 3)/5, +1 and -1: scatter 50 and 2.
    points = np.array([[3.0, 4.0], [-3.0, -4.0], [-0.8, 0.6], [0.8, -0.6]]) + np.array([10, -7])
    got = project_2d(points)
    # Signs: the coefficient largest in absolute value is positive, so (0.6, 0.8) and (0.8, -0.6).
    np.testing.assert_allclose(got.points, [[5, 0], [-5, 0], [0, -1], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(got.explained, [50 / 52, 2 / 52])
    assert got.points.dtype == np.float32
    assert "96.2\u00a0%" in got.caption
    assert got.axes == ("first component (96.2\u00a0%)", "second component (3.8\u00a0%)")


def test_agrees_with_svd_and_does_not_depend_on_the_block(monkeypatch):
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(300, 12)) @ rng.normal(size=(12, 12)) + 100).astype(np.float32)
    whole = project_2d(vectors)
    centred = vectors.astype(np.float64) - vectors.astype(np.float64).mean(axis=0)
    _, values, rows = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ rows[:2].T
    np.testing.assert_allclose(np.abs(whole.points), np.abs(expected), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(whole.explained, values[:2] ** 2 / (values**2).sum())
    monkeypatch.setattr(project, "_BLOCK", 7)
    np.testing.assert_allclose(project_2d(vectors).points, whole.points, atol=1e-4)


def test_sign_does_not_depend_on_the_order_of_rows():
    vectors = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float16)
    order = np.random.default_rng(2).permutation(50)
    np.testing.assert_allclose(
        project_2d(vectors[order]).points, project_2d(vectors).points[order], atol=1e-5
    )


@pytest.mark.parametrize("vectors", [np.ones((1, 8)), np.full((5, 3), 0.1), np.zeros((4, 1))])
def test_nothing_varies(vectors):
    got = project_2d(vectors)
    np.testing.assert_allclose(got.points, 0, atol=1e-6)
    assert got.points.shape == (len(vectors), 2)


def test_one_dimension_fills_one_axis():
    got = project_2d(np.array([[1.0], [2.0], [3.0]]))
    np.testing.assert_allclose(got.points, [[-1, 0], [0, 0], [1, 0]])
    np.testing.assert_allclose(got.explained, [1, 0])


def test_line_in_many_dimensions_has_no_second_component():
    got = project_2d(np.outer(np.arange(5.0), [1.0, 2.0, 2.0]))
    np.testing.assert_allclose(
        got.points, np.stack([3 * (np.arange(5) - 2.0), np.zeros(5)], axis=1), atol=1e-6
    )
    np.testing.assert_allclose(got.explained, [1, 0], atol=1e-12)


@pytest.mark.parametrize("vectors", [np.zeros((0, 4)), np.zeros(4), np.zeros((4, 0))])
def test_refuses_what_is_no_matrix(vectors):
    with pytest.raises(DataError, match="matrix"):
        project_2d(vectors)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_names_the_row_that_is_not_finite(bad):
    vectors = np.zeros((9, 3), np.float32)
    vectors[6, 1] = bad
    with pytest.raises(NumericError, match="row 6"):
        project_2d(vectors)


def test_neighbours_stay_together():
    """Three tight groups in ten dimensions: a point's nearest neighbour on the map is of its own group."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(3), 40)
    vectors = np.eye(10)[groups] + rng.normal(scale=0.05, size=(120, 10))
    view = map_neighbours(vectors, max_points=90, seed=1)
    assert len(view.points) == len(set(view.rows.tolist())) == 90
    assert (np.diff(view.rows) > 0).all()
    distance = ((view.points[:, None] - view.points[None]) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    assert (groups[view.rows][distance.argmin(1)] == groups[view.rows]).all()
    assert "90 of 120 users" in view.caption


def test_a_handful_of_users_falls_back_to_components():
    view = map_neighbours(np.eye(4))
    assert view.points.shape == (4, 2)
    assert "Principal components" in view.caption
