"""What ends a command with one line instead of a traceback."""


class DeployError(Exception):
    """The command cannot go on. The text is one line for the operator: what failed, and the mend."""


class NotFromHereError(DeployError):
    """This machine lacks what it takes: it says nothing of what was to be looked at."""


class PassingError(DeployError):
    """It may be over in seconds, as what answers is only just starting."""
