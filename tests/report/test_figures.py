"""Figures: what they show, what they refuse, equal bytes for equal input."""

import math
import re
import threading
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest

from usermodel.errors import DataError, NumericError
from usermodel.report.figures import embedding_map, further_curves, histogram, learning_curve, metric_bars
from usermodel.report.svg import embed

NAN = math.nan


def words(svg: str) -> list[str]:
    """Texts of a figure that is well-formed XML and safe in a page."""
    embed(svg, alt="x", prefix="f1")
    return [node.text or "" for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def history(losses, metrics, name="ndcg@10"):
    rows = [{"epoch": at, "loss": loss} for at, loss in enumerate(losses, 1)]
    return [
        row if metric is None else {**row, name: metric} for row, metric in zip(rows, metrics, strict=True)
    ]


def drawn():
    rng = np.random.default_rng(3)
    return [
        learning_curve(history([3.0, 2.0, 1.5], [0.1, 0.3, 0.2]), "ndcg@10"),
        metric_bars([("a", 0.2, 0.1, 0.3), ("b", 0.1, None, None)], "ndcg@10", references={"chance": 0.01}),
        embedding_map(rng.normal(size=(50, 2)), rng.integers(0, 3, 50), "map"),
        histogram(rng.lognormal(size=200), "x", log=True),
        further_curves(
            [{"epoch": at, "loss/a": 1.0, "loss/b": 2.0 / at, "uniformity": -3.0} for at in (1, 2)]
        ),
    ]


def test_equal_input_equal_bytes_whatever_the_caller_set():
    first = drawn()
    with mpl.rc_context(
        {"font.size": 30, "svg.hashsalt": None, "axes.facecolor": "red", "svg.fonttype": "path"}
    ):
        mine = dict(mpl.rcParams)
        second = drawn()
        assert dict(mpl.rcParams) == mine
    assert first == second


def test_threads_do_not_disturb_each_other():
    expected, results = drawn(), []
    threads = [threading.Thread(target=lambda: results.append(drawn())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 3


def test_no_global_figure_is_left():
    drawn()
    import sys

    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_each_part_of_the_loss_and_the_vectors_have_a_panel():
    rows = [{"epoch": 1, "loss": 3.0, "loss/softmax": 2.0, "loss/coarse": 5.0, "effective_rank": 40.0}]
    texts = words(further_curves(rows))
    assert {"loss: softmax", "loss: coarse", "effective rank of user vectors"} <= set(texts)
    assert not any("uniformity" in text for text in texts)
    # A single part is the loss itself.
    assert further_curves([{"loss": 3.0, "loss/softmax": 3.0}]) is None
    assert further_curves([{"loss": 3.0, "loss/a": NAN, "loss/b": NAN}]) is None
    assert further_curves([]) is None


def test_learning_curve_marks_the_best_epoch():
    texts = words(learning_curve(history([3, 2, 1, 0.5], [0.1, 0.3, None, 0.3]), "ndcg@10"))
    assert "best 0.3000 after epoch 2" in texts
    assert {"training loss", "validation ndcg@10", "epoch"} <= set(texts)
    texts = words(learning_curve(history([3, 2, 1], [0.5, 0.2, 0.4], "mae"), "mae", higher_is_better=False))
    assert "best 0.2000 after epoch 2" in texts


def test_learning_curve_without_validation_and_with_one_epoch():
    assert "no validation" in words(learning_curve([{"loss": 2.0}, {"loss": 1.0}], "ndcg@10"))
    assert "no validation" in words(learning_curve(history([2.0], [NAN]), "ndcg@10"))
    assert "best 0.1000 after epoch 1" in words(learning_curve(history([2.0], [0.1]), "ndcg@10"))
    assert "best 0.1000 after epoch 1" in words(
        learning_curve(history([2.0, NAN, math.inf], [0.1, NAN, None]), "ndcg@10")
    )
    words(learning_curve(history([1.0] * 100, [0.0] * 100), "ndcg@10"))


@pytest.mark.parametrize("rows", [[], [{"loss": NAN}], [{"epoch": 1}]])
def test_learning_curve_needs_a_loss(rows):
    with pytest.raises(DataError, match="at least one epoch with a finite loss"):
        learning_curve(rows, "ndcg@10")


def test_metric_bars_shows_values_in_order():
    svg = metric_bars([("b", 0.25, 0.2, 0.3), ("a", 0.5, NAN, NAN), ("c", None, None, None)], "mrr")
    texts = words(svg)
    assert [text for text in texts if text in "abc"] == ["b", "a", "c"]
    assert {"0.2500", "0.5000", "no value", "mrr"} <= set(texts)
    assert "dashed: chance 0.01, ceiling 0.9" in words(
        metric_bars([("a", 0.5, None, None)], "m", references={"ceiling": 0.9, "chance": 0.01})
    )


@pytest.mark.parametrize("value", [0.0, -0.5, 12345.678, 1e-9])
def test_metric_bars_of_any_size(value):
    words(metric_bars([("only", value, None, None)], "m"))


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [("a", math.inf, None, None)],
        [("a", 0.5, 0.6, 0.7)],
        [("a", 0.5, 0.1, 0.4)],
        [("a", 0.5, -math.inf, 1.0)],
    ],
)
def test_metric_bars_refuses(rows):
    with pytest.raises(DataError, match="metric_bars"):
        metric_bars(rows, "m")


def test_highlight_colours_one_bar():
    rows = [("a", 0.1, None, None), ("b", 0.2, None, None)]
    fills = [
        len(re.findall(rf"fill: var\(--{name}", metric_bars(rows, "m", highlight=["b"])))
        for name in ("series-1", "rest")
    ]
    assert fills == [1, 1]


def test_map_counts_categories_and_stays_small():
    rng = np.random.default_rng(0)
    labels = np.array([*"abcdefghijklmnopq"] * 1000 + ["z"] * 500 + [None] * 2, dtype=object)
    svg = embedding_map(rng.normal(size=(len(labels), 2)), labels, "title")
    texts = words(svg)
    assert {
        "title",
        "a (1,000)",
        "m (1,000)",
        "5 others (4,500)",
        "unknown (2)",
        "4,000 of 17,502 points drawn",
    } <= set(texts)
    assert svg.count("<use ") == 4000 + 15  # points and legend
    assert len(svg) < 600_000
    assert (
        len(re.findall("<use ", embedding_map(rng.normal(size=(100, 2)), ["x"] * 100, "t", max_points=10)))
        == 11
    )


@pytest.mark.parametrize("labels", [["a"], [None], [float("nan")], [""], ["_hidden"], [3], ["x" * 500]])
def test_map_of_one_point(labels):
    texts = words(embedding_map(np.array([[5.0, 5.0]]), labels, ""))
    assert any(text.endswith("(1)") for text in texts)


def test_long_names_that_begin_alike_stay_two_categories():
    texts = words(embedding_map(np.eye(2), ["x" * 40 + "a", "x" * 40 + "b"], "t"))
    assert sum(text.endswith("… (1)") for text in texts) == 2


@pytest.mark.parametrize(
    ("points", "labels", "error"),
    [
        (np.zeros((0, 2)), [], DataError),
        (np.zeros((3, 3)), [1, 2, 3], DataError),
        (np.zeros((3, 2)), [1, 2], DataError),
        (np.array([[0.0, NAN]]), ["a"], NumericError),
        (np.array([[0.0, math.inf]]), ["a"], NumericError),
    ],
)
def test_map_refuses(points, labels, error):
    with pytest.raises(error, match="embedding_map"):
        embedding_map(points, labels, "t")


def test_histogram_says_what_it_leaves_out():
    texts = words(histogram([1, 2, 3, NAN, math.inf], "length", counted="events"))
    assert {"length", "events", "dashed: median 2; 2 left out"} <= set(texts)
    assert "dashed: median 2; 3 left out" in words(histogram([0, -1, NAN, 1, 2, 3], "length", log=True))


@pytest.mark.parametrize(
    "values", [[7], [0.0], [-3.5, -3.5], [1e-20], [1e300], [1e17, 1e17], [1.0, np.nextafter(1.0, 2)], [-5, 5]]
)
@pytest.mark.parametrize("log", [False, True])
def test_histogram_of_odd_values(values, log):
    if log and max(values) <= 0:
        with pytest.raises(DataError, match="above zero"):
            histogram(values, "x", log=True)
    else:
        words(histogram(values, "x", log=log, log_counts=log))


def test_histogram_bins_hold_every_value():
    from usermodel.report.distribution import _edges

    rng = np.random.default_rng(1)
    for values in (rng.integers(1, 2000, 500).astype(float), rng.lognormal(0, 2, 500), np.full(9, 4.0)):
        for log in (False, True):
            edges = _edges(values, log, 40)
            assert (np.diff(edges) > 0).all()
            assert len(edges) <= 42
            assert np.histogram(values, edges)[0].sum() == len(values)
    assert _edges(np.array([1.0, 2.0, 3.0]), False, 40).tolist() == [0.5, 1.5, 2.5, 3.5]


@pytest.mark.parametrize("values", [[], [NAN, NAN]])
def test_histogram_needs_a_value(values):
    with pytest.raises(DataError, match="at least one finite value"):
        histogram(values, "x")


def test_whole_numbers_get_whole_ticks():
    assert [
        text
        for text in words(learning_curve(history([2.0], [0.1]), "m"))
        if text in {"1", "0.8", "1.0", "1.2"}
    ] == ["1"]
    assert "7" in words(histogram([7], "x"))
