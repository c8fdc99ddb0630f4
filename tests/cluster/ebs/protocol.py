"""What kubelet, the sidecars and the driver say to each other: CSI's own description, compiled once into the cache.

No code is generated: messages are made from the compiled description when the driver starts.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor import ServiceDescriptor

from tests.cluster import toolchain
from tests.cluster.cache import root

# The descriptions build on these, which must be known first.
_KNOWN = (descriptor_pb2, timestamp_pb2, wrappers_pb2)


@dataclass(frozen=True)
class Description:
    """One description, in a Go module. Its checksum is looked at whatever the module proxy says.

    Args:
        sha256: of the file, not of the module.
    """

    name: str
    module: str
    version: str
    path: str
    sha256: str


DESCRIPTIONS = (
    Description(
        "csi.proto",
        "github.com/container-storage-interface/spec",
        "v1.13.0",
        "csi.proto",
        "8c5604cb76fefff19c01cf88ebd229e4f8c88c419898b07e4914318d25d84af3",
    ),
    Description(
        "pluginregistration.proto",
        "k8s.io/kubelet",
        "v0.36.5",
        "pkg/apis/pluginregistration/v1/api.proto",
        "7a67a0000a1a167c155286834bc9ccb489f8bcdb394e006daba270189c272afa",
    ),
)
"""Both under the Apache License 2.0."""


def compiled() -> Path:
    """Answer the compiled descriptions, after compiling them if need be. They come by one rename, whole or not at all.

    Raises:
        RuntimeError: a description cannot be had, or is another than it was.
    """
    covered = "".join(f"{each.module}@{each.version} {each.sha256}\n" for each in DESCRIPTIONS)
    place = root() / f"csi-{hashlib.sha256(covered.encode()).hexdigest()[:16]}"
    if not place.exists():
        root().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root(), prefix="csi-") as folder:
            for each in DESCRIPTIONS:
                (Path(folder) / each.name).write_bytes(_fetched(each, Path(folder)))
            _compile(Path(folder)).replace(place)
    return place


def _fetched(one: Description, work: Path) -> bytes:
    environment = toolchain.environment(os.environ, work)
    (work / "tmp").mkdir(exist_ok=True)
    command = ["go", "mod", "download", f"{one.module}@{one.version}"]
    answer = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RuntimeError(f"{' '.join(command)}: {answer.stderr.strip()[-300:]}")
    content = (work / "modules" / f"{one.module}@{one.version}" / one.path).read_bytes()
    if hashlib.sha256(content).hexdigest() != one.sha256:
        raise RuntimeError(f"{one.module}@{one.version}: {one.path} is not what it was")
    return content


def _compile(folder: Path) -> Path:
    made = folder / "compiled"
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--descriptor_set_out={made}"]
    answer = subprocess.run(
        [*compiler, *(each.name for each in DESCRIPTIONS)], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise RuntimeError(f"protoc does not compile the descriptions: {answer.stderr.strip()[-300:]}")
    return made


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.Default()
    found = descriptor_pb2.FileDescriptorSet.FromString(compiled().read_bytes())
    for file in found.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


@cache
def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))


@dataclass(frozen=True)
class Messages:
    """The messages of a package, each a class under its own name."""

    package: str

    def __getattr__(self, name: str) -> Any:
        """Answer a message's class."""
        if name.startswith("__"):
            raise AttributeError(name)
        return _message(f"{self.package}.{name}")


csi = Messages("csi.v1")
registration = Messages("pluginregistration")


def service(name: str) -> ServiceDescriptor:
    """Answer what a service is asked, "csi.v1.Node": by its methods, the messages in and out."""
    return _pool().FindServiceByName(name)


def of(descriptor: Any) -> Any:
    """Answer the class of a method's message."""
    return _message(descriptor.full_name)
