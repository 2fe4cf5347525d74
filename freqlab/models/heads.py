"""Distinguish the output of a classifier's head from an embedding."""

from __future__ import annotations

from torch import nn

__all__ = ["counts_classes", "head_of"]

_HEADS = ("fc", "classifier", "head", "heads", "head_dist", "logits", "last_linear")
_EMBEDDINGS_ARE_MULTIPLES_OF = 32  # or powers of two; numbers of classes rarely are


def counts_classes(n_features: int) -> bool:
    """Whether a number is more likely one of classes than of an embedding's features."""
    is_power = n_features & (n_features - 1) == 0
    return not is_power and n_features % _EMBEDDINGS_ARE_MULTIPLES_OF != 0


def head_of(network: object, n_features: int) -> str | None:
    """Name of the layer that makes a module's output, if it is a classifier's head."""
    if not isinstance(network, nn.Module) or not counts_classes(n_features):
        return None
    linear = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Linear)]
    if not linear:
        return None
    name, last = linear[-1]
    named = any(part in _HEADS for part in name.split("."))
    return name if named and last.out_features == n_features else None
