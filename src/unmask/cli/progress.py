"""Progress with the time left, on standard error."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """A progress bar that shows the arm at work and the time left."""

    def __init__(self, console: Console) -> None:
        """Draw on a console; nothing is drawn where it is not a terminal."""
        self._progress = Progress(
            TextColumn("{task.description:<20}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: Any = self._progress.add_task("baseline", total=None)

    def __enter__(self) -> "Bar":
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Remove the bar."""
        self._progress.stop()

    def start(self, total: float) -> None:
        """Set the work ahead."""
        self._progress.update(self._task, total=total)

    def advance(self, work: float, what: str) -> None:
        """Note that some of it is done."""
        self._progress.update(self._task, advance=work, description=what)

    def report(self, what: str, done: int, total: int) -> None:
        """Show one part of a longer work, in place of what was shown before."""
        self._progress.update(self._task, description=what, completed=done, total=total)
