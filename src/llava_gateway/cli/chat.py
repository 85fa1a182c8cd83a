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

from llava_gateway.chat import Detail, Policy
from llava_gateway.cli.ask import read_file, read_image
from llava_gateway.cli.console import Failure, console, printable, set_up_logging, show_failure, wrong_use
from llava_gateway.cli.flags import STDIN, ApiKeyFlag, ConfigFlag, NoPathsFlag, UrlFlag, VerboseFlag, request_fields, with_request_flags
from llava_gateway.cli.named import Named, find_images, local_path
from llava_gateway.cli.stdin import on_terminal
from llava_gateway.options import OPTION_LIMITS

if TYPE_CHECKING:
    from llava_gateway.cli.client import Fields, GatewayClient, JSONObject

HELP = """\
/image PATH          add an image to the next question; a path in a question, or a file dragged here, does too
/options             show the options; /options temperature=0.2 seed=7 sets some, /options seed= takes one back
/model NAME          who answers from now on; without a name, who can
/system TEXT         system prompt from now on; without a text, the one there is
/detail LEVEL        how closely images are looked at from now on: low, high or auto
/region X,Y,W,H      look closely at this part of the next image, in fractions; without numbers, at no part
/policy NAME         what happens when the chat no longer fits: strict, pin_images, sliding or summarise
/new                 start a new chat; the old one stays in the server
/help                this list
/quit, or Ctrl+D     leave
Ctrl+C               stop the answer"""
ONCE = ("region", "ocr_text")
"""Fields that belong to the images of one question."""
_STOP_SECONDS = 5.0
_STOP_STEP = 0.05


@with_request_flags
def chat(
    images: Annotated[list[str] | None, typer.Argument(help="Image files for the first question.", metavar="[IMAGE]...")] = None,
    session: Annotated[str | None, typer.Option("--session", help="Go on with this session of a running gateway.", metavar="ID")] = None,
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

    with connect(url, api_key, config) as client:
        conversation = Conversation(client, fields, request.get("stop") or [], verbose=verbose, paths=not no_paths)
        if session is not None:
            conversation.go_on_with(session)
        for name, data in files:
            conversation.add_image(name, data)
        conversation.greet()
        conversation.talk()
        conversation.say_goodbye()


class Conversation:
    """What is typed becomes turns of a session; the answers go to stdout, all else to stderr.

    Args:
        fields: sent with every question (those of ONCE with the first), by form field; /options, /model and others change them.
        stop: texts that end an answer.
        paths: whether image files that a question names are attached.
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
        self._waiting: list[str] = []  # ids of the images for the next question
        self._last_read_ahead: Fields = []  # what was read ahead last

    def go_on_with(self, session: str) -> None:
        found = self._client.get(f"/sessions/{session}")
        self._session = found["id"]
        self._note(f"Going on with {found['title'] or 'a chat without a title'}, {len(found['turns'])} turns so far.")

    def add_image(self, name: str, image: bytes) -> str:
        """Prepare it now, so that what is wrong with it is known before the question is typed. Returns its id."""
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
            self._note(f"To go on with this chat: llava-gateway chat --session {self._session}")

    def talk(self) -> None:
        """Until the input ends or /quit."""
        while True:
            try:
                self._read_ahead()
                line = _read_line()
                if line is None or line.rstrip() == "/quit":
                    return
                if line.strip():
                    self._do(line.rstrip())
            except _NoTextError:
                wrong_use("What is piped in is no text.", "Give an image as an argument: llava-gateway chat photo.jpg")
            except KeyboardInterrupt:
                self._note("\nCtrl+D or /quit leaves.")
            except Failure as failure:
                show_failure(failure)

    def _read_ahead(self) -> None:
        """Has new images read while the question about them is typed. What is wrong is said when it is asked."""
        fields: Fields = [*(("image_id", image) for image in self._waiting), *self._fields.items(), *self._once.items()]
        if self._waiting and fields != self._last_read_ahead and on_terminal():
            with suppress(Failure):
                self._client.read_ahead(self._session, fields)
        self._last_read_ahead = fields

    def _do(self, line: str) -> None:
        if not line.startswith("/"):
            self._ask_about(self._named(line.strip()))
            return
        command, _, rest = line.partition(" ")
        rest = rest.strip()
        match command:
            case "/image":
                path = str(local_path(_path(rest)))
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
            case "/new":
                self._session = None
                self._is_asked()
                self._note("A new chat.")
            case "/help":
                self._note(HELP)
            case _ if (named := self._named(line)).names:
                self._ask_about(named)
            case _:
                self._note(f"There is no command {command}; /help lists them. (Put a space before a question that begins with a slash.)")

    def _named(self, line: str) -> Named:
        return find_images(line) if self._paths else Named((line,))

    def _ask_about(self, named: Named) -> None:
        """A question with the images that it names. Where it is nothing but names, the question about them is still to come."""
        waiting = [*self._waiting]
        try:
            before = self._images_before() if named.names else 0
            images = [self.add_image(name, read_file(name)) for name in named.names]
            numbers = [before + self._waiting.index(image) + 1 for image in images]
            if question := named.question(numbers, before + len(self._waiting)):
                self._ask(question)
        except Failure:
            if self._waiting:  # the line will be typed again, and names them again
                self._waiting = waiting
            raise

    def _images_before(self) -> int:
        """How many images the chat has had."""
        if self._session is None:
            return 0
        return sum(len(turn["images"]) for turn in self._client.get(f"/sessions/{self._session}")["turns"])

    def _ask(self, question: str) -> None:
        """One turn. Ctrl+C stops it; what was said until then is kept."""
        from llava_gateway.cli.answer import details, show_answer, warnings

        if self._session is None:
            self._session = self._client.post("/sessions", {})["id"]
        path = f"/sessions/{self._session}"
        fields: Fields = [("image_id", image) for image in self._waiting]
        fields += [("prompt", question), *self._fields.items(), *self._once.items(), *(("stop", text) for text in self._stop)]
        try:
            answer = show_answer(self._client, f"{path}/turns", fields)
        except KeyboardInterrupt:
            self._note("[stopped]")
            self._settle(path)
        except Failure:
            with suppress(Failure):
                if self._is_kept(path, question):
                    self._is_asked()
            raise
        else:
            for line in (*(details(answer) if self._verbose else ()), *warnings(answer)):
                self._note(line)
        self._is_asked()

    def _is_asked(self) -> None:
        """What was for one question is no longer for the next."""
        self._waiting = []
        self._once = {}

    def _is_kept(self, path: str, question: str) -> bool:
        """Whether the session kept a question that failed: its images are then in the chat already."""
        turns: list[JSONObject] = self._client.get(path)["turns"]
        return bool(turns) and turns[-1]["prompt"] == question and turns[-1]["status"] != "complete"

    def _settle(self, path: str) -> None:
        """Waits until the gateway has seen that we left: the next question would meet a busy session."""
        until = time.monotonic() + _STOP_SECONDS
        while self._client.get(path)["running"] and time.monotonic() < until:
            time.sleep(_STOP_STEP)

    def _options(self, assignments: str) -> None:
        for word in assignments.split():
            name, equals, value = word.partition("=")
            name = name.replace("-", "_")
            if not equals:
                raise Failure(f"{word} gives no value.", f"Write {name}=VALUE, or {name}= to take it back.")
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
            raise Failure(f"No engine has the model {name}.", f"There are {', '.join(names) or 'none'}.")
        if name:
            self._fields["model"] = name
        default = found["default"]["model"] if found["default"] else "none"
        self._note(f"{self._fields.get('model', default)} answers. There are {', '.join(names) or 'none'}.")

    def _system(self, text: str) -> None:
        if text:
            self._fields["system"] = text
        self._note(self._fields.get("system", "There is no system prompt."))

    def _choose(self, field: str, value: str, choices: tuple[str, ...]) -> None:
        if value and value not in choices:
            raise Failure(f"There is no {field} {value}.", f"There are {', '.join(choices)}.")
        if value:
            self._fields[field] = value
        self._note(f"{field}: {self._fields.get(field, 'as the gateway is set')}")

    def _region(self, numbers: str) -> None:
        if numbers and not _is_region(numbers):
            raise Failure(f"{numbers} is no part of an image.", "Left, top, width and height in fractions, such as 0.5,0,0.5,0.5.")
        self._once.pop("region", None)
        if numbers:
            self._once["region"] = numbers
        self._note(f"The next question looks closely at {numbers}." if numbers else "The next question looks closely at no part.")

    def _note(self, text: str) -> None:
        self._notes.print(printable(text), style="dim")


def _is_region(text: str) -> bool:
    """Whether it is four fractions; the gateway says what else may be wrong with them."""
    numbers = text.split(",")
    return len(numbers) == 4 and all(re.fullmatch(r"\s*(0?\.\d+|[01](\.0*)?)\s*", number, re.ASCII) for number in numbers)


class _NoTextError(Exception):
    """What is piped in is an image, or something else that no line can be read of."""


def _read_line() -> str | None:
    """What was typed or piped in, None at the end of it. Raises _NoTextError."""
    if sys.stdin is None:
        return None
    if not on_terminal():
        line = sys.stdin.buffer.readline()
        try:
            text = line.decode(sys.stdin.encoding or "utf-8").removeprefix("\ufeff")  # PowerShell's pipes begin with it
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
    """Raises Failure where the option can't have this value: better now than with the next question."""
    limit = OPTION_LIMITS[name]
    with suppress(ValueError):
        number = int(value) if limit.whole else float(value)
        if limit.low <= number <= limit.high:
            return value
    kind = "a whole number" if limit.whole else "a number"
    raise Failure(f"{name} is {kind} from {limit.low:.10g} to {limit.high:.10g}, not {value}.", f"{name}: {limit.about}.")


def _path(typed: str) -> str:
    """A path as it is, or as a shell would write it: terminals quote what is dropped on them."""
    if local_path(typed).is_file():
        return typed
    try:
        words = shlex.split(typed)
    except ValueError:  # a quote that is never closed
        return typed
    return words[0] if len(words) == 1 else typed
