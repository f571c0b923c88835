"""The dtype policy of a network that was loaded: the current one, whatever that of its file is."""

from typing import Any

import keras

# What may come before the first layer that computes: scaling, whose numbers stay float32.
_SCALING = frozenset({"InputLayer", "Rescaling", "Normalization", "Flip"})


def in_current_policy(model: keras.Model) -> keras.Model:
    """A network with the same weights that computes in the current dtype policy.

    Layers keep the policy of their file, so the network is made again from its configuration. It is
    returned unchanged if all its layers compute so already.
    """
    config = keras.saving.serialize_keras_object(model)
    policy = keras.config.dtype_policy().name
    if not _set_policies(config, policy):
        return model
    again = keras.saving.deserialize_keras_object(config, safe_mode=True)
    again.set_weights(model.get_weights())
    return again


def _set_policies(config: dict[str, Any], policy: str) -> bool:
    """Sets the dtype policies in the configuration of a model; returns whether any was another."""
    changed = False
    scaling = True
    for layer in config["config"]["layers"]:
        scaling = scaling and layer["class_name"] in _SCALING
        changed |= _replace_policy(layer, "float32" if scaling else policy)
    return changed


def _replace_policy(tree: Any, policy: str) -> bool:
    """Replaces the dtype policies in a part of a configuration; returns whether any was another."""
    changed = False
    if isinstance(tree, dict) and isinstance(tree.get("config"), dict):
        name, inner = tree.get("class_name"), tree["config"]
        if name == "DTypePolicy":
            return _set(inner, "name", policy)
        if name == "InputLayer":
            # Pixels that were resized are not whole numbers.
            return _set(inner, "dtype", "float32")
        # Files of Keras before 3.2 have names. An operation's dtype is an argument, not a policy.
        own = str(tree.get("module")).startswith("keras.layers")
        if own and isinstance(inner.get("dtype"), str):
            changed = _set(inner, "dtype", policy)
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for part in parts:
        changed |= _replace_policy(part, policy)
    return changed


def _set(table: dict[str, Any], key: str, value: str) -> bool:
    changed = table[key] != value
    table[key] = value
    return changed
