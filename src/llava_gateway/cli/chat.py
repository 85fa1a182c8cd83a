"""`llava-gateway chat`: a conversation in a session of the gateway."""

from __future__ import annotations

import re
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from llava_gateway.cli.ask import name_in, read_file, read_image
from llava_gateway.cli.console import Failure, console, not_empty, printable, set_up_logging, show_failure, wrong_use
from llava_gateway.cli.flags import STDIN, ApiKeyFlag, ConfigFlag, NoPathsFlag, UrlFlag, VerboseFlag, request_fields, with_request_flags
from llava_gateway.cli.image_paths import SplitQuestion, find_images, is_address, local_path, mentions_image
from llava_gateway.cli.pages import Document, choice_of, file_of, has_pages, page_fields
from llava_gateway.cli.stdin import on_terminal
from llava_gateway.options import OPTION_LIMITS, Detail, Policy

if TYPE_CHECKING:
    from llava_gateway.cli.client import Fields, GatewayClient, JSONObject

HELP = """\
/image PATH          add an image, from a file or an address, to the next question; one in a question, or a file dragged here, does too
/image FILE.pdf#3-5  add pages of a document; without #, those that fit
/options             show the options; /options temperature=0.2 seed=7 sets some, /options seed= resets one
/model NAME          use this model from now on; without a name, list the models
/system TEXT         set the system prompt; without a text, show it
/detail LEVEL        set the detail of images from now on: low, high or auto
/region X,Y,W,H      ask about this part of the next image, in fractions; without numbers, about the whole image
/policy NAME         what happens when the chat no longer fits: strict, pin_images, sliding or summarise
/continue            continue the last answer, if it was stopped or cut off
/new                 start a new chat; the gateway keeps the old one
/help                this list
/quit, or Ctrl+D     leave
Ctrl+C               stop the answer"""
ONCE = ("region", "ocr_text")
"""Fields that apply to the images of one question only."""
_LONGER = "/continue writes the rest; /options num_predict=COUNT"
_STOP_SECONDS = 5.0
_STOP_STEP = 0.05


@with_request_flags
def chat(
    images: Annotated[
        list[str] | None, typer.Argument(help="Image files or addresses for the first question.", metavar="[IMAGE...]", callback=not_empty)
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", help="Continue this session of a running gateway.", metavar="ID", callback=not_empty)
    ] = None,
    no_paths: NoPathsFlag = False,
    url: UrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
    verbose: VerboseFlag = False,
    **request: Any,
) -> None:
    """Talk about images in several turns.

    Ctrl+C stops the running answer, Ctrl+D leaves, /help lists the commands.

    Image files that a question names, or that are dragged into the terminal, are attached.

    \b
    Examples:
      llava-gateway chat photo.heic
      llava-gateway chat --model llava:13b --preset creative
      echo "What is this?" | llava-gateway chat photo.jpg
      echo "What is in ./photo.jpg?" | llava-gateway chat
    """
    set_up_logging()
    if request.get("ocr_text") == STDIN:
        wrong_use("--ocr-text - would read the questions.", "Give a file.")
    files = [(name, read_image(name)) for name in images or []]
    fields = dict(request_fields({name: value for name, value in request.items() if name != "stop"}))
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config, verbose=verbose) as client:
        conversation = Conversation(client, fields, request.get("stop") or [], verbose=verbose, paths=not no_paths)
        if session is not None:
            conversation.go_on_with(session)
        for name, data in files:
            conversation.add_image(name, data)
        conversation.greet()
        conversation.talk()
        conversation.say_goodbye()


class Conversation:
    """A conversation: typed lines become turns of a session; answers go to stdout, everything else to stderr.

    Args:
        fields: sent with every question (those of ONCE only with the first), by form field; /options, /model and others change them.
        stop: texts that end an answer.
        paths: whether to attach image files that a question names.
    """

    def __init__(
        self, client: GatewayClient, fields: dict[str, str], stop: list[str], *, verbose: bool = False, paths: bool = True
    ) -> None:
        self._client = client
        self._fields = {name: value for name, value in fields.items() if name not in ONCE}
        self._once = {name: value for name, value in fields.items() if name in ONCE}
        self._stop = stop
        self._verbose = verbose
        self._paths = paths
        self._notes = console(sys.stderr)
        self._session: str | None = None
        self._waiting: list[str | Document] = []  # what goes with the next question: ids of images, and documents
        self._last_read_ahead: Fields = []  # the fields of the last read-ahead request

    def go_on_with(self, session: str) -> None:
        found = self._client.get(f"/sessions/{session}")
        self._session = found["id"]
        self._note(f"Continuing {found['title'] or 'a chat without a title'}, {len(found['turns'])} turns so far.")

    def add_image(self, name: str, image: bytes) -> str | Document:
        """Store an image now, so that errors in it are reported before the question is typed. Returns its id.

        A document goes with its question, since only then the gateway decides about its pages.
        """
        if has_pages(image, choice := choice_of(name)):
            document = Document(file_of(name), image, choice)
            if document not in self._waiting:
                self._waiting.append(document)
            fitting = "" if choice else ", with as many of its pages or frames as fit"
            self._note(f"{Path(document.as_given).name} goes with the next question{fitting}.")
            return document
        stored = self._client.upload(image)
        image_id: str = stored["id"]
        if image_id not in self._waiting:
            self._waiting.append(image_id)
        changes = f". {' '.join(change['message'] for change in stored['changes'])}" if stored["changes"] else ""
        self._note(f"{Path(name).name}: {stored['width']}x{stored['height']}{changes}")
        return image_id

    def greet(self) -> None:
        if on_terminal():
            kept = "It ends with this program." if self._client.is_ours else "It stays in the gateway."
            self._note(f"Ask about your images. {kept} /help lists the commands, Ctrl+D leaves.")

    def say_goodbye(self) -> None:
        if self._session is not None and not self._client.is_ours:
            self._note(f"To continue this chat: llava-gateway chat --session {self._session}")

    def talk(self) -> None:
        """Run until the input ends or /quit."""
        while True:
            try:
                self._read_ahead()
                line = _read_line()
                if line is None or line.rstrip() == "/quit":
                    return
                if line.strip():
                    self._do(line.rstrip())
            except _NoTextError:
                wrong_use("The piped input is not text.", "Give an image as an argument: llava-gateway chat photo.jpg")
            except KeyboardInterrupt:
                self._note("\nCtrl+D or /quit leaves.")
            except Failure as failure:
                show_failure(failure)

    def _read_ahead(self) -> None:
        """Let the engine read new images while the user types the question. Errors are reported when the question is asked."""
        fields: Fields = [*self._waiting_fields(), *self._once.items()]
        if self._waiting and fields != self._last_read_ahead and on_terminal():
            with suppress(Failure):
                self._client.read_ahead(self._session, fields)
        self._last_read_ahead = fields

    def _waiting_fields(self) -> Fields:
        """Return the fields of what goes with the next question, and of every question."""
        documents = [each for each in self._waiting if isinstance(each, Document)]
        fields: Fields = [("image", each.data) if isinstance(each, Document) else ("image_id", each) for each in self._waiting]
        given = {name: value for name, value in self._fields.items() if name in ("pages", "frames")}
        fields += page_fields([(each.data, each.choice) for each in documents], given)
        return [*fields, *((name, value) for name, value in self._fields.items() if name not in given)]

    def _do(self, line: str) -> None:
        if not line.startswith("/"):
            self._ask_about(self._split(line.strip()))
            return
        command, _, rest = line.partition(" ")
        rest = rest.strip()
        match command:
            case "/image":
                path = rest if is_address(rest) else str(local_path(_path(rest)))
                self.add_image(path, read_file(path))
            case "/options":
                self._options(rest)
            case "/model":
                self._model(rest)
            case "/system":
                self._system(rest)
            case "/detail":
                self._choose("detail", rest, get_args(Detail))
            case "/policy":
                self._choose("policy", rest, get_args(Policy))
            case "/region":
                self._region(rest)
            case "/continue":
                self._go_on()
            case "/new":
                self._session = None
                self._is_asked()
                self._note("A new chat.")
            case "/help":
                self._note(HELP)
            case _ if (split := self._split(line)).names:
                self._ask_about(split)
            case _:
                self._note(f"There is no command {command}; /help lists them. (Put a space before a question that begins with a slash.)")

    def _split(self, line: str) -> SplitQuestion:
        return find_images(line) if self._paths else SplitQuestion((line,))

    def _ask_about(self, split: SplitQuestion) -> None:
        """Ask a question with the images that it names. If it contains only names, waits for the question."""
        waiting = [*self._waiting]
        try:
            before = self._images_before() if split.names else 0
            images = [self.add_image(name, read_file(name)) for name in split.names]
            numbers = [before + self._waiting.index(image) + 1 for image in images]
            by_name = any(isinstance(each, Document) for each in self._waiting)
            if question := split.question(numbers, before + len(self._waiting), by_name=by_name):
                self._ask(question)
        except Failure:
            if self._waiting:  # the user will type the line again, with the same names
                self._waiting = waiting
            raise

    def _images_before(self) -> int:
        """Return the number of images in the chat so far."""
        if self._session is None:
            return 0
        return sum(len(turn["images"]) for turn in self._client.get(f"/sessions/{self._session}")["turns"])

    def _ask(self, question: str) -> None:
        """Ask one question. Ctrl+C stops the answer; the text so far is kept."""
        from llava_gateway.cli.answer import show_answer
        from llava_gateway.cli.ctrl_c import ctrl_c_stops

        if mentions_image(question) and not self._waiting and not self._images_before():
            self._note("warning: The question mentions an image, but the chat has none. /image PATH adds one to the next question.")
        if self._session is None:
            self._session = self._client.post("/sessions", {})["id"]
        path = f"/sessions/{self._session}"
        fields: Fields = self._waiting_fields()
        fields += [("prompt", question), *self._once.items(), *(("stop", text) for text in self._stop)]
        try:
            with ctrl_c_stops(self._client, self._session):
                answer = show_answer(self._client, f"{path}/turns", fields)
        except KeyboardInterrupt:
            self._note("[stopped]")
            self._settle(path)
        except Failure as failure:
            name_in(failure, [each.as_given if isinstance(each, Document) else "" for each in self._waiting])
            with suppress(Failure):
                if self._is_kept(path, question):
                    self._is_asked()
            raise
        else:
            self._note_about(answer)
        self._is_asked()

    def _go_on(self) -> None:
        """Let the last answer go on. Prints its new words."""
        from llava_gateway.cli.answer import show_events
        from llava_gateway.cli.ctrl_c import ctrl_c_stops

        if self._session is None:
            raise Failure("There is no answer to continue yet.", "Ask a question first.")
        options = {name: float(value) if "." in value else int(value) for name, value in self._fields.items() if name in OPTION_LIMITS}
        try:
            with ctrl_c_stops(self._client, self._session):
                answer = show_events(self._client.go_on(self._session, options))
        except KeyboardInterrupt:
            self._note("[stopped]")
            self._settle(f"/sessions/{self._session}")
            return
        self._note_about(answer)

    def _note_about(self, answer: JSONObject) -> None:
        """Print the warnings of an answer and, if they are wanted, its figures."""
        from llava_gateway.cli.answer import details, warnings

        for line in (*(details(answer) if self._verbose else ()), *warnings(answer, _LONGER)):
            self._note(line)

    def _is_asked(self) -> None:
        """Reset the images and fields that applied only to the question just asked."""
        self._waiting = []
        self._once = {}

    def _is_kept(self, path: str, question: str) -> bool:
        """Return whether the session stored a failed question: then the chat already has its images."""
        turns: list[JSONObject] = self._client.get(path)["turns"]
        return bool(turns) and turns[-1]["prompt"] == question and turns[-1]["status"] != "complete"

    def _settle(self, path: str) -> None:
        """Wait until the gateway has stopped the answer; otherwise the next question would find the session busy."""
        until = time.monotonic() + _STOP_SECONDS
        while self._client.get(path)["running"] and time.monotonic() < until:
            time.sleep(_STOP_STEP)

    def _options(self, assignments: str) -> None:
        for word in assignments.split():
            name, equals, value = word.partition("=")
            name = name.replace("-", "_")
            if not equals:
                raise Failure(f"{word} has no value.", f"Write {name}=VALUE, or {name}= to reset it.")
            if name not in OPTION_LIMITS:
                raise Failure(f"There is no option {name}.", f"Options: {', '.join(OPTION_LIMITS)}.")
            self._fields.pop(name, None)
            if value:
                self._fields[name] = _checked(name, value)
        for name, limit in OPTION_LIMITS.items():
            value = self._fields.get(name, "-")
            unit = f" {limit.unit}" if limit.unit else ""
            self._note(f"{name:<15} {value:<8} {limit.low:.10g} to {limit.high:.10g}{unit}: {limit.about}")

    def _model(self, name: str) -> None:
        found = self._client.get("/models")
        names = [model["name"] for model in found["models"]]
        if name and name not in names and f"{name}:latest" not in names:
            raise Failure(f"No engine has the model {name}.", f"Available: {', '.join(names) or 'none'}.")
        if name:
            self._fields["model"] = name
        default = found["default"]["model"] if found["default"] else "none"
        self._note(f"{self._fields.get('model', default)} answers. Available: {', '.join(names) or 'none'}.")

    def _system(self, text: str) -> None:
        if text:
            self._fields["system"] = text
        self._note(self._fields.get("system", "There is no system prompt."))

    def _choose(self, field: str, value: str, choices: tuple[str, ...]) -> None:
        if value and value not in choices:
            raise Failure(f"There is no {field} {value}.", f"Available: {', '.join(choices)}.")
        if value:
            self._fields[field] = value
        self._note(f"{field}: {self._fields.get(field, 'default of the gateway')}")

    def _region(self, numbers: str) -> None:
        if numbers and not _is_region(numbers):
            raise Failure(f"{numbers} is not a part of an image.", "Left, top, width and height in fractions, such as 0.5,0,0.5,0.5.")
        self._once.pop("region", None)
        if numbers:
            self._once["region"] = numbers
        self._note(f"The next question is about the part {numbers}." if numbers else "The next question looks closely at no part.")

    def _note(self, text: str) -> None:
        self._notes.print(printable(text), style="dim")


def _is_region(text: str) -> bool:
    """Return whether it is four fractions; the gateway reports any other error in them."""
    numbers = text.split(",")
    return len(numbers) == 4 and all(re.fullmatch(r"\s*(0?\.\d+|[01](\.0*)?)\s*", number, re.ASCII) for number in numbers)


class _NoTextError(Exception):
    """The piped input is an image, or something else that contains no lines of text."""


def _read_line() -> str | None:
    """Read a typed or piped line; None at the end of the input. Raises _NoTextError."""
    if sys.stdin is None:
        return None
    if not on_terminal():
        line = sys.stdin.buffer.readline()
        try:
            text = line.decode(sys.stdin.encoding or "utf-8").removeprefix("\ufeff")  # PowerShell's pipes begin with a byte order mark
        except UnicodeDecodeError as error:
            raise _NoTextError from error
        if "\0" in text:
            raise _NoTextError
        return text or None
    with suppress(ImportError):
        import readline  # noqa: F401 (gives `input` its line editing; Windows has its own)
    try:
        return input("> " if sys.stdout.isatty() else "")
    except EOFError:
        return None


def _checked(name: str, value: str) -> str:
    """Check the value of an option now, so that the next question does not fail. Raises Failure."""
    limit = OPTION_LIMITS[name]
    with suppress(ValueError):
        number = int(value) if limit.whole else float(value)
        if limit.low <= number <= limit.high:
            return value
    kind = "a whole number" if limit.whole else "a number"
    raise Failure(f"{name} is {kind} from {limit.low:.10g} to {limit.high:.10g}, not {value}.", f"{name}: {limit.about}.")


def _path(typed: str) -> str:
    """Read a path as typed, or as a shell would quote it: terminals quote files that are dropped on them."""
    if local_path(typed).is_file():
        return typed
    try:
        words = shlex.split(typed)
    except ValueError:  # an unclosed quote
        return typed
    return words[0] if len(words) == 1 else typed
