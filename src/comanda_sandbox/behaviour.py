"""Switches for what Mercado Pago leaves unsaid, so that a client can be tried against either answer."""

from dataclasses import dataclass, fields, replace
from typing import Any

_CHOICES = {
    "refund_replay": ("empty", "first_result"),
    "payment_replay": ("first_result", "current_state"),
    "payment_key_reuse": ("first_result", "refuse"),
}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the sandbox behaves where the real one is not known to behave in one way.

    Args:
        refund_replay: a refund's key used again answers 200 with an ``empty`` body or the ``first_result``.
        payment_replay: a payment's key used again shows the ``first_result`` or its ``current_state``.
        payment_key_reuse: the same key with another body gives the ``first_result``, or is refused (409).
        key_memory_seconds: how long after it brought something about a key is known; 0 for ever.
        expiry_webhook: whether a webhook tells that a payment has expired.
        expiry_lag_seconds: how long after ``date_of_expiration`` a payment is still pending and payable.
        refund_refusal_webhook: whether a webhook tells that a refund in process was refused.
        ipn_twin: whether each webhook comes with its legacy IPN twin. A payment with a ``notification_url``
            that does not ask for ``source_news=webhooks`` gets one in any case.
    """

    refund_replay: str = "empty"
    payment_replay: str = "first_result"
    payment_key_reuse: str = "first_result"
    key_memory_seconds: int = 0
    expiry_webhook: bool = True
    expiry_lag_seconds: int = 0
    refund_refusal_webhook: bool = True
    ipn_twin: bool = False

    def changed(self, changes: dict[str, Any]) -> "Behaviour":
        """These switches with some of them changed.

        Raises:
            ValueError: an unknown switch or a value that it does not take; the message names what is known.
        """
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"unknown switch {name!r}; known: {', '.join(known)}")
            if name in _CHOICES and value not in _CHOICES[name]:
                raise ValueError(f"{name} is one of {', '.join(_CHOICES[name])}")
            if type(value) is not type(known[name]) or (type(value) is int and not 0 <= value <= 86400):
                raise ValueError(f"{name} takes a value such as {known[name]!r}")
        return replace(self, **changes)
