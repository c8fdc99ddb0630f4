"""BR Code, the text behind a Pix QR code ('Pix copia e cola').

Rules: the Central Bank's 'Manual de Padrões para Iniciação do Pix', which profiles EMV QRCPS-MPM. Every field
is a two-digit id, a two-digit length and a value; ids ascend; the CRC comes last and covers all before it.
"""

import re

PIX_DOMAIN = "br.gov.bcb.pix"
MAX_AMOUNT_CENTS = 9_999_999_999_99  # field 54 holds 13 characters, the point among them

_TXID = re.compile(r"[A-Za-z0-9]{1,25}|\*\*\*")
_AMOUNT = re.compile(r"[0-9]{1,10}\.[0-9]{2}")


class InvalidBrCodeError(ValueError):
    """The text is not a well-formed BR Code; the message says where it breaks."""


def crc16(text: str) -> str:
    """CRC-16/CCITT-FALSE of ``text`` as four upper-case hexadecimal digits.

    Args:
        text: ASCII text; for a BR Code all of it up to and with ``6304``.
    """
    crc = 0xFFFF
    for byte in text.encode("ascii"):
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        crc &= 0xFFFF
    return f"{crc:04X}"


def build(*, key: str, name: str, city: str, amount_cents: int, txid: str) -> str:
    """Build a static BR Code in the shape that Mercado Pago gives out: without field 01.

    Args:
        key: the receiver's Pix key.
        name: the receiver's name, ASCII, 25 characters at most.
        city: the receiver's city, ASCII, 15 characters at most.
        amount_cents: the amount in centavos, above zero.
        txid: what the receiver knows the charge by: 1 to 25 letters and digits.

    Raises:
        InvalidBrCodeError: a value does not fit its field.
    """
    if not 0 < amount_cents <= MAX_AMOUNT_CENTS:
        raise InvalidBrCodeError(f"amount of {amount_cents} centavos does not fit field 54")
    if not _TXID.fullmatch(txid):
        raise InvalidBrCodeError(f"txid {txid!r} is not 1 to 25 letters and digits")
    account = _field("00", PIX_DOMAIN, 14) + _field("01", key, 77)
    reais, cents = divmod(amount_cents, 100)
    body = (
        _field("00", "01", 2)
        + _field("26", account, 99)
        + _field("52", "0000", 4)
        + _field("53", "986", 3)
        + _field("54", f"{reais}.{cents:02d}", 13)
        + _field("58", "BR", 2)
        + _field("59", name, 25)
        + _field("60", city, 15)
        + _field("62", _field("05", txid, 25), 99)
        + "6304"
    )
    return body + crc16(body)


def parse(text: str) -> dict[str, str]:
    """Read a BR Code, static or dynamic, and check it.

    Returns:
        The values by id; those inside fields 26 and 62 as ``26.01``, ``62.05`` and so on.

    Raises:
        InvalidBrCodeError: wrong characters, lengths, order or CRC, or a field that Pix asks for is
            missing or wrong.
    """
    if not text.isascii() or not text.isprintable():
        raise InvalidBrCodeError("only printable ASCII is allowed")
    if len(text) < 8 or text[-8:-4] != "6304":
        raise InvalidBrCodeError("it does not end with field 63")
    if crc16(text[:-4]) != text[-4:]:
        raise InvalidBrCodeError(f"the CRC is {crc16(text[:-4])}, not {text[-4:]}")
    values = _fields(text)
    for template in ("26", "62"):
        if template not in values:
            raise InvalidBrCodeError(f"field {template} is missing")
        values |= {f"{template}.{key}": value for key, value in _fields(values[template]).items()}
    _check(values)
    return values


def amount_cents(values: dict[str, str]) -> int:
    """The amount of a parsed BR Code in centavos.

    Raises:
        InvalidBrCodeError: the code leaves the amount to the payer.
    """
    if "54" not in values:
        raise InvalidBrCodeError("it has no amount")
    return int(values["54"].replace(".", ""))


def _field(key: str, value: str, longest: int) -> str:
    if not value or len(value) > longest or not value.isascii() or not value.isprintable():
        raise InvalidBrCodeError(f"field {key} takes 1 to {longest} printable ASCII characters, not {value!r}")
    return f"{key}{len(value):02d}{value}"


def _fields(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    at, last = 0, ""
    while at < len(text):
        key, length = text[at : at + 2], text[at + 2 : at + 4]
        if len(length) != 2 or not (key + length).isdigit():
            raise InvalidBrCodeError(f"no id and length at character {at}")
        if key <= last:
            raise InvalidBrCodeError(f"field {key} comes after field {last}")
        end = at + 4 + int(length)
        if end > len(text) or end == at + 4:
            raise InvalidBrCodeError(f"field {key} says a length of {length}")
        values[key], last, at = text[at + 4 : end], key, end
    return values


def _check(values: dict[str, str]) -> None:
    fixed = {"00": "01", "26.00": PIX_DOMAIN, "53": "986", "58": "BR"}
    for key, value in fixed.items():
        if values.get(key, "").lower() != value.lower():
            raise InvalidBrCodeError(f"field {key} is not {value}")
    for key, longest in {"59": 25, "60": 15}.items():
        if not 1 <= len(values.get(key, "")) <= longest:
            raise InvalidBrCodeError(f"field {key} is missing or longer than {longest}")
    if ("26.01" in values) == ("26.25" in values):
        raise InvalidBrCodeError("field 26 holds either a key (01) or an address (25)")
    if values.get("01", "11") not in {"11", "12"}:
        raise InvalidBrCodeError("field 01 is neither 11 nor 12")
    if "54" in values and not _AMOUNT.fullmatch(values["54"]):
        raise InvalidBrCodeError("field 54 is not an amount with two decimals")
    if not _TXID.fullmatch(values.get("62.05", "")):
        raise InvalidBrCodeError("field 62-05 is not a txid")
    if len(values.get("52", "")) != 4 or not values["52"].isdigit():
        raise InvalidBrCodeError("field 52 is not four digits")
