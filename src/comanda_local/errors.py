"""What ends `make run` with one line instead of a traceback."""


class LocalError(Exception):
    """`make run` cannot go on. The text is one line for the person at the terminal: what failed, and the
    mend.
    """
