"""A look-alike of Mercado Pago's Pix payments, strict where Mercado Pago is strict.

It is a process of its own (``python -m comanda_sandbox``) and never part of what runs in the pods. Tests
start it inside themselves with :func:`comanda_sandbox.running.running_sandbox`.
"""
