"""What a container engine is asked for a node: the keys that only the docker driver takes.

    nodes:
      db:
        stack: kernel
        image: postgres:17
        environment: {POSTGRES_PASSWORD: lab}
        mounts: [./init.sql:/docker-entrypoint-initdb.d/init.sql:ro]
        healthcheck: pg_isready -U postgres
        memory: 512MiB
        pids: 200

Short forms follow Compose files: a command is a list of words, or a text that a shell would split into them; a mount is
SOURCE:TARGET, with `:ro` behind it where nothing may be written. Of a health check, a text is for the container's
shell.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo, field_validator

from lab.model.errors import shown
from lab.model.names import wrong
from lab.model.quantities import Strict, quantity
from lab.model.yaml_source import Document
from nodes.contract import ContainerConfig, HealthcheckConfig, MountConfig
from nodes.quantities import parse_size

LEAST_MEMORY = 6 << 20
"""Octets: what Docker itself demands."""
MOST_PIDS = 1 << 22
"""The most processes that Linux numbers (PID_MAX_LIMIT)."""
_MODES = {"ro": True, "rw": False}


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise wrong(f"{value!r} cannot be split into words: {error}", "write a list of words") from None
    elif isinstance(value, list) and all(isinstance(word, str) for word in value):
        words = value
    else:
        raise wrong(f"{shown(value)} stands here, a command expected", "text, or a list of texts")
    if not words or not words[0]:
        raise wrong("a command has at least one word")
    return tuple(words)


def _probe(value: object) -> tuple[str, ...]:
    """Of a health check: a text is for the shell."""
    return ("/bin/sh", "-c", value) if isinstance(value, str) and value.strip() else _words(value)


def _image(value: str) -> str:
    if not value or value != value.strip() or any(letter.isspace() for letter in value):
        raise wrong(f"{value!r} is not the name of an image", "such as nginx:1.27")
    return value


def _variable(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise wrong(f"{shown(value)} stands here, text expected", "write it in quotes")
    if "\0" in value:
        raise wrong("a variable cannot hold a NUL character")
    return value


def _variable_name(value: str) -> str:
    if not value or "=" in value or "\0" in value:
        raise wrong(f"{value!r} is not the name of a variable")
    return value


def _memory(value: object) -> int:
    size = quantity(value, parse_size, "a size such as 256MiB")
    if size < LEAST_MEMORY:
        raise wrong(f"the memory {value!r} is too small", f"a container has at least {LEAST_MEMORY >> 20}MiB")
    return size


def _mount_form(value: object) -> object:
    if not isinstance(value, str):
        return value
    source, *rest = value.split(":")
    if not source or len(rest) not in (1, 2) or (len(rest) == 2 and rest[1] not in _MODES):
        raise wrong(f"{value!r} is not a mount", "write SOURCE:TARGET, or SOURCE:TARGET:ro")
    return {"source": source, "target": rest[0], **({"read_only": _MODES[rest[1]]} if len(rest) == 2 else {})}


Words = Annotated[tuple[str, ...], PlainValidator(_words, json_schema_input_type=str | list[str])]
Probe = Annotated[tuple[str, ...], PlainValidator(_probe, json_schema_input_type=str | list[str])]
Image = Annotated[str, AfterValidator(_image)]
VariableName = Annotated[str, AfterValidator(_variable_name)]
Variable = Annotated[str, PlainValidator(_variable, json_schema_input_type=str | int)]
Memory = Annotated[int, PlainValidator(_memory, json_schema_input_type=str | int)]
Pids = Annotated[int, Field(ge=1, le=MOST_PIDS)]
Times = Annotated[float, Field(gt=0, le=86_400)]


class Mount(Strict):
    """A file or folder of this machine in a container. Short form: `SOURCE:TARGET` or `SOURCE:TARGET:ro`."""

    source: str = Field(description="A path on this machine, relative to the topology file")
    target: str = Field(description="Where it is seen in the container, an absolute path")
    read_only: bool = Field(default=False, description="Whether the container may only read it")

    @field_validator("source")
    @classmethod
    def _place(cls, value: str, info: ValidationInfo) -> str:
        """Absolute: the driver does not know where the file is."""
        if not value.startswith((".", "/")):
            hint = f"a path: ./{value}. Volumes of Docker would stay when the lab is gone"
            raise wrong(f"{value!r} is not the path of a file or folder", hint)
        document: Any = info.context
        folder = Path(document.file).parent if isinstance(document, Document) and document.file else Path()
        return os.path.normpath(Path.cwd() / folder / value)

    @field_validator("target")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not value.startswith("/") or os.path.normpath(value) == "/":
            raise wrong(f"{value!r} is no place in a container", "an absolute path, such as /data")
        return value


class Healthcheck(Strict):
    """A command that tells whether a node's program is ready. Short form: the command."""

    command: Probe = Field(description="A text for the container's shell, or a list of words; 0 says healthy")
    interval: Times = Field(default=1.0, description="Seconds between two checks")
    timeout: Times = Field(default=5.0, description="Seconds that one may take")
    retries: int = Field(default=30, ge=1, le=10_000, description="Failures in a row that make it unhealthy")
    start_period: float = Field(default=0.0, ge=0, le=86_400, description="Seconds in which failures do not count")


def _healthcheck_form(value: object) -> object:
    return {"command": value} if isinstance(value, str | list) else value


MountForm = Annotated[Mount, BeforeValidator(_mount_form, json_schema_input_type=Mount | str)]
HealthcheckForm = Annotated[
    Healthcheck | None,
    BeforeValidator(_healthcheck_form, json_schema_input_type=Healthcheck | str | list[str] | None),
]
Environment: TypeAlias = dict[VariableName, Variable]


class ContainerDefaults(Strict):
    """What `defaults` may say for all containers."""

    image: Image | None = Field(default=None, description="Docker: the image of Layerlab's nodes, else `layerlab`")
    memory: Memory | None = Field(default=None, description="Docker: the most memory of a node's container")
    pids: Pids | None = Field(default=None, description="Docker: the most processes of a node's container")


class ContainerNode(ContainerDefaults):
    """What hosts and routers may say for their own."""

    image: Image | None = Field(default=None, description="Docker: the image of the node, any with `stack: kernel`")
    command: Words | None = Field(default=None, description="Docker: what runs in it, in place of the image's command")
    environment: Environment = Field(default_factory=dict, description="Docker: environment variables")
    mounts: list[MountForm] = Field(default_factory=list, description="Docker: files and folders of this machine")
    healthcheck: HealthcheckForm = Field(default=None, description="Docker: how the program tells that it is ready")


KEYS = tuple(ContainerNode.model_fields)
"""Of a node, what only the docker driver takes."""


def container_of(node: ContainerNode | None, defaults: ContainerDefaults) -> ContainerConfig | None:
    """What is said for a container, None where nothing is."""
    own = node or ContainerNode()
    check = own.healthcheck
    found = ContainerConfig(
        image=own.image or "",
        node_image=defaults.image or "",
        command=own.command or (),
        environment=own.environment,
        mounts=tuple(MountConfig(mount.source, mount.target, mount.read_only) for mount in own.mounts),
        healthcheck=None if check is None else HealthcheckConfig(**dict(check)),
        memory=own.memory or defaults.memory or 0,
        pids=own.pids or defaults.pids or 0,
    )
    return None if found == ContainerConfig() else found
