"""`python -m comanda_dashboards` writes the manifests of the dashboards; `--check` only says which would change."""

import sys

from comanda_dashboards.manifests import FOLDER, manifests


def main() -> int:
    """Write them, and answer the exit code."""
    checking = sys.argv[1:] == ["--check"]
    wanted = manifests()
    there = sorted(FOLDER.glob("1-grafana-dashboard-*.yaml"))
    others = [file for file in there if file not in wanted]
    differing = [file for file, text in wanted.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    for file in [] if checking else differing:
        file.write_text(wanted[file], encoding="utf-8")
    for file in [] if checking else others:
        file.unlink()
    for file in [*differing, *others]:
        print(f"{'would change' if checking else 'changed'}: {file.name}")
    return 1 if checking and (differing or others) else 0


if __name__ == "__main__":
    raise SystemExit(main())
