"""/docs: the OpenAPI document as one readable page that loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from webhooks.api.problems import KINDS

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--good:#18794e;
--warn:#ad5700;--bad:#ce2c31;--link:#0b68cb}
@media(prefers-color-scheme:dark){:root{--good:#3dd68c;--warn:#ffa057;--bad:#ff9592;--link:#70b8ff}}
*{box-sizing:border-box}body{font:16px/1.55 system-ui,sans-serif;margin:0;display:grid;
grid-template-columns:17rem minmax(0,1fr)}nav{position:sticky;top:0;height:100vh;overflow:auto;padding:1.2rem;
border-right:1px solid var(--line);font-size:.9rem}nav ul{list-style:none;padding:0;margin:.2rem 0 1rem}
main{padding:1.5rem 2.5rem;max-width:62rem}
a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
h1{margin:.2rem 0}h2{border-bottom:1px solid var(--line);margin-top:2.5rem}h3{margin:2rem 0 .3rem}
code{font:.88em ui-monospace,monospace;background:var(--soft);padding:.1em .3em;border-radius:.25em}
.m{font:600 .8em ui-monospace,monospace;display:inline-block;min-width:4.2em}.GET{color:var(--good)}
.POST,.PUT,.PATCH{color:var(--warn)}.DELETE{color:var(--bad)}
table{border-collapse:collapse;width:100%;margin:.6rem 0}
td,th{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line)}
th{font-size:.8rem;font-weight:600;opacity:.7}details{margin:.3rem 0}summary{cursor:pointer}
@media(max-width:50rem){body{display:block}nav{position:static;height:auto;border:0}main{padding:1rem}}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'"
)

_LINKS = '<a href="/openapi.json">openapi.json</a> · <a href="/asyncapi.json">asyncapi.json</a>'


def docs_page(document: Mapping[str, Any]) -> str:
    """Render an OpenAPI document as HTML."""
    title = escape(document["info"]["title"])
    body = "".join(
        (
            f"<h1>{title}</h1><p>Version {escape(document['info']['version'])} · {_LINKS}</p>",
            _prose(document["info"]["description"]),
            *_operations(document),
            *_schemas(document),
            *_problems(),
        )
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><nav>{''.join(_contents(document))}</nav>"
        f"<main>{body}</main></body></html>"
    )


def _contents(document: Mapping[str, Any]) -> Iterator[str]:
    for tag in document["tags"]:
        yield f"<b>{escape(tag['name'])}</b><ul>"
        for method, path, operation in _each(document, tag["name"]):
            yield (
                f'<li><a href="#{escape(operation["operationId"])}" title="{method} {escape(path)}">'
                f"{escape(operation['summary'])}</a></li>"
            )
        yield "</ul>"
    yield '<b>More</b><ul><li><a href="#schemas">Shapes</a></li><li><a href="#problems">Problems</a></li></ul>'


def _each(document: Mapping[str, Any], tag: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield method.upper(), path, operation


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'])}</h2>{_prose(tag['description'])}"
        for method, path, operation in _each(document, tag["name"]):
            yield f'<h3 id="{escape(operation["operationId"])}">{escape(operation["summary"])}</h3>'
            yield f'<p><span class="m {method}">{method}</span> <code>{escape(path)}</code></p>'
            yield _prose(operation["description"])
            if operation["parameters"]:
                yield from _table(
                    ("Parameter", "Type", ""),
                    (
                        (
                            f"<code>{escape(part['name'])}</code> <small>{escape(part['in'])}</small>",
                            _type(part["schema"]),
                            _prose(part.get("description", "")),
                        )
                        for part in operation["parameters"]
                    ),
                )
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                yield f"<p>Body: {_type(content['schema'])}</p>"
            yield "<details><summary>Answers</summary>"
            yield from _table(
                ("Status", "Body", ""), (_answer(*item) for item in operation["responses"].items())
            )
            yield "</details>"


def _answer(status: str, response: Mapping[str, Any]) -> tuple[str, str, str]:
    content = next(iter(response.get("content", {}).values()), None)
    body = "" if content is None else _type(content["schema"])
    return escape(status), body, _prose(response["description"])


def _schemas(document: Mapping[str, Any]) -> Iterator[str]:
    yield '<h2 id="schemas">Shapes</h2>'
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield f'<h3 id="schema-{escape(name)}">{escape(name)}</h3>{_prose(schema.get("description", ""))}'
        if "properties" in schema:
            required = set(schema.get("required", ()))
            yield from _table(
                ("Field", "Type", ""),
                (
                    (
                        f"<code>{escape(field)}</code>"
                        + ("" if field in required else " <small>optional</small>"),
                        _type(part),
                        _prose(part.get("description", "")),
                    )
                    for field, part in schema["properties"].items()
                ),
            )
        else:
            yield f"<p>{_type(schema)}</p>"


def _problems() -> Iterator[str]:
    yield '<h2 id="problems">Problems</h2>'
    yield from _table(
        ("Code", "Status", "Meaning"),
        (
            (
                f'<code id="problem-{escape(code)}">{escape(code)}</code>',
                str(kind.status),
                f"{escape(kind.title)}. {_inline(kind.meaning)}",
            )
            for code, kind in KINDS.items()
        ),
    )


def _table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield "<table><tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
    yield "</table>"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " | ".join(_type(part) for part in schema[several])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if "allOf" in schema:
        return _type(schema["allOf"][0])
    return escape(schema.get("format") or schema.get("type") or "anything")


def _prose(text: str) -> str:
    blocks = [block for block in text.split("\n\n") if block.strip()]
    return "".join(f"<p>{_inline(' '.join(block.split()))}</p>" for block in blocks)


def _inline(text: str) -> str:
    """Render the little Markdown our descriptions use."""
    safe = escape(text)
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", safe)
