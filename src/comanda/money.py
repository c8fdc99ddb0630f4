"""Money is a whole number of centavos, everywhere. A `Cents` is never a float and never a Decimal."""

from typing import TypeAlias

Cents: TypeAlias = int

CURRENCY = "BRL"


def format_reais(cents: Cents) -> str:
    """Write centavos as a Brazilian reads them: `2590` is `R$ 25,90`, `123456789` is `R$ 1.234.567,89`."""
    whole, rest = divmod(abs(cents), 100)
    sign = "-" if cents < 0 else ""
    return f"{sign}R$ {whole:,}".replace(",", ".") + f",{rest:02d}"
