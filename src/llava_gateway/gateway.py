"""The use case: one question walks from the door to the engine and back. `Gateway.ask` is that walk, on one screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import TypeAlias

from llava_gateway.admission import Admission, Ticket, connections_limit
from llava_gateway.answering import Answering
from llava_gateway.chat import (
    ChatEvent,
    ChatRequest,
    EngineRequest,
    Failed,
    Finish,
    ImagePart,
    Options,
    Queued,
    Rendition,
    TextPart,
    Upload,
)
from llava_gateway.engines.base import EngineName, ModelInfo, same_name
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import (
    GatewayError,
    InvalidRequest,
    ModelLacksVision,
    ModelNotFound,
    SessionDeleted,
    ShuttingDown,
    UpstreamIncomplete,
    UpstreamTimeout,
)
from llava_gateway.images.profile import profile_for
from llava_gateway.images.store import Picture, PictureStore
from llava_gateway.sessions.memory import SessionStore
from llava_gateway.sessions.session import Session, Turn, TurnStatus
from llava_gateway.settings import Settings
from llava_gateway.telemetry import Telemetry

Hold: TypeAlias = Callable[[Picture], Picture]


class Gateway:
    """Answers questions about pictures.

    Args:
        settings: limits and pins.
        pool: the engines. pictures: the one ingest and store. sessions: the conversations. telemetry: figures.
    """

    def __init__(self, settings: Settings, pool: EnginePool, pictures: PictureStore, sessions: SessionStore, telemetry: Telemetry) -> None:
        self.settings = settings
        self.pool = pool
        self.pictures = pictures
        self.sessions = sessions
        self.telemetry = telemetry
        queue_size = min(settings.queue_size, max(0, connections_limit() - sum(engine.slots for engine in pool.engines)))
        self.admissions: dict[EngineName, Admission] = {
            engine.name: Admission(engine.slots, queue_size=queue_size, queue_timeout=settings.queue_timeout) for engine in pool.engines
        }
        self._running: dict[str, Answering] = {}
        self._asking = 0
        self._news = asyncio.Event()  # for `drain`: someone has ended, or there is no more time
        self.closing = False
        self._hurried = False
        self._ending = False

    @asynccontextmanager
    async def ask(self, request: ChatRequest) -> AsyncIterator[Answering]:
        """The walk. What is wrong with the request is raised on entering; what happens to the answer comes as its events,
        ending with exactly one Finish or Failed. Leaving early stops the engine; what came of the answer is kept in the session."""
        started = time.monotonic()
        if self.closing:
            raise ShuttingDown
        with self._counted(), self._session(request) as session, self._holding() as hold:
            model = await self._model(request, session)
            admission = self.admissions[model.engine]
            admission.check_room()
            self._check_vision(request, session, model)
            pictures = await self._ingest(request, model, hold)
            engine_request = await self._engine_request(request, session, model, pictures, hold)
            answering = Answering(request, model, pictures, engine_request, started)
            answering.warnings += [code for picture, _ in pictures for code in picture.info.warnings]
            with admission.enter() as ticket, self._registered(answering):
                async with aclosing(self._recorded(answering, self._answer(answering, ticket))) as answering.events:
                    yield answering

    async def _answer(self, answering: Answering, ticket: Ticket) -> AsyncGenerator[ChatEvent]:
        """From the queue to the engine's last event; what goes wrong is raised as a GatewayError."""
        wait = answering.interrupt.wait
        while (position := await wait(ticket.position())) is not None:
            yield Queued(position)
        answering.admitted_at = time.monotonic()
        engine = self.pool.engine(answering.model.engine)
        if loading := await wait(engine.loading(answering.engine_request), self.settings.load_timeout):
            answering.loads(loading)
            yield loading

        def limit() -> float:
            return answering.limit(self.settings, reports_progress=engine.reports_progress)

        async with AsyncExitStack() as stack:
            events = await wait(stack.enter_async_context(engine.chat(answering.engine_request)), limit())
            answering.accepted = True
            for name in engine.ignored_options(answering.request.options):
                answering.warnings.append(f"option_ignored: {name} means nothing to this engine.")
            while event := await wait(anext(events, None), limit()):
                if isinstance(event, Failed):
                    raise event.error
                if shown := answering.add(event):
                    yield shown

    async def _recorded(self, answering: Answering, events: AsyncGenerator[ChatEvent]) -> AsyncGenerator[ChatEvent]:
        """Passes the events on and turns an error into Failed; however it ends, the session and the figures get to know."""
        finish: Finish | None = None
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Finish):
                        finish = event
                        break
                    yield event
            if finish is None:
                raise UpstreamIncomplete
            parts = await answering.parts()
            self._keep(answering, answering.turn(parts, "complete", finish))
            answering.answer = answering.whole(finish, parts)
        except GatewayError as error:
            # What the engine never accepted is not kept: the session stays as it was, and the person can send it again. Silence is no
            # refusal: Ollama says nothing at all before its first word, so a question that it was given and that timed out is kept.
            if answering.accepted or isinstance(error, UpstreamTimeout):
                await self._keep_partial(answering, "incomplete", error.code)
            self._count(answering, error.code)
            yield Failed(error)
        except Exception:  # a bug; what there is, is kept
            await self._keep_partial(answering, "incomplete", "internal_error")
            self._count(answering, "internal_error")
            raise
        except BaseException:  # the client left: GeneratorExit, CancelledError
            await asyncio.shield(self._keep_partial(answering, "cancelled"))
            self._count(answering, "cancelled")
            raise
        else:
            self._count(answering, "complete", finish)
            yield finish

    @contextmanager
    def _session(self, request: ChatRequest) -> Iterator[Session]:
        """The session of the request, pinned for this turn; without one, a fresh value that nobody keeps."""
        if request.session_id is None:
            yield Session(system=request.system or "")
            return
        with self.sessions.turn(request.session_id, request.text_bytes) as session:
            yield session if request.system is None else replace(session, system=request.system)

    async def _model(self, request: ChatRequest, session: Session) -> ModelInfo:
        """Who answers: the request's model, else the session's, else the default."""
        if request.model is not None or not session.model:
            return await self.pool.resolve(request.model)
        try:
            return await self.pool.resolve(session.model, engine=session.engine)
        except ModelNotFound as error:
            raise ModelNotFound(
                f"{session.model}, which this session talks with, is gone.",
                hint=f"Bring it back, or name another model in the request. {error.hint}",
                param="model",
            ) from None

    def _check_vision(self, request: ChatRequest, session: Session, model: ModelInfo) -> None:
        """Refuses pictures, new ones or the session's, before anything is sent to a model that can't see."""
        if model.vision or not (session.image_ids or any(not isinstance(part, TextPart) for part in request.parts)):
            return
        seeing = [other.name for other in self.pool.state.models if other.vision]
        hint = f"Installed with vision: {', '.join(seeing[:10])}." if seeing else "Get one with `ollama pull llava:7b`."
        raise ModelLacksVision(f"{model.name} can't see pictures.", hint=hint, param="model")

    async def _ingest(self, request: ChatRequest, model: ModelInfo, hold: Hold) -> tuple[tuple[Picture, Rendition], ...]:
        """The question's pictures made ready for the model, in order, all at the same time. The first that fails is the one told of."""
        images = [part for part in request.parts if not isinstance(part, TextPart)]
        if len(images) > self.settings.images_per_turn:
            raise InvalidRequest(
                f"{len(images)} pictures in one turn; at most {self.settings.images_per_turn} are taken.",
                code="too_many_images",
                hint="Ask about some of them, then about the others: a session remembers all.",
                param="images",
            )
        profile = profile_for(model.facts)

        async def ready(image: ImagePart | Upload) -> tuple[Picture, Rendition]:
            if isinstance(image, Upload):
                picture = hold(await self.pictures.add(image.data, profile))
            else:
                picture = hold(self.pictures.get(image.image_id))
            return picture, await self.pictures.rendition(picture, profile)

        results = await asyncio.gather(*(ready(image) for image in images), return_exceptions=True)
        for index, result in enumerate(results):
            self.telemetry.picture(result.code if isinstance(result, GatewayError) else "ready")
            if isinstance(result, BaseException):
                if isinstance(result, GatewayError) and result.param is None:
                    result.param = f"images[{index}]"
                raise result
        return tuple(result for result in results if not isinstance(result, BaseException))

    async def _engine_request(
        self, request: ChatRequest, session: Session, model: ModelInfo, pictures: tuple[tuple[Picture, Rendition], ...], hold: Hold
    ) -> EngineRequest:
        """The whole conversation with the bytes of its pictures. A new picture's id may not be known yet (its canonical form is still
        being encoded), so it goes by its place in the question here."""
        renditions = {f"new:{index}": rendition for index, (_, rendition) in enumerate(pictures)}
        names = iter(renditions.copy())
        parts = tuple(part if isinstance(part, TextPart) else ImagePart(next(names)) for part in request.parts)
        messages = session.messages(parts)
        for image_id in dict.fromkeys(image_id for message in messages for image_id in message.image_ids):
            if image_id not in renditions:
                picture = hold(self.pictures.get(image_id))
                renditions[image_id] = await self.pictures.rendition(picture, profile_for(model.facts))
        return EngineRequest(
            model=model.name,
            messages=messages,
            options=request.options.over(self.pins(model.name)),
            format=request.format,
            keep_alive=self.settings.keep_alive if request.keep_alive is None else request.keep_alive,
            renditions=renditions,
        )

    async def store(self, upload: Upload, model: str | None) -> tuple[str, Picture, Rendition | None]:
        """Takes a picture in without a question: its id, itself, and what `model` (None: the default, if it can see) gets of it.

        Raises ImageError, ModelNotFound (only for a model that was named), StorageFull.
        """
        info = await self.pool.resolve(model) if model else self.pool.state.default.model
        profile = profile_for(info.facts) if info and info.vision else None
        with self._holding() as hold:
            try:
                picture = hold(await self.pictures.add(upload.data, profile, name="image"))
                image_id = await picture.stored()
            except GatewayError as error:
                self.telemetry.picture(error.code)
                raise
            self.telemetry.picture("ready")
            return image_id, picture, await self.pictures.rendition(picture, profile) if profile else None

    async def rendition(self, picture: Picture, model: str) -> Rendition:
        """What `model` gets of a picture. Raises ModelNotFound, ModelLacksVision."""
        info = await self.pool.resolve(model)
        if not info.vision:
            raise ModelLacksVision(f"{info.name} can't see pictures.", param="model")
        return await self.pictures.rendition(picture, profile_for(info.facts))

    def pins(self, model: str) -> Options:
        """The runner options that the settings pin for a model."""
        for name, pins in self.settings.models.items():
            if same_name(name, model):
                return Options(num_ctx=pins.num_ctx, num_gpu=pins.num_gpu)
        return Options()

    def _keep(self, answering: Answering, turn: Turn) -> None:
        """Adds the turn to its session, if it has one. Raises SessionDeleted."""
        if (session_id := answering.request.session_id) is None:
            return
        changes = {"model": answering.model.name, "engine": answering.model.engine}
        if answering.request.system is not None:
            changes["system"] = answering.request.system
        self.sessions.record(session_id, turn, tuple(picture for picture, _ in answering.pictures), **changes)

    async def _keep_partial(self, answering: Answering, status: TurnStatus, error_code: str | None = None) -> None:
        """Keeps the question and what came of the answer; nothing where the session or a picture is gone."""
        if answering.request.session_id is None:
            return
        with suppress(GatewayError):
            self._keep(answering, answering.turn(await answering.parts(), status, error_code=error_code))

    def _count(self, answering: Answering, outcome: str, finish: Finish | None = None) -> None:
        end = finish or Finish("stop")
        self.telemetry.answer(
            answer_id=answering.id,
            engine=answering.model.engine,
            model=answering.model.name,
            outcome=outcome,
            usage=end.usage,
            timings=answering.timings(end.timings),
        )

    @contextmanager
    def _holding(self) -> Iterator[Hold]:
        """Gives a function that keeps a picture from being evicted until the end of the block."""
        held: list[Picture] = []

        def hold(picture: Picture) -> Picture:
            self.pictures.hold(picture)
            held.append(picture)
            return picture

        try:
            yield hold
        finally:
            for picture in held:
                self.pictures.release(picture)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts a question from the first look at it to the end of its answer: `drain` waits for all of them."""
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            self._news.set()

    @contextmanager
    def _registered(self, answering: Answering) -> Iterator[None]:
        """Makes it known to whoever ends answers."""
        self._running[answering.id] = answering
        if self._ending:
            answering.interrupt.interrupt(ShuttingDown())
        try:
            yield
        finally:
            del self._running[answering.id]
            answering.interrupt.close()

    def delete_session(self, session_id: str) -> None:
        """Deletes it; a running answer in it ends with SessionDeleted. Raises SessionNotFound."""
        self.sessions.delete(session_id)
        for answering in self._running.values():
            if answering.request.session_id == session_id:
                answering.interrupt.interrupt(SessionDeleted())

    def close_door(self) -> None:
        """No new question from now on (safe in a signal handler)."""
        self.closing = True

    def hurry(self) -> None:
        """Ends the patience of `drain` (safe in a signal handler)."""
        self._hurried = True
        self._news.set()

    async def drain(self) -> None:
        """Waits for running answers, at most `shutdown_grace` seconds; then each ends with ShuttingDown."""
        self.close_door()
        await self._until(lambda: self._hurried or not self._asking, self.settings.shutdown_grace)
        self._ending = True
        for answering in list(self._running.values()):
            answering.interrupt.interrupt(ShuttingDown())
        await self._until(lambda: not self._asking, 1)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
