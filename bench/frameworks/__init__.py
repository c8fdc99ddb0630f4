"""Evidence for docs/decisions/0001: the same three routes on four frameworks and two servers.

Every candidate does the same durable work (comanda's own stories) behind the same gate (id, limits, metrics, log):
what differs is routing, parameters, validation and the way to the socket.
"""
