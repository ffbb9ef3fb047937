"""The figures of a report, as SVG text, gathered in one place.

A picture says how much it leaves out: points not drawn, values that are not finite, epochs without validation.
"""

from usermodel.report.bars import MetricRow, metric_bars
from usermodel.report.curves import further_curves, learning_curve
from usermodel.report.distribution import histogram
from usermodel.report.scatter import embedding_map
from usermodel.report.spectrum import spectrum

__all__ = [
    "MetricRow",
    "embedding_map",
    "further_curves",
    "histogram",
    "learning_curve",
    "metric_bars",
    "spectrum",
]
