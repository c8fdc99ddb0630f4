"""Step 8: External Secrets: what stands in Secrets Manager reaches the pods."""

from comanda_deploy import helm_release
from comanda_deploy.context import Context
from comanda_deploy.helm_release import Release, ReleaseFacts
from comanda_deploy.names import EXTERNAL_SECRETS_ROLE
from comanda_deploy.pod_identity import Identity
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Step

RELEASE = Release(
    "external-secrets",
    "external-secrets",
    "https://charts.external-secrets.io",
    "2.9.0",
    "external-secrets",
    Identity("external-secrets", "external-secrets", EXTERNAL_SECRETS_ROLE),
)


class ExternalSecrets(Step[ReleaseFacts]):
    """The operator, which may read `comanda/*` and nothing else."""

    name = "external-secrets"
    about = "what stands in Secrets Manager reaches the pods"

    def observe(self, context: Context) -> ReleaseFacts:
        """Read the release."""
        return helm_release.observe(context, RELEASE, {})

    def decide(self, settings: Settings, facts: ReleaseFacts) -> list[Change]:  # noqa: ARG002 - none applies
        """Install or mend it."""
        return list(helm_release.decide(RELEASE, facts))

    def decide_removal(self, settings: Settings, facts: ReleaseFacts) -> list[Change]:  # noqa: ARG002 - none is kept
        """Uninstall it."""
        return list(helm_release.decide_removal(RELEASE, facts))
