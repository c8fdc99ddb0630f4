"""Comanda on the cluster: the shipped manifests, as they stand in the tree."""
