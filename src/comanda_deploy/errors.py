"""What ends a command with one line instead of a traceback."""


class DeployError(Exception):
    """The command cannot go on. The text is one line for the operator: what failed, and the mend."""
