"""The tools as a server of the protocol. This module needs the extra `mcp`, so others import it only when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from mcp_types.version import is_version_at_least

from llava_gateway import __version__
from llava_gateway.api.dialects import sentence_of
from llava_gateway.api.mcp.tools import INSTRUCTIONS, TOOLS, Ask, Read, Refused, call
from llava_gateway.errors import GatewayError

Context: TypeAlias = ServerRequestContext[Any, Any]
ReadFrom: TypeAlias = Callable[[tuple[str, ...] | None], Read]
"""Returns the reader of files inside the client's roots, which are file:// addresses; None if the client has none."""
ASKS_IN_RESULTS = "2026-07-28"
"""The version of the protocol since which a server asks the client in the result of a call."""
ROOTS = "roots"


def build_server(ask: Ask, read_from: ReadFrom | None = None) -> Server[Any]:
    """Build a server of the tools.

    Args:
        ask: asks the gateway.
        read_from: reads files; None if the client is elsewhere.
    """

    async def list_tools(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(
            tools=[
                Tool(name=name, description=tool.description, input_schema=tool.schema, annotations=ToolAnnotations(read_only_hint=True))
                for name, tool in TOOLS.items()
            ]
        )

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
        read = None
        if read_from is not None:
            roots = await _roots(context, params)
            if isinstance(roots, InputRequiredResult):
                return roots
            read = read_from(roots)
        try:
            found = await call(params.name, params.arguments or {}, ask, read)
        except GatewayError as error:
            return _failed(sentence_of(error))
        except Refused as refusal:
            return _failed(str(refusal))
        return CallToolResult(content=[TextContent(type="text", text=found.text)], structured_content=found.values)

    return Server("llava_gateway", version=__version__, instructions=INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool)


async def serve_stdio(server: Server[Any]) -> None:
    """Serve a client on stdin and stdout until it closes them."""
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def _failed(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


async def _roots(context: Context, params: CallToolRequestParams) -> tuple[str, ...] | InputRequiredResult | None:
    """Return the folders that the client allows; None if it names none. Newer clients are asked in the result of the call."""
    capabilities = context.session.client_capabilities
    if capabilities is None or capabilities.roots is None:
        return None
    if is_version_at_least(context.protocol_version, ASKS_IN_RESULTS):
        answer = (params.input_responses or {}).get(ROOTS)
        if not isinstance(answer, ListRootsResult):
            return InputRequiredResult(input_requests={ROOTS: ListRootsRequest()})
    else:
        metadata = ServerMessageMetadata(related_request_id=context.request_id)
        answer = await context.session.send_request(ListRootsRequest(), ListRootsResult, metadata=metadata)
    return tuple(str(root.uri) for root in answer.roots)
