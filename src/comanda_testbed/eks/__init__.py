"""EKS as it behaves, which neither emulator does: things take time, are refused, fail, and depend on one another.

Every answer is held to botocore's model of EKS by `shapes`. Rules are those of the EKS API reference and user guide.
"""

import copy

from comanda_testbed.eks.addons import Addons
from comanda_testbed.eks.clusters import Clusters
from comanda_testbed.eks.node_groups import NodeGroups
from comanda_testbed.eks.state import ACCOUNT, Json, snake
from comanda_testbed.shapes import Refusal

__all__ = ["ACCOUNT", "Eks"]


class Eks(Clusters, NodeGroups, Addons):
    """The emulated service."""

    def call(self, operation: str, parameters: Json) -> Json:
        """Carry out one operation of EKS.

        Raises:
            Refusal: as EKS would.
        """
        handler = getattr(self, snake(operation), None)
        if handler is None:
            raise Refusal("InvalidRequestException", f"the test bed has no {operation}")
        with self._lock:
            result: Json = copy.deepcopy(handler(**{snake(name): value for name, value in parameters.items()}))
            return result

    def tag_resource(self, resource_arn: str, tags: dict[str, str]) -> Json:
        self._tagged(resource_arn)["tags"].update(tags)
        return {}

    def untag_resource(self, resource_arn: str, tag_keys: list[str]) -> Json:
        for key in tag_keys:
            self._tagged(resource_arn)["tags"].pop(key, None)
        return {}

    def list_tags_for_resource(self, resource_arn: str) -> Json:
        return {"tags": self._tagged(resource_arn)["tags"]}
