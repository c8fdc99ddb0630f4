"""Which access tokens are taken, and what webhooks are signed with: both can be renewed, as in Mercado Pago's panel.

A renewed one outlives a restart of the sandbox, as the payments do: it is kept in the ledger, unless the sandbox is
started with another token or secret than it was renewed from.
"""

import hmac
import json
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from comanda_sandbox.clock import Clock
from comanda_sandbox.ledger import Ledger

_TOKENS, _SECRET = "tokens", "webhook_secret"


class WrongCredentialError(ValueError):
    """It cannot be renewed so; the message says why, without the credential."""


class Credentials:
    """The seller's.

    Args:
        token: the access token that the sandbox was started with. webhook_secret: likewise.
    """

    def __init__(self, ledger: Ledger, clock: Clock, *, token: str, webhook_secret: str) -> None:
        self._ledger = ledger
        self._clock = clock
        self._first = {_TOKENS: token, _SECRET: webhook_secret}
        tokens: Mapping[str, str | None] = self._kept(_TOKENS) or {token: None}
        self._ends = {each: None if ends is None else datetime.fromisoformat(ends) for each, ends in tokens.items()}
        self._secret: str = self._kept(_SECRET) or webhook_secret

    @property
    def token(self) -> str:
        """The newest access token."""
        return list(self._ends)[-1]

    @property
    def webhook_secret(self) -> str:
        """What webhooks are signed with."""
        return self._secret

    def takes(self, given: bytes) -> bool:
        """Whether an access token is valid now; each is compared, so that the time says nothing."""
        now = self._clock.now()
        valid = [each.encode() for each, ends in self._ends.items() if ends is None or ends > now]
        return sum(hmac.compare_digest(given, each) for each in valid) > 0

    def renew_token(self, token: str | None = None, *, old_valid_seconds: float | None = None) -> str:
        """Make a new access token, and answer it.

        Args:
            token: which; one at random if not given. old_valid_seconds: how long the others are still taken; None:
                until `end_old_tokens`.

        Raises:
            WrongCredentialError: it is known already, or of the other mode.
        """
        mode = self.token.partition("-")[0]
        token = f"{mode}-{secrets.token_hex(16)}" if token is None else token
        if token in self._ends:
            raise WrongCredentialError("this token is known already")
        if token.startswith("TEST-") != self.token.startswith("TEST-"):
            raise WrongCredentialError("test and live tokens are not renewed by each other")
        if old_valid_seconds is not None:
            self._end(self._clock.now() + timedelta(seconds=old_valid_seconds))
        self._ends[token] = None
        self._keep(_TOKENS, {each: None if ends is None else ends.isoformat() for each, ends in self._ends.items()})
        return token

    def end_old_tokens(self) -> int:
        """Refuse every token but the newest from now on; answer how many that ended."""
        newest, now = self.token, self._clock.now()
        ended = [each for each, ends in self._ends.items() if each != newest and (ends is None or ends > now)]
        self._ends = {newest: None}
        self._keep(_TOKENS, dict(self._ends))
        return len(ended)

    def renew_webhook_secret(self, secret: str | None = None) -> str:
        """Sign with another secret from now on, and answer it; how long the old one is taken is the receiver's."""
        self._secret = secrets.token_hex(32) if secret is None else secret
        self._keep(_SECRET, self._secret)
        return self._secret

    def _end(self, moment: datetime) -> None:
        self._ends = {each: moment if ends is None else min(ends, moment) for each, ends in self._ends.items()}

    def _kept(self, name: str) -> Any:
        text = self._ledger.setting(name)
        kept = json.loads(text) if text else {}
        return kept.get("now") if kept.get("first") == self._first[name] else None

    def _keep(self, name: str, now: object) -> None:
        self._ledger.save_setting(name, json.dumps({"first": self._first[name], "now": now}))
