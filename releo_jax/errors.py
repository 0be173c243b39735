"""The one error that is meant for the person in front of the screen."""

from __future__ import annotations


class ReleoError(ValueError):
    """A problem that its reader can solve: one line that says what is wrong, where, and what to do.

    The command line prints the message without a traceback. Everything else that is raised is a fault of the program.
    """


class UnreadableError(ReleoError):
    """Pixels that a file holds and that cannot be read from it."""
