"""Parts of about equal size."""

import numpy as np

from usermodel.metrics.parts import equal_parts


def test_parts_are_equal_and_equal_values_together():
    assert equal_parts(np.array([5.0, 1.0, 3.0, 4.0, 2.0, 6.0]), 3).tolist() == [2, 0, 1, 1, 0, 2]
    assert equal_parts(np.array([1.0, 1.0, 1.0, 2.0]), 4).tolist() == [0, 0, 0, 1]
    assert equal_parts(np.array([7.0]), 10).tolist() == [0]
