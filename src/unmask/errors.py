"""The exceptions a user can cause.

UnmaskError                 anything below; the command line prints it and exits 1
  SubjectError              a model that cannot be loaded or is of an unknown family
  TaskError                 a task that cannot be read, or that is malformed
  SettingError              an argument out of range
  RunError                  a run on disk that cannot be opened, locked or written
  NotFiniteError            numbers of a model that are NaN or infinite
  MissingExtraError         a feature whose optional packages are not installed

Messages have four parts: what was expected, what came, the likely cause, the next step.
"""


class UnmaskError(Exception):
    """Base of every error that a user can cause."""


class SubjectError(UnmaskError, ValueError):
    """The model or its tokenizer cannot be audited."""


class TaskError(UnmaskError, ValueError):
    """The task cannot be read, or one of its items is malformed."""


class SettingError(UnmaskError, ValueError):
    """An argument is out of its range."""


class RunError(UnmaskError):
    """A run on disk cannot be opened, locked or written."""


class NotFiniteError(RunError):
    """A model returned numbers that are NaN or infinite, which no run can hold."""


class MissingExtraError(UnmaskError, ImportError):
    """A feature needs packages that are not installed."""
