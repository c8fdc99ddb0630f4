"""The board: which numbers are being prepared and which are ready."""

import msgspec

from comanda.database.pool import Connection

READ = """
SELECT pickup_number, status FROM orders
WHERE status IN ('paid', 'preparing', 'ready') AND status <> 'paid'
ORDER BY status_changed_at, id
"""


class Board(msgspec.Struct, frozen=True):
    """Pickup numbers, longest in their status first."""

    preparing: list[int]
    ready: list[int]


async def read_board(connection: Connection) -> Board:
    """Read the board as it now is."""
    board = Board([], [])
    for row in await connection.fetch(READ):
        numbers = board.ready if row["status"] == "ready" else board.preparing
        numbers.append(row["pickup_number"])
    return board
