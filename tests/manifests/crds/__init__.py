"""The kinds that Kubernetes has from others, as their publishers describe them: schemas, and how they were fetched."""
