"""The manifests of infra/deployment: what they say, held against Kubernetes' schemas and against each other."""
