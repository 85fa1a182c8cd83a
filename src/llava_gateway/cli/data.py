"""`llava-gateway data`: the chats on disk: where they are, how large they are, and how to save, restore or delete all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llava_gateway.cli.console import FAILED, Failure, console, printable, set_up_logging, show_table, wrong_use
from llava_gateway.cli.flags import ConfigFlag, DataDirFlag, FlagsAnywhere, load_settings
from llava_gateway.cli.plain_help import PlainCommand

if TYPE_CHECKING:
    from llava_gateway.journal.database import Database
    from llava_gateway.journal.errors import DataError

_SHOWN = 5

data = typer.Typer(cls=FlagsAnywhere, no_args_is_help=True)


@data.callback()
def begin() -> None:
    """Show, save, restore or delete the chats on disk.

    \b
    Examples:
      llava-gateway data size
      llava-gateway data export chats.zip
      llava-gateway data import chats.zip
      llava-gateway data purge
    """
    set_up_logging()


@data.command(cls=PlainCommand)
def path(data_dir: DataDirFlag = None, config: ConfigFlag = None) -> None:
    """Print the directory in which chats are kept."""
    typer.echo(load_settings(config, data_dir=data_dir).data_folder)


@data.command(cls=PlainCommand)
def size(data_dir: DataDirFlag = None, config: ConfigFlag = None) -> None:
    """Show how many chats are kept, how much space they take on disk, and the largest chats."""
    from llava_gateway.journal.journal import most_bytes

    settings = load_settings(config, data_dir=data_dir)
    folder = settings.data_folder
    with opened(folder) as database:
        sessions, images, text = database.summaries(), database.image_bytes(), database.bytes
        largest = [(summary, database.image_sizes(summary.id)) for summary in sessions]
    largest = sorted(largest, key=lambda each: sum(each[1].values()), reverse=True)[:_SHOWN]
    out = console()
    out.print(f"{folder}")
    limit = settings.keep_max_bytes or most_bytes(folder)
    size = f"{_size(images + text)}: {_size(images)} of images and {_size(text)} of text"
    out.print(f"{_count(len(sessions), 'chat')}, {size}.")
    out.print(f"New images are refused once this reaches {_size(limit)} (keep_max_bytes).")
    if largest:
        rows = [(_size(sum(files.values())), str(len(files)), printable(summary.title) or "Untitled") for summary, files in largest]
        show_table(("size", "images", "chat"), rows, lead=2)


@data.command(cls=PlainCommand)
def purge(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask first.")] = False,
    data_dir: DataDirFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Delete all chats, images and votes on disk. This can't be undone."""
    from llava_gateway.journal.errors import DataError
    from llava_gateway.journal.purge import purge_folder

    folder = load_settings(config, data_dir=data_dir).data_folder
    with opened(folder) as database:
        count = len(database.summaries())
    if not yes:
        if not sys.stdin.isatty():
            wrong_use("This deletes everything and must be confirmed, but stdin is not a terminal.", "Add --yes.")
        if not typer.confirm(f"Delete {_count(count, 'chat')} and all their images in {folder}? This can't be undone."):
            raise typer.Exit(FAILED)
    try:
        purge_folder(folder)
    except DataError as error:
        raise failure_of_data(error) from error
    console().print(f"Deleted {_count(count, 'chat')}.")


@data.command("export", cls=PlainCommand)
def export_all(
    file: Annotated[Path, typer.Argument(help="The zip to write.", metavar="FILE")],
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False,
    data_dir: DataDirFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Save all chats, with their images, in one zip. A running gateway does not have to be stopped."""
    from llava_gateway.journal.backup import Backup
    from llava_gateway.sessions.package import package_all

    folder = load_settings(config, data_dir=data_dir).data_folder
    if file.exists() and not force:
        wrong_use(f"{file} already exists.", "Give another name, or --force.")
    opened(folder).close()
    saved = Backup(folder)
    try:
        _write(file, package_all(saved.read()))
    except OSError as error:
        raise Failure(f"{file} can't be written: {error.strerror}.") from error
    out = console()
    out.print(f"Saved {_count(saved.sessions, 'chat')} with {_count(saved.images, 'image')} in {file}.")
    for title in saved.damaged:
        out.print(f"  Without an image that is missing or was changed on the disk: {printable(title) or 'Untitled'}")


@data.command("import", cls=PlainCommand)
def import_all(
    file: Annotated[Path, typer.Argument(help="A zip that `data export` or the page wrote.", metavar="FILE")],
    data_dir: DataDirFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Add the chats of an export to those on disk. Chats that are there already come in once more."""
    from llava_gateway.cli.data_import import import_file
    from llava_gateway.journal.errors import DataError

    settings = load_settings(config, data_dir=data_dir)
    try:
        count = import_file(file, settings.model_copy(update={"keep": "sqlite"}), config)
    except DataError as error:
        raise failure_of_data(error) from error
    except OSError as error:
        raise Failure(f"{file} can't be read: {error.strerror}.") from error
    console().print(f"Added {_count(count, 'chat')}.")


def _write(file: Path, pieces: Iterable[bytes]) -> None:
    """Write a file that only this user can read. An unfinished one is not left behind. Raises OSError."""
    part = file.with_name(f"{file.name}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            for piece in pieces:
                out.write(piece)
        part.replace(file)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def opened(folder: Path) -> Database:
    """Open the database for reading. Raises Failure."""
    from llava_gateway.journal.database import Database
    from llava_gateway.journal.errors import DataError
    from llava_gateway.journal.folder import DATABASE

    if not (folder / DATABASE).is_file():
        raise Failure(f"There are no chats in {folder}.", "Chats are kept there once `llava-gateway serve` has run.")
    try:
        return Database(folder / DATABASE)
    except DataError as error:
        raise failure_of_data(error) from error


def print_recovery(folder: Path) -> None:
    """Recover a damaged database, and print what was saved. Raises Failure."""
    from llava_gateway.journal.errors import DataError
    from llava_gateway.journal.recovery import recover

    try:
        saved = recover(folder)
    except DataError as error:
        raise failure_of_data(error) from error
    out = console()
    if saved is None:
        out.print("The chats on disk have no fault: there is nothing to recover.")
    else:
        out.print(
            f"Recovered {_count(saved.sessions, 'chat')} with {_count(saved.turns, 'turn')}. The damaged file is now {saved.moved_to}."
        )


def failure_of_data(error: DataError) -> Failure:
    """Explain why the data directory can't be used."""
    where = error.path
    match error.reason:
        case "data_in_use":
            process = f" (process {error.process})" if error.process else ""
            message = f"Another llava-gateway{process} uses the chats in {where}."
            return Failure(message, "Stop it first, or give this one another --data-dir, or --no-keep.")
        case "data_newer":
            hint = "Use that version or a newer one, or give another --data-dir. Nothing was changed."
            return Failure(f"A newer version of llava-gateway wrote {where}.", hint)
        case "data_damaged":
            hint = "`llava-gateway serve --recover` moves it aside and saves what can be read."
            return Failure(f"{where} is damaged: {error.why}.", hint)
        case "data_full":
            return Failure(f"The disk of {where} is full.", "Free some space, or give another --data-dir, or --no-keep.")
        case "data_folder_unusable":
            return Failure(f"Chats can't be kept in {where}: {error.why}.", "Give another --data-dir, or --no-keep.")


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _size(size: int) -> str:
    """Format a number of bytes: '512 B', '63.9 kB', '4.2 MB', '20.0 GB'."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size} B"
