"""Labels of coefficients in a label map."""

from __future__ import annotations

__all__ = ["DC", "OUTSIDE"]

DC = -1
"""Label of the coefficient at frequency zero, the mean of the image."""
OUTSIDE = -2
"""Label of coefficients that belong to no band."""
