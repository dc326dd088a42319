"""Round weights so that their sums come out right, rather than each weight for itself.

One output value is a sum of products. Rounding a weight up where its neighbour went down, the more
so where both are multiplied with much the same, cancels most of the error. And what is left of the
error's mean, the bias takes back (integers.py).

Source: the layer-wise objective of Nagel et al., Up or Down? Adaptive Rounding, ICML 2020,
arXiv:2004.10568; minimised here one weight at a time. Measured on the judging crops, with all else
alike: the first class stays on 97 % with it, on 94 % without.
"""

from __future__ import annotations

import numpy as np
from convert_models.calibration import Floats

SWEEPS = 4  # through all weights of a layer; chosen, not measured
# Share of the mean variance that is added to each: few pictures leave many values unseen.
DAMPING = 0.01  # chosen, not measured


def round_weight(weight: Floats, *, covariance: Floats, limit: int) -> Floats:
    """Round to whole numbers from -limit to limit, with the smallest error of the sums.

    weight: (out, n), in steps.
    covariance: of the values that the weights are multiplied with, (1, n, n) or (out, n, n), each
    output's error being e @ covariance @ e, e the errors of its weights.
    """
    count = weight.shape[1]
    variances = np.einsum("gnn->gn", covariance)
    damping = DAMPING * variances.mean(axis=1) + np.finfo(np.float64).tiny
    cost = covariance + damping[:, None, None] * np.eye(count)
    rounded = np.clip(np.round(weight), -limit, limit)
    # (out, n): half of how fast each output's error grows with each of its weights.
    slopes = np.matmul((rounded - weight)[:, None], cost)[:, 0]
    for _ in range(SWEEPS):
        for index in range(count):
            best = rounded[:, index] - np.round(slopes[:, index] / cost[:, index, index])
            best = np.clip(best, -limit, limit)
            slopes += (best - rounded[:, index])[:, None] * cost[:, index]
            rounded[:, index] = best
    return rounded
