"""A real Kubernetes of three nodes for the tests, of processes and network namespaces. Nothing in src knows of it."""
