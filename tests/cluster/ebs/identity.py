"""Who answers: the identity service, and how kubelet hears of a driver at its node."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.ebs.names import DRIVER, VERSION
from tests.cluster.ebs.protocol import csi, registration

log = logging.getLogger(__name__)


class Identity:
    """The service.

    Args:
        is_ready: the sidecars wait for it.
    """

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        self._is_ready = is_ready

    def get_plugin_info(self, request: Any) -> Any:
        """Answer the driver's name, by which StorageClasses call it."""
        return csi.GetPluginInfoResponse(name=DRIVER, vendor_version=VERSION)

    def get_plugin_capabilities(self, request: Any) -> Any:
        """Answer that there is a controller, that a volume is not everywhere, and that it grows while it is used."""
        one = csi.PluginCapability
        return csi.GetPluginCapabilitiesResponse(
            capabilities=[
                one(service=one.Service(type=one.Service.CONTROLLER_SERVICE)),
                one(service=one.Service(type=one.Service.VOLUME_ACCESSIBILITY_CONSTRAINTS)),
                one(volume_expansion=one.VolumeExpansion(type=one.VolumeExpansion.ONLINE)),
            ]
        )

    def probe(self, request: Any) -> Any:
        """Answer whether it is ready."""
        answer = csi.ProbeResponse()
        answer.ready.value = self._is_ready()
        return answer


class Registration:
    """What the node-driver-registrar does elsewhere: kubelet asks on a socket in its folder of plugins.

    Args:
        endpoint: the socket of the node service.
    """

    def __init__(self, endpoint: Path) -> None:
        self._endpoint = endpoint

    def get_info(self, request: Any) -> Any:
        """Answer where the node service is."""
        return registration.PluginInfo(
            type="CSIPlugin", name=DRIVER, endpoint=str(self._endpoint), supported_versions=["1.0.0"]
        )

    def notify_registration_status(self, request: Any) -> Any:
        """Hear whether kubelet takes the driver. If not it asks again by itself."""
        if not request.plugin_registered:
            log.error("kubelet does not register the driver: %s", request.error)
        return registration.RegistrationStatusResponse()
