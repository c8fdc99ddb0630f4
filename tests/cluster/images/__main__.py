"""`python -m tests.cluster.images`: the images of the tests' cluster, listed, built and pushed."""

import argparse
import sys

from tests.cluster.images.archives import archive, place, push
from tests.cluster.images.recipes import IMAGES
from tests.cluster.machine import Failed


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; answer the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.images", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="say which there are, where they are, and what each lacks against the original")
    verbs.add_parser("build", help="build those that are not in the cache: a few minutes")
    to_registry = verbs.add_parser("push", help="push them all, built where need be")
    to_registry.add_argument("--registry", required=True, metavar="HOST:PORT", help="one that speaks plain HTTP")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.verb == "push":
            push(chosen.registry)
        elif chosen.verb == "build":
            for image in IMAGES:
                print(f"{image.name}: {archive(image)}", flush=True)
        else:
            _list()
    except Failed as failure:
        print(f"images: {failure}", file=sys.stderr)
        return 1
    return 0


def _list() -> None:
    for image in IMAGES:
        file = place(image)
        print(f"{image.name}: {file if file.exists() else 'not built'}")
        for lack in image.lacks:
            print(f"  lacks {lack}")


if __name__ == "__main__":
    sys.exit(main())
