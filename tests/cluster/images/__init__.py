"""The images that Comanda's pods are started from on the tests' cluster, which reaches no image registry.

Ours is built from its own Dockerfile. Those of others are stand-ins under the same name and tag, made of Debian's
packages and of wheels, and as strict as the originals: user, paths, environment, read-only root.
`python -m tests.cluster.images list` says what each lacks.
"""

from tests.cluster.images.archives import archive, push
from tests.cluster.images.recipes import IMAGES, Image

__all__ = ["IMAGES", "Image", "archive", "push"]
