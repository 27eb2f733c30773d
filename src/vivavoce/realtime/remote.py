"""Tools of remote servers (Model Context Protocol): which there are, who may use them, and the calls under way.

A call outlives its response: the model is done when it has called, a person may have to agree, and the tool takes its
time. What a tool returns while its response is still open is told when that ends, just before `response.done`: clients
answer it with `response.create`, which an open response refuses. A cancelled response does not stop its calls: what
they have changed in the world must not be missing in the conversation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from vivavoce.realtime.conversation import Prompt, PromptTool
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.events import (
    AnyServerEvent,
    ConversationItemAdded,
    ConversationItemDone,
    McpCallCompleted,
    McpCallFailed,
    McpCallInProgress,
    McpListToolsCompleted,
    McpListToolsFailed,
    McpListToolsInProgress,
)
from vivavoce.realtime.facts import CallTool, Listed, ListTools, Returned
from vivavoce.realtime.values import (
    AnyTool,
    ApprovalFilter,
    FunctionTool,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpChoice,
    McpListTools,
    McpProtocolError,
    McpTool,
    McpToolError,
    RemoteTool,
    ToolChoice,
    ToolFilter,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vivavoce.realtime.answer import Answer, Mint
    from vivavoce.realtime.conversation import Conversation

Outputs: TypeAlias = "Iterator[AnyServerEvent | ListTools | CallTool]"

MAX_OUTPUT = 8000
"""Characters of a result that the model and the client are shown."""
CUT = " […] (The result is longer; this is its beginning.)"
INVALID_PARAMS = -32602
"""JSON-RPC 2.0 section 5.1."""

_NAME_LENGTH = 64
"""Of a function, as language model endpoints take it."""


@dataclass(frozen=True)
class Offer:
    """A remote tool that the model may call."""

    server: McpTool
    tool: RemoteTool


@dataclass
class _Import:
    """A remote server that was asked for its tools."""

    item_id: str
    server: McpTool
    tools: tuple[RemoteTool, ...] | None = None
    """None as long as they are not known."""
    pending: bool = True


@dataclass
class _Call:
    """A remote call whose outcome the client does not know yet."""

    item: McpCall
    server: McpTool
    arguments: dict[str, Any]
    answer: Answer
    outcome: Returned | None = None


@dataclass
class RemoteTools:
    """The remote tools of one session."""

    conversation: Conversation
    new_id: Mint
    _imports: dict[bytes, _Import] = field(default_factory=dict)
    _calls: dict[str, _Call] = field(default_factory=dict)
    _asked: dict[str, str] = field(default_factory=dict)
    """Calls that wait for consent, by the id of the request."""

    # Which tools there are -------------------------------------------------------------------------------------------

    def learn(self, tools: Iterable[AnyTool]) -> Outputs:
        """Ask the servers for their tools that were not asked yet."""
        for server in tools:
            if not isinstance(server, McpTool) or _key(server) in self._imports:
                continue
            item = McpListTools(id=self.new_id("mcpl"), server_label=server.server_label, tools=())
            self._imports[_key(server)] = _Import(str(item.id), server)
            yield McpListToolsInProgress(item_id=str(item.id))
            yield ConversationItemAdded(item=item, previous_item_id=self.conversation.add(item))
            yield ListTools(str(item.id), server)

    def forget_failures(self) -> None:
        """Let servers be asked again that did not answer."""
        failed = [key for key, known in self._imports.items() if known.tools is None and not known.pending]
        for key in failed:
            del self._imports[key]

    def pending(self, tools: Iterable[AnyTool]) -> set[str]:
        """Return the items of the lists that are not known yet."""
        known = (self._imports.get(_key(server)) for server in tools if isinstance(server, McpTool))
        return {one.item_id for one in known if one and one.pending}

    def listed(self, fact: Listed) -> Outputs:
        """Take the list of a server."""
        known = next((one for one in self._imports.values() if one.item_id == fact.item_id and one.pending), None)
        if known is None:
            return
        known.pending = False
        known.tools = None if fact.tools is None else allowed(known.server, fact.tools)
        entry = self.conversation.get(fact.item_id)
        if entry is not None and isinstance(entry.item, McpListTools):
            entry.item = replace(entry.item, tools=known.tools or ())
            yield ConversationItemDone(item=entry.item, previous_item_id=self.conversation.previous_id(entry.id))
        done = McpListToolsFailed if fact.tools is None else McpListToolsCompleted
        yield done(item_id=fact.item_id)

    def equip(self, prompt: Prompt, tools: tuple[AnyTool, ...], choice: ToolChoice) -> tuple[Prompt, dict[str, Offer]]:
        """Return a prompt with the remote tools that are known, and these by the names that the model knows them by."""
        offers = self._offers(tools)
        if isinstance(choice, McpChoice):
            ours = {name: offer for name, offer in offers.items() if offer.server.server_label == choice.server_label}
            named = (name for name, offer in ours.items() if offer.tool.name == choice.name)
            if wanted := next(named, None):
                prompt = replace(prompt, tool_choice=wanted)
            elif ours and not isinstance(choice.name, str):
                prompt, offers = replace(prompt, tool_choice="required", tools=()), ours
        remote = (
            PromptTool(name=name, description=offer.tool.description or "", parameters=offer.tool.input_schema)
            for name, offer in offers.items()
        )
        return replace(prompt, tools=(*prompt.tools, *remote)), offers

    def _offers(self, tools: tuple[AnyTool, ...]) -> dict[str, Offer]:
        """Name the remote tools; only a name that something else has, or that no endpoint takes, is changed."""
        taken = {tool.name for tool in tools if isinstance(tool, FunctionTool)}
        offers: dict[str, Offer] = {}
        for offer in self._offered(tools):
            name = _speakable(offer.tool.name)
            if name in taken:
                name = _speakable(f"{offer.server.server_label}_{offer.tool.name}")
            while name in taken:
                name = f"{name[: _NAME_LENGTH - 4]}_{len(taken):03}"
            taken.add(name)
            offers[name] = offer
        return offers

    def _offered(self, tools: tuple[AnyTool, ...]) -> Iterator[Offer]:
        for server in tools:
            known = self._imports.get(_key(server)) if isinstance(server, McpTool) else None
            if isinstance(server, McpTool) and known:
                yield from (Offer(server, tool) for tool in known.tools or ())

    # The calls -------------------------------------------------------------------------------------------------------

    def call(self, answer: Answer, offer: Offer, arguments: str) -> Outputs:
        """Let the model call a tool: at once, or when a person has agreed."""
        item = McpCall(
            id=self.new_id("mcp"),
            status="in_progress",
            server_label=offer.server.server_label,
            name=offer.tool.name,
            arguments="",
            output=None,
            error=None,
        )
        item = yield from answer.call_remotely(item, arguments)
        decoded = _object(arguments)
        call = self._calls[str(item.id)] = _Call(item, offer.server, decoded or {}, answer)
        if decoded is None:
            message = "The arguments are not a JSON object; call the tool again with one."
            error = McpProtocolError(code=INVALID_PARAMS, message=message)
            yield from self.returned(Returned(str(item.id), error=error))
        elif needs_consent(offer.server, offer.tool):
            yield from self._ask(call)
        else:
            yield from self._run(call)

    def check_consent(self, item: McpApprovalResponse) -> None:
        """Refuse an answer to a question that nobody asks.

        Raises:
            ProtocolError: likewise.
        """
        if item.approval_request_id not in self._asked:
            message = f"No call waits for the approval '{item.approval_request_id}'; send one answer to each request."
            raise ProtocolError("invalid_value", message, param="item.approval_request_id")

    def decided(self, item: McpApprovalResponse) -> Outputs:
        """Run a call that a person has agreed to, or fail it."""
        call = self._calls[self._asked.pop(item.approval_request_id)]
        if item.approve:
            yield from self._run(call)
            return
        reason = f": {item.reason}" if isinstance(item.reason, str) and item.reason else "."
        error = McpToolError(message=f"The user did not allow this call{reason}")
        yield from self.returned(Returned(str(call.item.id), error=error))

    def returned(self, fact: Returned) -> Outputs:
        """Take what a tool returned, and tell it unless the response that called it is still open."""
        call = self._calls.get(fact.item_id)
        if call is None or call.outcome is not None or fact.item_id in self._asked.values():
            return
        call.outcome = fact
        if not call.answer.open:
            yield from self._tell(call, fact)

    def settle(self, answer: Answer) -> Outputs:
        """Tell, as the response ends, what its calls have returned by now."""
        for call in list(self._calls.values()):
            if call.answer is answer and call.outcome is not None:
                yield from self._tell(call, call.outcome)

    def _ask(self, call: _Call) -> Outputs:
        item = call.item
        request = McpApprovalRequest(
            id=self.new_id("mcpr"), server_label=item.server_label, name=item.name, arguments=item.arguments
        )
        self._asked[str(request.id)] = str(item.id)
        call.item = replace(item, approval_request_id=str(request.id))
        call.answer.update(call.item)
        yield from call.answer.ask(request)

    def _run(self, call: _Call) -> Outputs:
        item_id = str(call.item.id)
        yield McpCallInProgress(item_id=item_id, output_index=call.answer.index_of(item_id))
        yield CallTool(item_id, call.server, call.item.name, call.arguments)

    def _tell(self, call: _Call, fact: Returned) -> Outputs:
        del self._calls[fact.item_id]
        index = call.answer.index_of(fact.item_id)
        if fact.error is None:
            call.item = replace(call.item, status="completed", output=_cut(fact.output))
            yield McpCallCompleted(item_id=fact.item_id, output_index=index)
        else:
            error = replace(fact.error, message=_cut(fact.error.message))
            call.item = replace(call.item, status="incomplete", error=error)
            yield McpCallFailed(item_id=fact.item_id, output_index=index)
        yield from call.answer.end_remotely(call.item)


# What is declared ----------------------------------------------------------------------------------------------------


def check_tools(tools: tuple[AnyTool, ...], param: str) -> None:
    """Refuse remote servers that cannot be reached from here, and labels that are not unique.

    Raises:
        ProtocolError: likewise.
    """
    labels: set[str] = set()
    for index, tool in enumerate(tools):
        if isinstance(tool, McpTool):
            _check_server(tool, f"{param}[{index}]")
            if tool.server_label in labels:
                message = f"The label '{tool.server_label}' is used twice; give each server its own."
                raise ProtocolError("invalid_value", message, param=f"{param}[{index}].server_label")
            labels.add(tool.server_label)


def _check_server(server: McpTool, param: str) -> None:
    for name in ("connector_id", "tunnel_id"):
        if getattr(server, name) is not UNSET:
            message = f"This server knows no '{name}'; give the address of the remote server in 'server_url'."
            raise ProtocolError("unsupported_parameter", message, param=f"{param}.{name}")
    if server.server_url is UNSET:
        message = f"Missing required parameter: '{param}.server_url'."
        raise ProtocolError("missing_required_parameter", message, param=f"{param}.server_url")
    if not _is_url(server.server_url):
        message = "The address of a remote server begins with https:// or http:// and names a host."
        raise ProtocolError("invalid_value", message, param=f"{param}.server_url")


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and bool(url.hostname)


def allowed(server: McpTool, tools: Iterable[RemoteTool]) -> tuple[RemoteTool, ...]:
    """Return those tools of a server that its declaration allows."""
    wanted = server.allowed_tools
    if wanted is UNSET or wanted is None:
        return tuple(tools)
    names = wanted if isinstance(wanted, ToolFilter) else ToolFilter(tool_names=wanted)
    return tuple(tool for tool in tools if _fits(tool, names))


def needs_consent(server: McpTool, tool: RemoteTool) -> bool:
    """Tell whether a person must agree to a call; where nothing is said, yes."""
    wanted = server.require_approval
    if not isinstance(wanted, ApprovalFilter):
        return wanted != "never"
    if isinstance(wanted.never, ToolFilter) and _fits(tool, wanted.never):
        return False
    if isinstance(wanted.always, ToolFilter):
        return _fits(tool, wanted.always) or isinstance(wanted.never, ToolFilter)
    return True


def shown(tools: tuple[AnyTool, ...]) -> tuple[AnyTool, ...]:
    """Return tools as events show them: without credentials."""
    return tuple(
        replace(tool, authorization=UNSET, headers=UNSET) if isinstance(tool, McpTool) else tool for tool in tools
    )


def _fits(tool: RemoteTool, wanted: ToolFilter) -> bool:
    if isinstance(wanted.tool_names, tuple) and tool.name not in wanted.tool_names:
        return False
    told = tool.annotations if isinstance(tool.annotations, dict) else {}
    return not isinstance(wanted.read_only, bool) or bool(told.get("readOnlyHint")) == wanted.read_only


def _key(server: McpTool) -> bytes:
    """Return what makes a list of tools what it is."""
    return msgspec.json.encode(replace(server, require_approval=UNSET, server_description=UNSET))


def _speakable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:_NAME_LENGTH] or "tool"


def _object(text: str) -> dict[str, Any] | None:
    try:
        decoded = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _cut(text: str) -> str:
    return text if len(text) <= MAX_OUTPUT else text[:MAX_OUTPUT] + CUT
