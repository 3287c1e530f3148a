"""The exceptions a user can cause.

Messages have four parts: what was expected, what came, the likely cause, the next step.
"""


class WireworkError(ValueError):
    """Base of every error that a user can cause."""


class DiagramError(WireworkError):
    """Legs, dimensions or names that do not fit."""


class ValueMissingError(WireworkError):
    """A diagram cannot be computed with the arrays that were given."""


class MemoryLimitError(WireworkError):
    """No order of contraction keeps within the memory that was allowed."""


class FileError(WireworkError):
    """A file that cannot be read, written or understood."""


class MissingExtraError(WireworkError):
    """A feature whose optional packages are not installed."""
