"""A manifest's pod, and what the kubelet makes of its volumes in folders of this machine."""

import os
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.images.running import Json, Mount, Pod
from tests.image.running import Image
from tests.manifests.reading import Document, of_kind


def pod(
    document: Document, image: Image, secrets: Mapping[str, Json], folder: Path, environment: Mapping[str, str | None]
) -> Pod:
    """Make the pod of a stateful set, on empty disks.

    Args:
        secrets: each one's data, by its name. folder: a new one, for its log and its volumes.
        environment: what is to be otherwise than in the manifest; None takes a variable away.
    """
    spec: Json = document.pod["spec"]
    container: Json = spec["containers"][0]
    maps = {
        each.name: each.body.get("data", {}) for each in of_kind("ConfigMap") if each.namespace == document.namespace
    }
    disks = [each["metadata"]["name"] for each in document.body["spec"]["volumeClaimTemplates"]]
    given = {each["name"]: each["value"] for each in container["env"]} | dict(environment)
    return Pod(
        image,
        spec,
        folder,
        _mounts(spec, {name: folder / "disks" / name for name in disks}, maps, secrets, folder / "volumes"),
        {name: value for name, value in given.items() if value is not None},
        container["args"],
    )


def _mounts(
    spec: Json, claims: Mapping[str, Path], config_maps: Mapping[str, Json], secrets: Mapping[str, Json], folder: Path
) -> tuple[Mount, ...]:
    """Make a pod's volumes and answer its first container's mounts."""
    group = spec["securityContext"]["fsGroup"]
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    found = []
    for mount in spec["containers"][0]["volumeMounts"]:
        name, place = mount["name"], mount["mountPath"]
        is_read_only = mount.get("readOnly", False)
        source: Path | None = folder / name
        size = ""
        if name in claims:
            source = _shared(claims[name], group, 0o2775)
        elif "configMap" in volumes[name]:
            source_of = volumes[name]["configMap"]
            _written(
                folder / name, source_of, config_maps[source_of["name"]], group, source_of.get("defaultMode", 0o644)
            )
        elif "secret" in volumes[name]:
            source_of = volumes[name]["secret"]
            mode = source_of.get("defaultMode", 0o644)
            _written(folder / name, source_of, secrets[source_of["secretName"]], group, mode)
        else:
            assert "emptyDir" in volumes[name], f"volume {name} is of a kind that is not known here"
            if volumes[name]["emptyDir"].get("medium") == "Memory":
                source, size = None, volumes[name]["emptyDir"]["sizeLimit"].replace("Mi", "m")
            else:
                _shared(folder / name, group, 0o2777)
        found.append(Mount(source, place, is_read_only, size))
    return tuple(found)


def _shared(folder: Path, group: int, mode: int) -> Path:
    """Make a folder of root's that the pod's group may write to, unless it is there."""
    if not folder.exists():
        folder.mkdir(parents=True)
        os.chown(folder, 0, group)
        folder.chmod(mode)
    return folder


def _written(folder: Path, volume: Json, data: Json, group: int, mode: int) -> None:
    """Write files as the kubelet does: links to links, so that all of them change at once."""
    _shared(folder, group, 0o2775)
    within = _shared(folder / "..2026_01_01", group, 0o2755)
    (folder / "..data").symlink_to(within.name)
    for item in volume.get("items") or [{"key": key, "path": key} for key in data]:
        file = within / item["path"]
        file.write_text(data[item["key"]], encoding="utf-8")
        os.chown(file, 0, group)
        file.chmod(item.get("mode", mode))
        (folder / item["path"]).symlink_to(f"..data/{item['path']}")
