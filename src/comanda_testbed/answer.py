"""What goes back to a caller of the emulated account."""

from dataclasses import dataclass


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes
    headers: dict[str, str]
