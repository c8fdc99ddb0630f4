"""Between JSON numbers in reais, as Mercado Pago has them, and whole centavos. Never through a float."""

from decimal import Decimal

MOST_CENTS = 100_000_000_00


def to_cents(value: object) -> int | None:
    """Centavos of a JSON number in reais that was decoded as int or Decimal.

    Returns:
        None for what is no number, has more than two decimals, is not above zero or is beyond all reason.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    if not 0 < value <= MOST_CENTS // 100:
        return None
    exact = Decimal(value).quantize(Decimal("0.01"))
    return int(exact.scaleb(2)) if exact == value else None


def to_reais(cents: int) -> Decimal:
    """Reais with exactly two decimals."""
    return Decimal(cents).scaleb(-2).quantize(Decimal("0.01"))
