"""What Comanda costs, measured from outside on the real processes: `make bench` (bench/__main__.py)."""
