"""`python -m tests.monitoring.schema.fetch`: writes `grafana.json` anew, from what Grafana publishes on npm.

`@grafana/schema` holds no JSON schema, but the TypeScript types that Grafana's own code is compiled with; what turns
them into JSON schema is pinned too. It takes npm (Node 20 or newer) and some 60 MB in a folder that is deleted again.
With `--check` nothing is written, and the exit code says whether it is as published. Another version: change it below.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

Json = dict[str, Any]
FILE = Path(__file__).with_name("grafana.json")
SCHEMA = "@grafana/schema@13.2.3"
GENERATOR = "ts-json-schema-generator@2.4.0"
TYPES = "node_modules/@grafana/schema/dist/types/raw"
DASHBOARD = "dashboard"
PANELS = {
    "timeseries": ("Options", "FieldConfig"),
    "stat": ("Options",),
    "bargauge": ("Options",),
    "table": ("Options", "FieldConfig"),
    "statetimeline": ("Options", "FieldConfig"),
}
"""Of each kind of panel that we use, its folder there, and which of its types stand in a dashboard."""
CONFIG = {
    "compilerOptions": {"target": "es2022", "module": "esnext", "moduleResolution": "bundler", "skipLibCheck": True}
}


def main() -> int:
    """Fetch all of it; answer the exit code."""
    checking = sys.argv[1:] == ["--check"]
    text = json.dumps(schemas(), ensure_ascii=False, sort_keys=True, separators=(",", ":")) + "\n"
    if not checking:
        FILE.write_text(text, encoding="utf-8")
        print("written")
        return 0
    same = FILE.exists() and FILE.read_text(encoding="utf-8") == text
    print("as published" if same else f"not as published: {FILE.name}")
    return 0 if same else 1


def schemas() -> Json:
    """Answer the JSON schema of a dashboard, and of each kind of panel what Grafana leaves open in that."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "package.json").write_text("{}", encoding="utf-8")
        (folder / "tsconfig.json").write_text(json.dumps(CONFIG), encoding="utf-8")
        quiet = ("--no-fund", "--no-audit", "--ignore-scripts", "--silent")
        subprocess.run(["npm", "install", *quiet, SCHEMA, GENERATOR], cwd=folder, check=True)
        found = {
            "of": {"schema": SCHEMA, "by": GENERATOR, "licence": "Apache-2.0"},
            DASHBOARD: _schema(folder, f"{TYPES}/dashboard/x/types.gen.d.ts", "Dashboard"),
        }
        for kind, types in PANELS.items():
            for each in types:
                file = f"{TYPES}/composable/{kind}/panelcfg/x/types.gen.d.ts"
                found[f"{kind}.{each}"] = _schema(folder, file, each)
        return found


def _schema(folder: Path, file: str, name: str) -> Json:
    flags = ("--tsconfig", "tsconfig.json", "--jsDoc", "none", "--no-type-check")
    command = ["node_modules/.bin/ts-json-schema-generator", "--path", file, "--type", name, *flags]
    answer = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    schema: Json = json.loads(answer.stdout)
    return schema


if __name__ == "__main__":
    raise SystemExit(main())
