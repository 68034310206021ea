"""Optuna's Parzen estimator with a density that takes one matrix product, not one a parameter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.samplers._tpe import _truncnorm
from optuna.samplers._tpe import probability_distributions as kernels
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator

Floats = NDArray[np.float64]
LOG_ROOT_2_PI = math.log(math.sqrt(2 * math.pi))


class ParzenEstimator(_ParzenEstimator):
    """The same kernels and samples; log_pdf is equal but for rounding."""

    def log_pdf(self, samples_dict: dict[str, Floats]) -> Floats:
        """(samples,) log densities of samples, given as (samples,) internal numbers by name."""
        mixture = self._mixture_distribution
        samples = self._transform(samples_dict)
        log_densities = np.tile(np.log(mixture.weights), (len(samples), 1))
        continuous: list[tuple[Floats, Any]] = []
        for values, kernel in zip(samples.T, mixture.distributions, strict=True):
            if isinstance(kernel, kernels._BatchedCategoricalDistributions):
                log_densities += np.log(kernel.weights).T[values.astype(np.int64)]
            elif kernel.step:
                log_densities += _discrete(values, kernel)
            else:
                continuous.append((values, kernel))
        if continuous:
            log_densities += _continuous(continuous)
        most = log_densities.max(axis=1)
        most[np.isneginf(most)] = 0.0
        log_densities -= most[:, None]
        with np.errstate(divide="ignore"):
            total: Floats = np.log(np.exp(log_densities, out=log_densities).sum(axis=1)) + most
        return total


def _continuous(parts: list[tuple[Floats, Any]]) -> Floats:
    """(samples, kernels) log densities of products of truncated normals.

    With z = (x - m) / s the sum of z² over the parameters is a product of (x², x, 1) with
    (1 / s², -2 m / s², m² / s²), in which ranges of one keep the rounding small.
    """
    rows, columns = [], []
    constant: Floats = np.zeros(len(parts[0][1].mu))
    outside = np.zeros(len(parts[0][0]), dtype=bool)
    for values, kernel in parts:
        low, high = kernel.adapted_low, kernel.adapted_high
        span = high - low
        x = ((np.log(values) if kernel.is_log else values) - low) / span - 0.5
        outside |= np.abs(x) > 0.5 + 1e-12
        mean, width = (kernel.mu - low) / span - 0.5, kernel.sigma / span
        precision = 1 / width**2
        rows += [x * x, x]
        columns += [precision, -2 * mean * precision]
        constant += mean * mean * precision / 2 + np.log(kernel.sigma) + LOG_ROOT_2_PI
        constant += _truncnorm._log_gauss_mass((-0.5 - mean) / width, (0.5 - mean) / width)
    found: Floats = np.stack(rows, axis=1) @ np.stack(columns)
    found *= -0.5
    found -= constant
    found[outside] = -np.inf
    return found


def _discrete(values: Floats, kernel: Any) -> Floats:
    """(samples, kernels) log masses of the steps that the values stand for."""
    half = kernel.step / 2
    steps, of_value = np.unique(values, return_inverse=True)
    means, widths, of_kernel = kernels._unique_inverse_2d(kernel.mu, kernel.sigma)
    left, right = (np.log(end) if kernel.is_log else end for end in (steps - half, steps + half))
    mass = kernels._log_gauss_mass_unique(
        (left[:, None] - means) / widths, (right[:, None] - means) / widths
    )
    mass -= _truncnorm._log_gauss_mass(
        (kernel.adapted_low - means) / widths, (kernel.adapted_high - means) / widths
    )
    found: Floats = mass[np.ix_(of_value, of_kernel)]
    return found
