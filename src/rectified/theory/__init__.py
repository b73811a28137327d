"""The variance of the adaptive learning rate as pure functions, in the paper's symbols."""

from .ema import variance_ema
from .psi import mean, truncated_variance, variance, variance_first_order, variance_slope
from .rectification_term import limiting_variance, rectification
from .sma import center_of_mass, rho, rho_inf, sma_length

__all__ = [
    "center_of_mass",
    "limiting_variance",
    "mean",
    "rectification",
    "rho",
    "rho_inf",
    "sma_length",
    "truncated_variance",
    "variance",
    "variance_ema",
    "variance_first_order",
    "variance_slope",
]
