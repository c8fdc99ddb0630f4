"""BR Codes and their pictures."""

import base64
import io

import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from comanda_sandbox import br_code
from comanda_sandbox.running import RunningSandbox
from tests.sandbox.caller import Caller

STATIC = (
    "00020126580014br.gov.bcb.pix0136b76aa9c2-2ec4-4110-954e-ebfe34f05b61520400005303986540525.90"
    "5802BR5913LOJA SIMULADA6009SAO PAULO62250521mpqrinter1234567890126304E21D"
)
DYNAMIC = (
    "00020101021226820014br.gov.bcb.pix2560sim.example.com/pix/v2/cobv/8b3da2f39a4140d1a91abd93113bd441"
    "520400005303986540525.905802BR5913LOJA SIMULADA6009SAO PAULO62070503***6304A10F"
)


def read_picture(png_base64: str) -> str:
    """What a reader sees in the picture."""
    image = Image.open(io.BytesIO(base64.b64decode(png_base64, validate=True)))
    assert image.format == "PNG"
    found = zxingcpp.read_barcodes(image.convert("L"))
    assert len(found) == 1
    return str(found[0].text)


def resealed(body: str) -> str:
    """A body with a right CRC."""
    return body + "6304" + br_code.crc16(body + "6304")


def test_the_checksum_has_its_published_check_value() -> None:
    assert br_code.crc16("123456789") == "29B1"


def test_the_static_vector_is_built_to_the_letter() -> None:
    built = br_code.build(
        key="b76aa9c2-2ec4-4110-954e-ebfe34f05b61",
        name="LOJA SIMULADA",
        city="SAO PAULO",
        amount_cents=2590,
        txid="mpqrinter123456789012",
    )
    assert built == STATIC


PRINTED = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1)


@given(
    amount=st.integers(1, br_code.MAX_AMOUNT_CENTS),
    txid=st.from_regex(r"[A-Za-z0-9]{1,25}", fullmatch=True),
    name=PRINTED.map(lambda text: text[:25]),
    city=PRINTED.map(lambda text: text[:15]),
)
@settings(deadline=None)
def test_whatever_is_built_is_read_again(amount: int, txid: str, name: str, city: str) -> None:
    values = br_code.parse(br_code.build(key="a@b.com.br", name=name, city=city, amount_cents=amount, txid=txid))
    assert (br_code.amount_cents(values), values["62.05"]) == (amount, txid)
    assert (values["59"], values["60"]) == (name, city)


@given(text=st.text(max_size=120) | PRINTED.map(resealed))
@settings(deadline=None)
def test_no_text_but_a_br_code_is_read_and_none_breaks_the_reader(text: str) -> None:
    try:
        values = br_code.parse(text)
    except br_code.InvalidBrCodeError:
        return
    assert values["26.00"] == br_code.PIX_DOMAIN


@pytest.mark.parametrize(("text", "txid"), [(STATIC, "mpqrinter123456789012"), (DYNAMIC, "***")])
def test_both_vectors_are_read(text: str, txid: str) -> None:
    values = br_code.parse(text)
    assert br_code.amount_cents(values) == 2590
    assert values["62.05"] == txid


@pytest.mark.parametrize("text", [STATIC, DYNAMIC])
def test_no_single_changed_character_passes(text: str) -> None:
    for at, character in enumerate(text):
        other = "7" if character != "7" else "8"
        with pytest.raises(br_code.InvalidBrCodeError):
            br_code.parse(text[:at] + other + text[at + 1 :])


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (STATIC[:-8].replace("5303986", "5303840"), "53"),
        (STATIC[:-8].replace("5802BR", "5802AR"), "58"),
        (STATIC[:-8].replace("540525.90", "540525,90"), "54"),
        (STATIC[:-8].replace("540525.90", "540425.9"), "54"),
        (STATIC[:-8].replace("6009SAO PAULO", "6016SAO PAULO CAPITA"), "60"),
        (STATIC[:-8].replace("5913LOJA SIMULADA", ""), "59"),
        (STATIC[:-8].replace("62250521mpqrinter123456789012", ""), "62"),
        (STATIC[:-8].replace("br.gov.bcb.pix", "br.gov.bcb.pox"), "26"),
        (STATIC[:-8].replace("5802BR5913LOJA SIMULADA", "5913LOJA SIMULADA5802BR"), "58"),
        (STATIC[:-8].replace("000201", "00020101021" + "3"), "01"),
        (STATIC[:-8].replace("52040000", "5202000"), "after"),
        ("", "missing"),
        ("00", "length"),
    ],
)
def test_broken_codes_are_refused_even_with_a_right_checksum(body: str, why: str) -> None:
    with pytest.raises(br_code.InvalidBrCodeError, match=why):
        br_code.parse(resealed(body))


def test_text_beyond_ascii_is_refused() -> None:
    with pytest.raises(br_code.InvalidBrCodeError, match="ASCII"):
        br_code.parse(STATIC.replace("SAO", "SÃO"))


@pytest.mark.parametrize(
    "changes",
    [
        {"amount_cents": 0},
        {"amount_cents": br_code.MAX_AMOUNT_CENTS + 1},
        {"txid": "with-hyphen"},
        {"txid": "x" * 26},
        {"name": "N" * 26},
        {"city": "São Paulo"},
        {"city": ""},
    ],
)
def test_what_does_not_fit_is_not_built(changes: dict[str, object]) -> None:
    good: dict[str, object] = {"key": "k", "name": "N", "city": "C", "amount_cents": 1, "txid": "t"}
    with pytest.raises(br_code.InvalidBrCodeError):
        br_code.build(**(good | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("cents", [1, 100, 2590, 123456, 9999999])
async def test_a_payments_code_and_picture_say_its_amount(sandbox: RunningSandbox, caller: Caller, cents: int) -> None:
    answer = await caller.create(transaction_amount=cents / 100)
    data = answer.json["point_of_interaction"]["transaction_data"]
    values = br_code.parse(data["qr_code"])
    assert br_code.amount_cents(values) == cents
    assert values["62.05"] == f"mpqrinter{answer.json['id']}"
    assert "01" not in values
    assert read_picture(data["qr_code_base64"]) == data["qr_code"]
    assert data["ticket_url"] == f"{sandbox.url}/?payment={answer.json['id']}"
