"""Comanda: self-service ordering for a diner, paid by Pix."""

__version__ = "0.1.0"
