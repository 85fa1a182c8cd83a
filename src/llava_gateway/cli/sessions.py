"""`llava-gateway sessions`: list, search, export and import the sessions of a running gateway."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args
from urllib.parse import quote

import typer

from llava_gateway.cli.console import Failure, console, not_empty, printable, set_up_logging, show_table, wrong_use
from llava_gateway.cli.flags import STDIN, ApiKeyFlag, ConfigFlag, FlagsAnywhere, JsonFlag, RunningUrlFlag
from llava_gateway.cli.plain_help import PlainCommand

if TYPE_CHECKING:
    from llava_gateway.cli.client import GatewayClient, JSONObject

_ID_CHARS = 32
_SHOWN_ID_CHARS = 8
_DELETED = "/sessions?deleted=true"

SessionArgument: TypeAlias = Annotated[
    str, typer.Argument(help="Id of a session, or the beginning of its id.", metavar="ID", callback=not_empty)
]
ExportFormat: TypeAlias = Literal["zip", "json", "html", "markdown"]

sessions = typer.Typer(cls=FlagsAnywhere, invoke_without_command=True)


@sessions.callback()
def begin(
    context: typer.Context, as_json: JsonFlag = False, url: RunningUrlFlag = None, api_key: ApiKeyFlag = None, config: ConfigFlag = None
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


@sessions.command("list", cls=PlainCommand)
def list_sessions(
    deleted: Annotated[bool, typer.Option("--deleted", help="List deleted sessions that can still be restored.")] = False,
    as_json: JsonFlag = False,
    url: RunningUrlFlag = None,
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


@sessions.command(cls=PlainCommand)
def show(
    session: SessionArgument, as_json: JsonFlag = False, url: RunningUrlFlag = None, api_key: ApiKeyFlag = None, config: ConfigFlag = None
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


@sessions.command(cls=PlainCommand)
def search(
    words: Annotated[
        list[str],
        typer.Argument(help="Words in a title, a question or an answer, in upper or lower case.", metavar="WORD...", callback=not_empty),
    ],
    as_json: JsonFlag = False,
    url: RunningUrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Find sessions by words in them. Exits with status 1 if there is none."""
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


@sessions.command(cls=PlainCommand)
def export(
    session: SessionArgument,
    export_format: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            metavar="|".join(get_args(ExportFormat)),
            help="zip has all formats and the images; json and zip can be imported; html and markdown are for reading.",
        ),
    ] = "zip",
    to: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; - is stdout. Without it: a file named after the title.", metavar="FILE"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    url: RunningUrlFlag = None,
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
        raise Failure(f"{file} already exists.", "Overwrite it with --force, or choose another with -o.") from None
    except OSError as error:
        raise Failure(f"{file} can't be written: {error.strerror}.") from error
    console(sys.stderr).print(f"{printable(str(file))}, {len(data):,} bytes.")


@sessions.command("import", cls=PlainCommand)
def import_(
    files: Annotated[list[Path], typer.Argument(help="Exported sessions, json or zip; - is stdin.", metavar="FILE...")],
    url: RunningUrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Import exported sessions; each gets a new id."""
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config, own=False) as client:
        for file in files:
            taken = client.send("/sessions/import", _read(file))
            console().print(f"{taken['id']}  {_title(taken)}")


@sessions.command(cls=PlainCommand)
def rename(
    session: SessionArgument,
    title: Annotated[str, typer.Argument(help="The new title.", metavar="TITLE")],
    url: RunningUrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Give a session another title."""
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config, own=False) as client:
        changed = client.patch(_path(client, session), {"title": title})
    console().print(f"{changed['id'][:_SHOWN_ID_CHARS]}  {_title(changed)}")


@sessions.command(cls=PlainCommand)
def delete(
    wanted: Annotated[
        list[str], typer.Argument(help="Ids of sessions, or the beginnings of their ids.", metavar="ID...", callback=not_empty)
    ],
    url: RunningUrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Delete sessions with their images. `sessions restore` brings them back, for as long as the setting `session_undo` says."""
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config, own=False) as client:
        for path in [_path(client, session) for session in wanted]:
            client.delete(path)
            console().print(f"{path.removeprefix('/sessions/')} is deleted.")


@sessions.command(cls=PlainCommand)
def restore(
    session: Annotated[
        str, typer.Argument(help="Id of a session that was just deleted, or the beginning of its id.", metavar="ID", callback=not_empty)
    ],
    url: RunningUrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Restore a session that was just deleted."""
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config, own=False) as client:
        restored = client.post(f"{_path(client, session, deleted=True)}/restore", {})
    console().print(f"{restored['id'][:_SHOWN_ID_CHARS]}  {_title(restored)}")


def _path(client: GatewayClient, session: str, *, deleted: bool = False) -> str:
    """Return the route of a session (or of a `deleted` one), given its id or the beginning of its id."""
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
    cells = [
        (
            row["id"][:_SHOWN_ID_CHARS],
            _title(row),
            str(row["turn_count"]),
            printable(row["model"] or "-"),
            f"{datetime.fromisoformat(row['updated_at']).astimezone():%Y-%m-%d %H:%M}",
        )
        for row in rows
    ]
    show_table(("id", "title", "turns", "model", "changed"), cells, lead=2)


def _title(session: JSONObject) -> str:
    return printable(" ".join(session["title"].split())) or "(no title)"


def _print_json(found: Any) -> None:
    typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
