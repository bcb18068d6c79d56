"""The JSON schema of a topology file, made from the models: editors use it for completion and for checks while typing.

In VS Code, or any editor with the YAML language server, the first line of the file names it:

    # yaml-language-server: $schema=layerlab.schema.json
"""

from __future__ import annotations

from typing import Any

from lab.model.topology import Topology


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a topology, short forms included."""
    schema = Topology.model_json_schema(mode="validation")
    schema["required"] = [name for name in schema["required"] if name != "name"]  # the file's name is the default
    _close(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Layerlab topology",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _close(schema: Any) -> None:
    """Names that do not match the pattern of an object's names are not allowed; pydantic leaves them open."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            schema["additionalProperties"] = False
        for value in schema.values():
            _close(value)
    elif isinstance(schema, list):
        for value in schema:
            _close(value)
