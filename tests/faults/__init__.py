"""Money is never lost: the real code under faults, in an order that a seed decides."""
