"""The theory, omega and Adam's step on arrays of any library: what :mod:`rectified.jax` and Keras have in common."""
