"""The use case: one question walks from the door to the engine and back. `Gateway.ask` is that walk, on one screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import replace

from llava_gateway.answers import Answer, AnswerEvent, Done, Queued
from llava_gateway.chat import ChatRequest, Embeddings, Finish, Rendition, Sight, Upload
from llava_gateway.engines.base import EngineName, ModelInfo
from llava_gateway.engines.installer import Installer
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import (
    ContextLengthExceeded,
    GatewayError,
    ModelLacksVision,
    SessionDeleted,
    ShuttingDown,
    UpstreamIncomplete,
    UpstreamTimeout,
)
from llava_gateway.gateway.answer import Answering
from llava_gateway.gateway.attachments import Hold, Seen
from llava_gateway.gateway.calibration import Calibration
from llava_gateway.gateway.embedding import Embedder
from llava_gateway.gateway.forecast import Forecast, forecast
from llava_gateway.gateway.prompt import Prompt, PromptBuilder
from llava_gateway.gateway.queue import EngineQueue, Ticket, connections_limit
from llava_gateway.gateway.read_ahead import OFF, SESSION_BUSY, ReadAhead, ReadAheadResult
from llava_gateway.gateway.summary import Summariser
from llava_gateway.images.info import Degrees, ImageInfo
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.store import ImageStore, StoredImage
from llava_gateway.notes import note
from llava_gateway.sessions.memory import SessionStore
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.turn import Turn, TurnStatus
from llava_gateway.settings import Settings
from llava_gateway.telemetry import Telemetry


class Gateway:
    """Answers questions about images.

    Args:
        settings: limits and pins.
        pool: the engines. images: the one ingest and store. sessions: the conversations. telemetry: figures.
    """

    def __init__(self, settings: Settings, pool: EnginePool, images: ImageStore, sessions: SessionStore, telemetry: Telemetry) -> None:
        self.settings = settings
        self.pool = pool
        self.images = images
        self.sessions = sessions
        sessions.on_gone = self._end_session
        self.telemetry = telemetry
        self.installer = Installer(settings, pool)
        self.prompt_builder = PromptBuilder(settings, pool, images, telemetry)
        queue_size = min(settings.queue_size, max(0, connections_limit() - sum(engine.slots for engine in pool.engines)))
        self.queues: dict[EngineName, EngineQueue] = {
            engine.name: EngineQueue(engine.slots, queue_size=queue_size, queue_timeout=settings.queue_timeout) for engine in pool.engines
        }
        self.summariser = Summariser(self.prompt_builder, self.queues, sessions, self._holding)
        self.calibration = Calibration(pool, self.prompt_builder.fitter, self.prompt_builder.attachments)
        self.reading_ahead = ReadAhead(settings, self.prompt_builder, self.calibration, self.queues, telemetry)
        self.embedder = Embedder(settings, pool, self.prompt_builder, self.queues)
        self._running: dict[str, Answering] = {}
        self._asking = 0
        self._news = asyncio.Event()  # for `drain`: someone has ended, or there is no more time
        self.closing = False
        self._hurried = False
        self._ending = False

    @asynccontextmanager
    async def ask(self, request: ChatRequest) -> AsyncIterator[AsyncGenerator[AnswerEvent]]:
        """The walk: the images, the conversation, what of it fits, the queue, the engine, the record.

        What is wrong with the request is raised on entering, and what goes wrong with the answer by the events; the last of these is Done.
        Leaving early stops the engine; what came of the answer is kept in the session.
        """
        started = time.monotonic()
        if self.closing:
            raise ShuttingDown
        with self._counted(), self._session(request) as session, self._holding() as hold:
            model = await self.pool.choose(request.model, session.model, session.engine)
            queue = self.queues[model.engine]
            queue.check_room()
            prompt = await self.prompt_builder.build(request, session, model, hold)
            answering = Answering(request, prompt, started)
            with queue.enter() as ticket, self._registered(answering):
                async with aclosing(self._recorded(answering, self._events(answering, ticket, hold))) as events:
                    yield events
        self.summariser.after(request.session_id, answering.prompt)

    async def answer(self, request: ChatRequest) -> Answer:
        """The whole answer to a request, for those who do not watch it come. Raises GatewayError."""
        async with self.ask(request) as events:
            async for event in events:
                if isinstance(event, Done):
                    return event.answer
        raise UpstreamIncomplete

    async def embed(
        self, texts: tuple[str, ...], model: str | None = None, *, keep_alive: str | int | None = None
    ) -> tuple[ModelInfo, Embeddings]:
        """A vector for each text, and the model (None: the default) that made them.

        Raises ModelNotFound, ModelLacksEmbeddings, ContextLengthExceeded, Overloaded, ShuttingDown, UpstreamError.
        """
        if self.closing:
            raise ShuttingDown
        with self._counted():
            return await self.embedder.embed(texts, model, keep_alive)

    async def read_ahead(self, request: ChatRequest, *, wait: bool = True) -> ReadAheadResult:
        """Lets the engine read ahead what a question like this one begins with; without `wait` it only begins. No session is busy with it.

        Raises what is wrong with the request, and what the engine raises.
        """
        if self.closing:
            raise ShuttingDown
        if not self.settings.read_ahead:
            return self.reading_ahead.told(OFF)
        if request.session_id is not None and self.sessions.is_running(request.session_id):
            return self.reading_ahead.told(SESSION_BUSY)

        async def prepare() -> Prompt:
            now = (Session() if request.session_id is None else self.sessions.get(request.session_id)).under(request)
            with self._holding() as hold:
                model = await self.pool.choose(request.model, now.model, now.engine)
                return await self.prompt_builder.build(request, now, model, hold)

        return await self.reading_ahead.read(await prepare(), request.session_id, prepare, wait=wait)

    async def _events(self, answering: Answering, ticket: Ticket, hold: Hold) -> AsyncGenerator[AnswerEvent | Finish]:
        """From the queue to the engine's last event, which is Finish. Raises GatewayError."""
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
            try:
                events = await wait(stack.enter_async_context(engine.chat(answering.engine_request)), limit())
            except ContextLengthExceeded as refusal:
                answering.goes_on_with(await self.prompt_builder.fitted_anew(answering.request, answering.prompt, refusal, hold))
                events = await wait(stack.enter_async_context(engine.chat(answering.engine_request)), limit())
            answering.accepted = True
            for name in (*engine.ignored_options(answering.request.options), *engine.ignored_fields(answering.engine_request)):
                answering.warnings.append(note("option_ignored", option=name))
            while event := await wait(anext(events, None), limit()):
                if isinstance(event, Finish):
                    yield event
                    return
                if shown := answering.add(event):
                    yield shown
            raise UpstreamIncomplete

    async def _recorded(self, answering: Answering, events: AsyncGenerator[AnswerEvent | Finish]) -> AsyncGenerator[AnswerEvent]:
        """Forward the events and record the outcome in the session and the metrics, however it ends."""
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Finish):
                        finish = event
                        break
                    yield event
            parts = await answering.parts()
            answering.warnings += await self.calibration.learn(answering.prompt, finish)
            answering.warnings += answering.cut(finish)
            self.prompt_builder.fitter.told(answering.model.key, answering.warnings)
            turn_id = self._keep(answering, answering.turn(parts, "complete", finish))
        except GatewayError as error:
            # What the engine never accepted is not kept: the session stays as it was, and the person can send it again. Silence is no
            # refusal: Ollama says nothing at all before its first word, so a question that it was given and that timed out is kept.
            if answering.accepted or isinstance(error, UpstreamTimeout):
                await self._keep_partial(answering, "incomplete", error.code)
            self._count(answering, error.code)
            raise
        except Exception:  # a bug; what there is, is kept
            await self._keep_partial(answering, "incomplete", "internal_error")
            self._count(answering, "internal_error")
            raise
        except BaseException:  # the client left: GeneratorExit, CancelledError
            await asyncio.shield(self._keep_partial(answering, "cancelled"))
            self._count(answering, "cancelled")
            raise
        self._count(answering, "complete", finish)
        yield Done(answering.whole(finish, parts, turn_id))

    @contextmanager
    def _session(self, request: ChatRequest) -> Iterator[Session]:
        """The session of the request, pinned for this turn; without one, a fresh value that nobody keeps."""
        if request.session_id is None:
            yield Session().under(request)
            return
        with self.sessions.turn(request.session_id, request.text_bytes) as session:
            yield session.under(request)

    async def count_tokens(self, request: ChatRequest) -> Prompt:
        """What `ask` would send, with its tokens counted; nothing of the engine is spent and the session stays as it is.

        Raises what `ask` would, but for ContextLengthExceeded.
        """
        session = self.sessions.get(request.session_id) if request.session_id else Session()
        with self._holding() as hold:
            session = session.under(request)
            model = await self.pool.choose(request.model, session.model, session.engine)
            return await self.prompt_builder.build(request, session, model, hold, exactly=True)

    def forecast(self, prompt: Prompt) -> Forecast:
        """What a counted question's conversation is made of, and what would go next."""
        return forecast(prompt, self.pool.engine(prompt.model.engine), self.prompt_builder.fitter.scale(prompt.model.key))

    async def store(self, upload: Upload, model: str | None) -> tuple[str, StoredImage, Rendition | None]:
        """Takes an image in without a question: its id, itself, and what `model` (None: the default, if it can see) gets of it.

        Raises ImageError, ModelNotFound (only for a model that was named), StorageFull.
        """
        profile = await self._profile(model)
        with self._holding() as hold:
            try:
                image = hold(await self.images.add(upload.data, profile, place=("image",)))
                image_id = await image.stored()
            except GatewayError as error:
                self.telemetry.image(error.code)
                raise
            self.telemetry.image("ready")
            return image_id, image, await self.images.rendition(image, profile) if profile else None

    async def rotated(self, image_id: str, degrees: Degrees, model: str | None) -> tuple[str, StoredImage, Rendition | None]:
        """A stored image rotated clockwise, as `store` gives one.

        Raises ImageNotFound, ImageError, ModelNotFound (only for a model that was named), StorageFull, Overloaded.
        """
        profile = await self._profile(model)
        with self._holding() as hold:
            image = hold(await self.images.rotated(hold(self.images.get(image_id)), degrees))
            return await image.stored(), image, await self.images.rendition(image, profile) if profile else None

    async def _profile(self, model: str | None) -> VisionProfile | None:
        """What `model` (None: the default) does with images; None where it can't see any. Raises ModelNotFound for one that was named."""
        info = await self.pool.resolve(model) if model else self.pool.state.default.model
        return self.prompt_builder.attachments.profile(info) if info and info.vision else None

    async def take_in(self, session: Session, images: Mapping[str, bytes]) -> Session:
        """Keeps a session from elsewhere, whose images are files by the ids it has for them. They are taken in like any other, and
        may get other ids by that. Nothing of it stays where any of it can't be taken.

        Raises ImageError, SessionFull, StorageFull, Overloaded.
        """
        self.sessions.check(session, sum(map(len, images.values())))
        ids: dict[str, str] = {}
        files: dict[str, ImageInfo] = {}
        with self._holding() as hold:
            for image_id, data in images.items():
                image = hold(await self.images.add(data, place=("image", image_id)))
                ids[image_id], files[image_id] = await image.stored(), image.info
            return self.sessions.create(session.with_images(ids, files))

    async def seen(self, image: StoredImage, model: str | None, sight: Sight) -> Seen:
        """What a model (None: the default) sees of an image.

        Raises ModelNotFound, ModelLacksVision, ImageError, StorageFull, Overloaded.
        """
        info = await self.pool.resolve(model)
        if not info.vision:
            raise ModelLacksVision("model_lacks_vision_named", values={"model": info.name}).at("model")
        return await self.prompt_builder.attachments.seen(image, info, sight)

    def _keep(self, answering: Answering, turn: Turn) -> int | None:
        """Adds the turn to its session, if it has one, with what it changed there: its id. Raises SessionDeleted."""
        request = answering.request
        if request.session_id is None:
            return None

        def told(session: Session) -> Session:
            tokens = turn.tokens if turn.status == "complete" else None
            return replace(
                session,
                model=answering.model.name,
                engine=answering.model.engine,
                defaults=session.defaults.under(request),
                prompt_state=replace(session.prompt_state, window=answering.prompt.window, tokens=tokens),
            )

        images = tuple(each.image for each in answering.attachments)
        return self.sessions.record(request.session_id, turn, images, told, after=request.after).turns[-1].id

    async def _keep_partial(self, answering: Answering, status: TurnStatus, error_code: str | None = None) -> None:
        """Keeps the question and what came of the answer; nothing where the session or an image is gone."""
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
        """Gives a function that keeps an image from being evicted until the end of the block."""
        held: list[StoredImage] = []

        def hold(image: StoredImage) -> StoredImage:
            self.images.hold(image)
            held.append(image)
            return image

        try:
            yield hold
        finally:
            for image in held:
                self.images.release(image)

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

    def _end_session(self, session_id: str, undo: float) -> None:
        """End what works for a session that is gone: its answer, with SessionDeleted, and what is read ahead or summarised for it."""
        if undo:  # its memory is freed then even if nobody asks for anything any more
            asyncio.get_running_loop().call_later(undo + 0.1, self.sessions.expire)
        self.reading_ahead.end_session(session_id)
        self.summariser.end_session(session_id)
        for answering in self._running.values():
            if answering.request.session_id == session_id:
                answering.interrupt.interrupt(SessionDeleted())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the image workers and the engines for the block, once. Leaving drains the gateway (at once after an error) and ends them all.

        What fails on the way in or out is raised, after everything that was started has ended.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.images.aclose)
            await self.images.start()
            stack.push_async_callback(self.pool.aclose)
            await self.pool.start()
            stack.push_async_callback(self.installer.aclose)
            stack.push_async_callback(self.drain)
            try:
                yield
            except BaseException:
                self.hurry()
                raise

    def close_door(self) -> None:
        """No new question from now on (safe in a signal handler)."""
        self.closing = True

    def hurry(self) -> None:
        """Ends the patience of `drain` (safe in a signal handler)."""
        self._hurried = True
        self._news.set()

    async def drain(self) -> None:
        """Waits for running answers, at most `shutdown_grace` seconds; then each ends with ShuttingDown. Pulls end at once: they take long,
        and go on another time where they were."""
        self.close_door()
        self.installer.close()
        await self.reading_ahead.aclose()
        await self.summariser.aclose()
        await self._until(lambda: self._hurried or not self._asking, self.settings.shutdown_grace)
        self._ending = True
        for answering in list(self._running.values()):
            answering.interrupt.interrupt(ShuttingDown())
        self.embedder.end(ShuttingDown())
        await self._until(lambda: not self._asking, 1)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
