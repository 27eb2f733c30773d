"""The endpoints, in one table, and the OpenAPI document that is made of it."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec

from vivavoce.server.http import files
from vivavoce.server.http import vector_stores as stores
from vivavoce.server.http.audio import SpeechRequest, Transcript, TranscriptionRequest, VerboseTranscript
from vivavoce.server.http.chat import ChatCompletion, ChatRequest
from vivavoce.server.http.client_secrets import ClientSecret, ClientSecretRequest
from vivavoce.server.http.lists import ListQuery
from vivavoce.server.http.models import Model, ModelList
from vivavoce.server.http.sound import MEDIA_TYPES
from vivavoce.server.http.wire import EVENTS, JSON, ErrorBody
from vivavoce.server.rtc.calls import SDP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORM: Final = "multipart/form-data"
STORES: Final = "/v1/vector_stores"
STORE: Final = f"{STORES}/{{vector_store_id}}"
STORE_FILE: Final = f"{STORE}/files/{{file_id}}"
BATCH: Final = f"{STORE}/file_batches/{{batch_id}}"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be asked for."""

    method: str
    path: str
    summary: str
    asks: type[msgspec.Struct] | None = None
    """What may stand behind the `?`."""
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
    Endpoint(
        method="POST",
        path="/v1/realtime/calls",
        summary="Call over WebRTC: an offer alone, or a form of `sdp` and `session`",
        takes={SDP: str},
        gives={SDP: str},
    ),
    Endpoint(
        method="POST",
        path="/v1/realtime/calls/{call_id}/hangup",
        summary="End a call",
        gives={},
    ),
    Endpoint(
        method="POST",
        path="/v1/files",
        summary="Upload a file",
        takes={FORM: files.FileUpload},
        gives={JSON: files.FileObject},
    ),
    Endpoint(
        method="GET",
        path="/v1/files",
        summary="List the files",
        asks=files.FilesQuery,
        gives={JSON: files.FileList},
    ),
    Endpoint(method="GET", path="/v1/files/{file_id}", summary="Return a file", gives={JSON: files.FileObject}),
    Endpoint(method="DELETE", path="/v1/files/{file_id}", summary="Delete a file", gives={JSON: files.FileDeleted}),
    Endpoint(
        method="GET",
        path="/v1/files/{file_id}/content",
        summary="Return the bytes of a file",
        gives={files.BYTES: bytes},
    ),
    Endpoint(
        method="POST",
        path=STORES,
        summary="Make a vector store",
        takes={JSON: stores.StoreRequest},
        gives={JSON: stores.VectorStore},
    ),
    Endpoint(
        method="GET",
        path=STORES,
        summary="List the vector stores",
        asks=ListQuery,
        gives={JSON: stores.VectorStoreList},
    ),
    Endpoint(method="GET", path=STORE, summary="Return a vector store", gives={JSON: stores.VectorStore}),
    Endpoint(
        method="POST",
        path=STORE,
        summary="Change a vector store",
        takes={JSON: stores.StoreUpdate},
        gives={JSON: stores.VectorStore},
    ),
    Endpoint(method="DELETE", path=STORE, summary="Delete a vector store", gives={JSON: stores.Deleted}),
    Endpoint(
        method="POST",
        path=f"{STORE}/search",
        summary="Search a vector store",
        takes={JSON: stores.SearchRequest},
        gives={JSON: stores.SearchResults},
    ),
    Endpoint(
        method="POST",
        path=f"{STORE}/files",
        summary="Put a file into a vector store",
        takes={JSON: stores.AttachRequest},
        gives={JSON: stores.VectorStoreFile},
    ),
    Endpoint(
        method="GET",
        path=f"{STORE}/files",
        summary="List the files of a vector store",
        asks=stores.StoreFilesQuery,
        gives={JSON: stores.VectorStoreFileList},
    ),
    Endpoint(
        method="GET",
        path=STORE_FILE,
        summary="Return how a file in a vector store is doing",
        gives={JSON: stores.VectorStoreFile},
    ),
    Endpoint(
        method="POST",
        path=STORE_FILE,
        summary="Replace the attributes of a file in a vector store",
        takes={JSON: stores.AttributesUpdate},
        gives={JSON: stores.VectorStoreFile},
    ),
    Endpoint(
        method="DELETE", path=STORE_FILE, summary="Take a file out of a vector store", gives={JSON: stores.Deleted}
    ),
    Endpoint(
        method="GET",
        path=f"{STORE_FILE}/content",
        summary="Return what was read of a file in a vector store",
        gives={JSON: stores.FileContent},
    ),
    Endpoint(
        method="POST",
        path=f"{STORE}/file_batches",
        summary="Put files into a vector store",
        takes={JSON: stores.BatchRequest},
        gives={JSON: stores.VectorStoreFileBatch},
    ),
    Endpoint(
        method="GET",
        path=BATCH,
        summary="Return how a batch of files is doing",
        gives={JSON: stores.VectorStoreFileBatch},
    ),
    Endpoint(
        method="POST",
        path=f"{BATCH}/cancel",
        summary="Give up what of a batch is not indexed yet",
        gives={JSON: stores.VectorStoreFileBatch},
    ),
    Endpoint(
        method="GET",
        path=f"{BATCH}/files",
        summary="List the files of a batch",
        asks=stores.StoreFilesQuery,
        gives={JSON: stores.VectorStoreFileList},
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
    names = re.findall(r"{(\w+)}", endpoint.path)
    path = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    query = _properties(endpoint.asks) if endpoint.asks else {}
    takes = content(endpoint.takes)
    if FORM in takes:
        takes[FORM] = {"schema": {"allOf": [takes[FORM]["schema"], _FILE]}}
    return {
        "summary": endpoint.summary,
        "operationId": "_".join([endpoint.method.lower(), *re.findall(r"\w+", endpoint.path)]),
        "parameters": path + [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()],
        **({"requestBody": {"required": True, "content": takes}} if takes else {}),
        "responses": {
            "200": {"description": "What was asked for.", "content": content(endpoint.gives)},
            "default": {"description": "Why it cannot be had.", "content": content({JSON: ErrorBody})},
        },
    }


def _properties(struct: type[msgspec.Struct]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components([struct])
    properties: dict[str, Any] = components[struct.__name__]["properties"]
    return properties


def _schema(kind: Any, known: Mapping[str, Any]) -> Any:
    return {"anyOf": [known[repr(each)] for each in kind]} if isinstance(kind, tuple) else known[repr(kind)]
