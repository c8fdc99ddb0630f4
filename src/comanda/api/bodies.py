"""Request bodies: JSON, decoded once and strictly into the type that the handler asks for.

The framework would decode in two steps, of which the second takes `"1"` for 1; the OpenAPI document says `integer`.
"""

from functools import lru_cache
from typing import Any

import msgspec
from litestar import Request

from comanda.errors import BadRequest, ComandaError, Invalid


class UnsupportedMediaType(ComandaError):
    """The body says that it is something other than JSON."""

    status = 415
    code = "unsupported_media_type"


class StrictRequest(Request[Any, Any, Any]):
    """A request whose `json` is already what its handler's `data` is declared as."""

    async def json(self) -> Any:
        """Decode the body.

        Raises:
            UnsupportedMediaType: it is declared to be something else; one without a Content-Type is taken for JSON.
            BadRequest: it is not JSON.
            Invalid: it is JSON, but not what this route takes; says where.
        """
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind and kind != "application/json":
            raise UnsupportedMediaType("send the body as application/json")
        field = self.route_handler.parsed_data_field
        assert field is not None, "only handlers with a body read it"
        return decode(await self.body(), field.annotation)


def decode(body: bytes, kind: Any) -> Any:
    """Decode JSON into `kind`. Raises BadRequest or Invalid, as `StrictRequest.json` does."""
    try:
        return _decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        where = path.strip("`.")
        raise Invalid(f"{where}: {reason}" if where else reason) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest("the body is not JSON in UTF-8", code="invalid_json") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply", code="invalid_json") from None


@lru_cache(maxsize=64)
def _decoder(kind: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind)
