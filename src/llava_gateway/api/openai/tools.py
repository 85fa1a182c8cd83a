"""The tools of a request, as chat completions and as responses write them."""

from __future__ import annotations

from typing import Any

from llava_gateway.api.schemas import parse_format
from llava_gateway.chat import NamedTool, Tool, ToolChoice
from llava_gateway.errors import InvalidRequest

MOST_TOOLS = 128


def tools_of(given: Any) -> tuple[Tool, ...]:
    """Read the tools: functions, whose fields are in `function` (chat completions) or beside the type (responses). Raises InvalidRequest,
    InvalidFormat.
    """
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) > MOST_TOOLS:
        raise InvalidRequest("tools_wrong", values={"most": MOST_TOOLS}, param="tools")
    return tuple(_tool(value, f"tools[{index}]") for index, value in enumerate(given))


def _tool(value: Any, param: str) -> Tool:
    if not isinstance(value, dict) or value.get("type") != "function":
        raise InvalidRequest("tool_unknown", param=f"{param}.type")
    nested = isinstance(value.get("function"), dict)
    function, within = (value["function"], f"{param}.function") if nested else (value, param)
    name, description, parameters = function.get("name"), function.get("description") or "", function.get("parameters") or {}
    if not isinstance(name, str) or not name:
        raise InvalidRequest("field_missing", param=f"{within}.name")
    if not isinstance(description, str):
        raise InvalidRequest("field_not_text", param=f"{within}.description")
    if not isinstance(parameters, dict):
        raise InvalidRequest("tool_parameters_wrong", param=f"{within}.parameters")
    parse_format(parameters, field=f"{within}.parameters")
    return Tool(name, description, parameters)


def choice_of(given: Any, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Read which of the tools the model may or must call. Returns (those tools, the choice). Raises InvalidRequest."""
    if given is None:
        return tools, "auto"
    if given in ("auto", "none") or (given == "required" and tools):
        return tools, given
    if isinstance(given, dict):
        if given.get("type") == "function":
            holder = given["function"] if isinstance(given.get("function"), dict) else given
            if any(tool.name == holder.get("name") for tool in tools):
                return tools, NamedTool(holder["name"])
        if given.get("type") == "allowed_tools":
            return _allowed(given.get("allowed_tools", given), tools)
    raise InvalidRequest("tool_choice_wrong", values={"known": tuple(tool.name for tool in tools)}, param="tool_choice")


def _allowed(given: Any, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Read a choice among some of the tools."""
    rows = given.get("tools") if isinstance(given, dict) else None
    if isinstance(rows, list) and given.get("mode") in ("auto", "required"):
        functions = [row.get("function", row) for row in rows if isinstance(row, dict)]
        names = [function.get("name") for function in functions if isinstance(function, dict)]
        if allowed := tuple(tool for tool in tools if tool.name in names):
            return allowed, given["mode"]
    raise InvalidRequest("tool_choice_wrong", values={"known": tuple(tool.name for tool in tools)}, param="tool_choice")
