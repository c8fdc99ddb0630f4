"""The QR code's picture."""

import base64
import io

import segno


def png_base64(text: str) -> str:
    """Draw ``text`` as a QR code: a PNG in base64, without a ``data:`` prefix, as Mercado Pago sends it."""
    # A fixed mask: weighing all eight takes three times as long, and readers take any of them.
    code = segno.make(text, error="m", micro=False, boost_error=False, mask=3)
    file = io.BytesIO()
    code.save(file, kind="png", scale=6, border=4)
    return base64.b64encode(file.getvalue()).decode("ascii")
