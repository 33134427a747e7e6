"""The reference of the HTTP interface, from the description that a server gives of itself."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import landbridge as lb
from landbridge.data.synthetic import checkerboard
from landbridge.serving.http.app import create_app

HEAD = """# HTTP

The routes of `landbridge serve`, made from the description that every server gives at `/openapi.json`.
How they behave together: [serving](../serving.md).
"""
Schema = dict[str, Any]


def http_page() -> str:
    """The page as Markdown."""
    described = _described()
    schemas = described["components"]["schemas"]
    sections = [
        _section(f"{method.upper()} {path}", operation, schemas)
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    ]
    used = [_schema(name, schema) for name, schema in schemas.items() if "properties" in schema]
    return "\n".join([HEAD, *sections, "## Objects\n", *used])


def _described() -> Schema:
    with TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        lb.save(lb.Popularity().fit(checkerboard().data), run)
        return create_app(run).openapi()


def _section(title: str, operation: Schema, schemas: Schema) -> str:
    parts = [f"## {title}", operation.get("description", operation["summary"])]
    if parameters := operation.get("parameters"):
        rows = [
            _row(each["name"], each["schema"], each["description"], each.get("required", False))
            for each in parameters
        ]
        parts.append(_table("parameter", rows))
    if body := _json_of(operation.get("requestBody", {})):
        parts.append(f"Body: {_type(body)}")
        for example in schemas[_name(body)].get("examples", ())[:1] if "$ref" in body else ():
            parts.append(f"```json\n{json.dumps(example, indent=2)}\n```")
    answer = _json_of(operation["responses"]["200"])
    parts.append(f"Answer: {_type(answer)}" if answer else "Answer: text")
    statuses = [f"{status}: {each['description']}" for status, each in operation["responses"].items()]
    parts.append("\n".join(f"- {line}" for line in statuses))
    return "\n\n".join(parts) + "\n"


def _schema(name: str, schema: Schema) -> str:
    required = schema.get("required", ())
    rows = [
        _row(key, field, field.get("description", ""), key in required)
        for key, field in schema["properties"].items()
    ]
    return f"### {name}\n\n{schema.get('description', '')}\n\n{_table('field', rows)}\n"


def _json_of(content: Schema) -> Schema:
    return content.get("content", {}).get("application/json", {}).get("schema", {})


def _table(first: str, rows: list[str]) -> str:
    return "\n".join([f"| {first} | type | meaning |", "|---|---|---|", *rows])


def _row(name: str, schema: Schema, meaning: str, required: bool) -> str:
    text = " ".join(meaning.replace("|", "\\|").split())
    return f"| `{name}`{'' if required else ' (optional)'} | {_type(schema)} | {text} |"


def _name(schema: Schema) -> str:
    return str(schema["$ref"].rpartition("/")[2])


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        return f"[{_name(schema)}](#{_name(schema).lower()})"
    if choices := schema.get("anyOf"):
        return " or ".join(_type(each) for each in choices if each.get("type") != "null")
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if values := schema.get("additionalProperties"):
        return f"object of {_type(values)}" if isinstance(values, dict) else "object"
    return str(schema.get("type", "any"))
