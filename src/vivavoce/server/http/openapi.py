"""The endpoints, in one table, and the OpenAPI document that is made of it."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec

from vivavoce.server.http.audio import SpeechRequest, Transcript, TranscriptionRequest, VerboseTranscript
from vivavoce.server.http.chat import ChatCompletion, ChatRequest
from vivavoce.server.http.client_secrets import ClientSecret, ClientSecretRequest
from vivavoce.server.http.models import Model, ModelList
from vivavoce.server.http.sound import MEDIA_TYPES
from vivavoce.server.http.wire import EVENTS, JSON, ErrorBody

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORM: Final = "multipart/form-data"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be asked for."""

    method: str
    path: str
    summary: str
    takes: Mapping[str, Any] = {}
    """Media type and struct."""
    gives: Mapping[str, Any]
    """Media types, each with a struct, some structs of which it is one, `str` or `bytes`."""


ENDPOINTS: Final = (
    Endpoint(method="GET", path="/v1/models", summary="List the models", gives={JSON: ModelList}),
    Endpoint(method="GET", path="/v1/models/{model}", summary="Return one model", gives={JSON: Model}),
    Endpoint(
        method="POST",
        path="/v1/chat/completions",
        summary="Continue a conversation in text",
        takes={JSON: ChatRequest},
        gives={JSON: ChatCompletion, EVENTS: str},
    ),
    Endpoint(
        method="POST",
        path="/v1/audio/transcriptions",
        summary="Transcribe a recording",
        takes={FORM: TranscriptionRequest},
        gives={JSON: (Transcript, VerboseTranscript), "text/plain": str, EVENTS: str},
    ),
    Endpoint(
        method="POST",
        path="/v1/audio/speech",
        summary="Speak a text",
        takes={JSON: SpeechRequest},
        gives={**dict.fromkeys(MEDIA_TYPES.values(), bytes), EVENTS: str},
    ),
    Endpoint(
        method="POST",
        path="/v1/realtime/client_secrets",
        summary="Mint an ephemeral key",
        takes={JSON: ClientSecretRequest},
        gives={JSON: ClientSecret},
    ),
    Endpoint(
        method="POST",
        path="/v1/realtime/sessions",
        summary="Mint an ephemeral key, in the shapes of the beta",
        takes={JSON: dict[str, Any]},
        gives={JSON: dict[str, Any]},
    ),
)


_FILE: Final = {
    "type": "object",
    "properties": {"file": {"type": "string", "contentMediaType": "application/octet-stream"}},
    "required": ["file"],
}


@cache
def document() -> bytes:
    """Return the OpenAPI 3.1 document as JSON."""
    kinds = [kind for endpoint in ENDPOINTS for told in (endpoint.takes, endpoint.gives) for kind in told.values()]
    structs = [struct for kind in [*kinds, ErrorBody] for struct in (kind if isinstance(kind, tuple) else (kind,))]
    schemas, components = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    known = dict(zip(map(repr, structs), schemas, strict=True))

    def content(told: Mapping[str, Any]) -> dict[str, Any]:
        return {media_type: {"schema": _schema(kind, known)} for media_type, kind in told.items()}

    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, content)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "vivavoce", "version": version("vivavoce"), "license": {"name": "Apache-2.0"}},
            "security": [{"bearer": []}, {"header": []}, {"query": []}],
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer"},
                    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                    "query": {"type": "apiKey", "in": "query", "name": "api_key"},
                },
            },
        }
    )


def _operation(endpoint: Endpoint, content: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    _, _, name = endpoint.path.partition("{")
    parameter = {"name": name.rstrip("}"), "in": "path", "required": True, "schema": {"type": "string"}}
    takes = content(endpoint.takes)
    if FORM in takes:
        takes[FORM] = {"schema": {"allOf": [takes[FORM]["schema"], _FILE]}}
    return {
        "summary": endpoint.summary,
        "operationId": "_".join([endpoint.method.lower(), *re.findall(r"\w+", endpoint.path)]),
        "parameters": [parameter] if name else [],
        **({"requestBody": {"required": True, "content": takes}} if takes else {}),
        "responses": {
            "200": {"description": "What was asked for.", "content": content(endpoint.gives)},
            "default": {"description": "Why it cannot be had.", "content": content({JSON: ErrorBody})},
        },
    }


def _schema(kind: Any, known: Mapping[str, Any]) -> Any:
    return {"anyOf": [known[repr(each)] for each in kind]} if isinstance(kind, tuple) else known[repr(kind)]
