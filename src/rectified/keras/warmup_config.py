"""Warmups in the configurations that Keras saves."""

from typing import Any

import keras

from ..warmup.plain import from_plain, to_plain


def warmup_config(given: Any) -> Any:
    """A warmup as plain values, or as Keras serializes an object of a user's class.

    Raises:
        TypeError: the class is a user's, and Keras cannot serialize it.
    """
    if given is None or (plain := to_plain(given)) is not None:
        return None if given is None else plain
    if not (hasattr(given, "get_config") and hasattr(given, "from_config")):
        raise TypeError(
            f"warmup is {given!r}, which Keras cannot save: give its class a get_config() that returns its arguments "
            "and a from_config(config) that makes one from them, and register it with "
            "@keras.saving.register_keras_serializable()"
        )
    return keras.saving.serialize_keras_object(given)


def warmup_from_config(saved: Any) -> Any:
    """The warmup that :func:`warmup_config` saved; anything else is returned unchanged.

    Raises:
        ValueError: the name or the fields are not those of a warmup.
    """
    if isinstance(saved, dict):
        return keras.saving.deserialize_keras_object(saved) if "class_name" in saved else from_plain(saved)
    return saved
