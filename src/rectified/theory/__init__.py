"""The variance of the adaptive learning rate, computed: mathematics only, in the paper's symbols."""

from .psi import variance, variance_first_order
from .rectify import limiting_variance, rectification
from .sma import rho, rho_inf

__all__ = ["limiting_variance", "rectification", "rho", "rho_inf", "variance", "variance_first_order"]
