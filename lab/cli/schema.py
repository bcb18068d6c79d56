"""`lab schema`: the JSON schema of topology files."""

from __future__ import annotations

from lab.cli.output import print_json
from lab.model.schema import json_schema


def main() -> None:
    """Print the JSON schema of topology files, with which editors complete and check them.

    For the YAML language server: `# yaml-language-server: $schema=topology.schema.json` as a file's first line."""
    print_json(json_schema())
