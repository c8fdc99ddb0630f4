"""Waits until something is so in the cluster, also across a minute in which the cluster does not answer."""

from collections.abc import Callable

from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError, NotFromHereError

LOOKS_EVERY_SECONDS = 1
UNREACHED_SECONDS = 60
"""How long the cluster may not answer: EKS replaces an API server in less."""


def until(context: Context, so: Callable[[], bool], seconds: int) -> bool:
    """Look until something is so, and answer whether it came to that in time.

    Args:
        so: looks once. seconds: how long it may take.

    Raises:
        DeployError: looking has failed for UNREACHED_SECONDS, or until the time was over.
    """
    deadline = context.clock().timestamp() + seconds
    failing: float | None = None
    while True:
        now = context.clock().timestamp()
        try:
            if so():
                return True
            failing = None
        except NotFromHereError:
            raise
        except DeployError:
            failing = now if failing is None else failing
            if now >= min(deadline, failing + UNREACHED_SECONDS):
                raise
        if now >= deadline:
            return False
        context.sleep(LOOKS_EVERY_SECONDS)
