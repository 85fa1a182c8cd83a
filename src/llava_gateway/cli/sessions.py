"""`llava-gateway sessions`: the sessions of a running gateway, to be listed, searched, written to files and taken in again."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias
from urllib.parse import quote

import typer

from llava_gateway.cli.console import Failure, console, printable, set_up_logging, wrong_use
from llava_gateway.cli.flags import STDIN, ApiKeyFlag, ConfigFlag, FlagsAnywhere, JsonFlag, UrlFlag

if TYPE_CHECKING:
    from llava_gateway.cli.client import GatewayClient, JSONObject

_WIDE = 200
_ID_CHARS = 32
_SHOWN_ID_CHARS = 8
_DELETED = "/sessions?deleted=true"

SessionArgument: TypeAlias = Annotated[str, typer.Argument(help="Id of a session, or how it begins.", metavar="ID")]
ExportFormat: TypeAlias = Literal["zip", "json", "html", "markdown"]

sessions = typer.Typer(cls=FlagsAnywhere, invoke_without_command=True)


@sessions.callback()
def begin(
    context: typer.Context, as_json: JsonFlag = False, url: UrlFlag = None, api_key: ApiKeyFlag = None, config: ConfigFlag = None
) -> None:
    """List the sessions of a running gateway; show, search, export, import, rename, delete or restore them.

    \b
    Examples:
      llava-gateway sessions
      llava-gateway sessions search invoice
      llava-gateway sessions export 4be1a0c2 -o may.zip
      llava-gateway sessions import may.zip
      llava-gateway sessions delete 4be1a0c2
      llava-gateway sessions restore 4be1a0c2
    """
    set_up_logging()
    if context.invoked_subcommand is None:
        list_sessions(False, as_json, url, api_key, config)


@sessions.command("list")
def list_sessions(
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that were deleted and can still be restored.")] = False,
    as_json: JsonFlag = False,
    url: UrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """List all sessions, most recently changed first."""
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config, own=False) as client:
        found = client.get(_DELETED if deleted else "/sessions")
    if as_json:
        _print_json(found)
    elif found["sessions"]:
        _show_table(found["sessions"])
    else:
        console().print("There are no sessions.")


@sessions.command()
def show(
    session: SessionArgument, as_json: JsonFlag = False, url: UrlFlag = None, api_key: ApiKeyFlag = None, config: ConfigFlag = None
) -> None:
    """Print a session as Markdown."""
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config, own=False) as client:
        path = _path(client, session)
        if as_json:
            _print_json(client.get(path))
        else:
            _, data = client.download(f"{path}/export?format=markdown")
            typer.echo(printable(data.decode()), nl=False)


@sessions.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words as they stand in a title, a question or an answer, in upper or lower case.")],
    as_json: JsonFlag = False,
    url: UrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Find sessions by what was said in them. Exits with 1 where there is none."""
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config, own=False) as client:
        found = client.get(f"/sessions?q={quote(' '.join(words))}")
    if as_json:
        _print_json(found)
    else:
        out = console()
        for session in found["sessions"]:
            out.print(f"{session['id'][:_SHOWN_ID_CHARS]}  {_title(session)}", style="bold")
            for match in session["matches"]:
                if match["turn"] is not None:
                    where = f"{match['before']}{match['text']}{match['after']}"
                    out.print(f"  {match['in']} {match['turn']}: {printable(' '.join(where.split()))}")
    if not found["sessions"]:
        raise Failure("Nothing was found.")


@sessions.command()
def export(
    session: SessionArgument,
    export_format: Annotated[
        ExportFormat,
        typer.Option("--format", help="zip has all forms and the images; json and zip can be imported; html and markdown are to read."),
    ] = "zip",
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to; - is stdout. Unset: a file named by the title.", metavar="FILE")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    url: UrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Write a session to a file."""
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config, own=False) as client:
        name, data = client.download(f"{_path(client, session)}/export?format={export_format}")
    if to is not None and str(to) == STDIN:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    file = Path(name) if to is None else to / name if to.is_dir() else to
    try:
        with file.open("wb" if force else "xb") as out:
            out.write(data)
    except FileExistsError:
        raise Failure(f"{file} is there already.", "Overwrite it with --force, or choose another with -o.") from None
    except OSError as error:
        raise Failure(f"{file} can't be written: {error.strerror}.") from error
    console(sys.stderr).print(f"{printable(str(file))}, {len(data):,} bytes.")


@sessions.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="Exported sessions, json or zip; - is stdin.", metavar="FILE...")],
    url: UrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Take in sessions that were exported; each gets a new id."""
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config, own=False) as client:
        for file in files:
            taken = client.send("/sessions/import", _read(file))
            console().print(f"{taken['id']}  {_title(taken)}")


@sessions.command()
def rename(
    session: SessionArgument,
    title: Annotated[str, typer.Argument(help="The new title.")],
    url: UrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Give a session another title."""
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config, own=False) as client:
        changed = client.patch(_path(client, session), {"title": title})
    console().print(f"{changed['id'][:_SHOWN_ID_CHARS]}  {_title(changed)}")


@sessions.command()
def delete(
    wanted: Annotated[list[str], typer.Argument(help="Ids of sessions, or how they begin.", metavar="ID...")],
    url: UrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Delete sessions with their images. `sessions restore` takes it back, within the setting `session_undo`."""
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config, own=False) as client:
        for path in [_path(client, session) for session in wanted]:
            client.delete(path)
            console().print(f"{path.removeprefix('/sessions/')} is deleted.")


@sessions.command()
def restore(
    session: Annotated[str, typer.Argument(help="Id of a session that was just deleted, or how it begins.", metavar="ID")],
    url: UrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Bring a session back that was just deleted."""
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config, own=False) as client:
        restored = client.post(f"{_path(client, session, deleted=True)}/restore", {})
    console().print(f"{restored['id'][:_SHOWN_ID_CHARS]}  {_title(restored)}")


def _path(client: GatewayClient, session: str, *, deleted: bool = False) -> str:
    """The address of a session (of a `deleted` one) that is named by its id or by how that begins."""
    if len(session) < _ID_CHARS:
        rows = client.get(_DELETED if deleted else "/sessions")["sessions"]
        found = [row["id"] for row in rows if row["id"].startswith(session)]
        if len(found) != 1:
            kind = "deleted session" if deleted else "session"
            what = f"No {kind} has" if not found else f"{len(found)} {kind}s have"
            lists = "sessions list --deleted" if deleted else "sessions"
            raise Failure(f"{what} an id that begins with {session!r}.", f"`llava-gateway {lists}` lists them.")
        session = found[0]
    return f"/sessions/{quote(session, safe='')}"


def _read(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == STDIN else file.read_bytes()
    except OSError as error:
        wrong_use(f"{file} can't be read: {error.strerror}.")


def _show_table(rows: list[JSONObject]) -> None:
    from rich.table import Table

    table = Table("id", "title", "turns", "model", "changed", box=None, pad_edge=False)
    for row in rows:
        changed = datetime.fromisoformat(row["updated_at"]).astimezone()
        cells = (
            row["id"][:_SHOWN_ID_CHARS],
            _title(row),
            str(row["turn_count"]),
            printable(row["model"] or "-"),
            f"{changed:%Y-%m-%d %H:%M}",
        )
        table.add_row(*cells)
    out = console()
    if not out.is_terminal:
        out.width = _WIDE
    out.print(table)


def _title(session: JSONObject) -> str:
    return printable(" ".join(session["title"].split())) or "(no title)"


def _print_json(found: Any) -> None:
    typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
