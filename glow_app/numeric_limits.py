"""Bounds of numbers, shared by the command, the API and Python."""

LARGEST_SEED = 2**31 - 1
LARGEST_STRENGTH = 100.0  # far smaller values already make pictures unrecognisable


def check_strength(strength: float) -> float:
    """Return ``strength`` if it is valid.

    Raises:
        ValueError: If it is not a number from -100 to 100.
    """
    if not -LARGEST_STRENGTH <= strength <= LARGEST_STRENGTH:  # neither is NaN
        raise ValueError(
            f"strength is {strength:g}; expected a number from {-LARGEST_STRENGTH:g} to {LARGEST_STRENGTH:g} "
            "(1 adds the attribute)"
        )
    return strength
