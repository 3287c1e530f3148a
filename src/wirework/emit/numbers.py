"""Lengths as they are written."""


def number(length: float) -> str:
    """A length to a hundredth of a point, which is finer than any printer.

    >>> number(12.0), number(-0.001), number(1.255)
    ('12', '0', '1.25')
    """
    # A zero is added since rounding can leave -0.0.
    return f"{round(length, 2) + 0.0:.2f}".rstrip("0").rstrip(".")
