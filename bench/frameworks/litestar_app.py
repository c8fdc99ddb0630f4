"""Litestar: the product as it is."""

from litestar.types import ASGIApp

from comanda.api.services import Services
from comanda.app import build_litestar


async def build(services: Services) -> ASGIApp:
    """Build the application."""
    return build_litestar(services)
