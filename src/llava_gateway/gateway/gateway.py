"""The use case: one question goes from the API to the engine and its answer comes back. `Gateway.ask` shows that walk on one screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import replace

from llava_gateway.answers import Answer, AnswerEvent, Done, Queued
from llava_gateway.chat import ChatRequest, CompletionRequest, Embeddings, Finish, PromptProgress
from llava_gateway.engines.base import EngineName, ModelInfo
from llava_gateway.engines.installer import Installer
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import (
    ContextLengthExceeded,
    GatewayError,
    SessionDeleted,
    ShuttingDown,
    UpstreamIncomplete,
    UpstreamTimeout,
)
from llava_gateway.fetching.fetcher import Fetcher
from llava_gateway.gateway.answer import Answering
from llava_gateway.gateway.calibration import Calibration
from llava_gateway.gateway.continuation import asking_for_the_rest, continued_turn, resumed
from llava_gateway.gateway.engine_requests import EngineRequests
from llava_gateway.gateway.files import connections_limit
from llava_gateway.gateway.forecast import Forecast, forecast
from llava_gateway.gateway.holding import Hold, holding
from llava_gateway.gateway.image_requests import ImageRequests
from llava_gateway.gateway.links import Links
from llava_gateway.gateway.memory_cap import MemoryCap
from llava_gateway.gateway.news import News
from llava_gateway.gateway.prompt import Prompt, PromptBuilder
from llava_gateway.gateway.queue import EngineQueue, Ticket
from llava_gateway.gateway.read_ahead import OFF, SESSION_BUSY, ReadAhead, ReadAheadResult
from llava_gateway.gateway.running import RunningAnswers
from llava_gateway.gateway.summary import Summariser
from llava_gateway.images.info import ImageInfo
from llava_gateway.images.store import ImageStore
from llava_gateway.journal.journal import Journal
from llava_gateway.notes import note
from llava_gateway.options import Options
from llava_gateway.parts import Link, Upload
from llava_gateway.sessions.memory import SessionStore
from llava_gateway.sessions.search import Found, search
from llava_gateway.sessions.session import Session, new_id
from llava_gateway.sessions.turn import Turn, TurnStatus
from llava_gateway.settings import Settings
from llava_gateway.telemetry import Telemetry


class Gateway:
    """Answers questions about images.

    Args:
        settings: limits and pins.
        pool: the engines.
        images: the image store.
        sessions: the conversations.
        telemetry: the metrics.
        journal: where sessions are kept on disk; None if nowhere.
        fetcher: fetches images from addresses; None for the usual one.
    """

    def __init__(
        self,
        settings: Settings,
        pool: EnginePool,
        images: ImageStore,
        sessions: SessionStore,
        telemetry: Telemetry,
        journal: Journal | None = None,
        fetcher: Fetcher | None = None,
    ) -> None:
        self.settings = settings
        self.pool = pool
        self.images = images
        self.sessions = sessions
        self.news = News()
        sessions.on_gone = self._end_session
        sessions.on_change = self.news.session_changed
        pool.on_change = self.news.engines_changed
        self.telemetry = telemetry
        self.journal = journal
        self.installer = Installer(settings, pool)
        self.links = Links(settings, images, fetcher)
        self.prompt_builder = PromptBuilder(settings, pool, images, self.links, telemetry)
        most = connections_limit()
        queue_size = min(settings.queue_size, max(0, most - sum(engine.slots for engine in pool.engines)))
        self.queues: dict[EngineName, EngineQueue] = {
            engine.name: EngineQueue(min(engine.slots, max(1, most)), queue_size=queue_size, queue_timeout=settings.queue_timeout)
            for engine in pool.engines
        }
        self.summariser = Summariser(self.prompt_builder, self.queues, sessions)
        self.calibration = Calibration(pool, self.prompt_builder.fitter, self.prompt_builder.attachments)
        self.reading_ahead = ReadAhead(settings, self.prompt_builder, self.calibration, self.queues, telemetry)
        self.engine_requests = EngineRequests(settings, pool, self.prompt_builder, self.queues)
        self.answers = RunningAnswers(self.ask, settings.abandoned_timeout, self.news.running_changed)
        self.memory = MemoryCap.of(settings)
        self.image_requests = ImageRequests(pool, images, self.links, self.prompt_builder.attachments, telemetry, self.memory)
        self._running: dict[str, Answering] = {}
        self._asking = 0
        self._news = asyncio.Event()  # for `drain`: a request has ended, or the grace period has
        self.closing = False
        self._hurried = False
        self._ending = False

    @asynccontextmanager
    async def ask(self, request: ChatRequest) -> AsyncIterator[AsyncGenerator[AnswerEvent]]:
        """Answer a request: prepare the images, fit the conversation, wait in the queue, ask the engine, record the turn.

        Errors in the request are raised on entering, errors in the answer by the iterator. The last event is Done. Leaving early
        stops the engine; the session keeps what was generated so far.
        """
        started = time.monotonic()
        if self.closing:
            raise ShuttingDown
        self.memory.check(images=request.brings_images)
        with self._counted(), self._session(request) as session, holding(self.images) as hold:
            if continued := continued_turn(request, session):
                request, session = resumed(request, continued), session.before_last()
            model = await self.pool.choose(request.model, session.model, session.engine)
            queue = self.queues[model.engine]
            queue.check_room()
            prompt = await self.prompt_builder.build(request, session, model, hold)
            self._check_room(request, session, prompt)
            if continued and not await self.pool.engine(model.engine).continues(prompt.engine_request):
                request = asking_for_the_rest(request)
                prompt = await self.prompt_builder.build(request, session, model, hold)
            answering = Answering(request, prompt, started, continued)
            with queue.enter() as ticket, self._registered(answering):
                async with aclosing(self._recorded(answering, self._events(answering, ticket, hold))) as events:
                    yield events
        self.summariser.start_if_due(request.session_id, answering.prompt)

    async def answer(self, request: ChatRequest) -> Answer:
        """Return the complete answer to a request, for callers that need no events. Raises GatewayError."""
        async with self.ask(request) as events:
            async for event in events:
                if isinstance(event, Done):
                    return event.answer
        raise UpstreamIncomplete

    async def embed(
        self, texts: tuple[str, ...], model: str | None = None, *, keep_alive: str | int | None = None
    ) -> tuple[ModelInfo, Embeddings]:
        """Embed the texts with `model` (None: the default). Returns the model and one vector for each text.

        Raises ModelNotFound, ModelLacksEmbeddings, ContextLengthExceeded, Overloaded, ShuttingDown, UpstreamError.
        """
        if self.closing:
            raise ShuttingDown
        self.memory.check(images=False)
        with self._counted():
            return await self.engine_requests.embed(texts, model, keep_alive)

    async def complete(self, request: CompletionRequest, images: Sequence[Upload | Link] = ()) -> AsyncGenerator[AnswerEvent]:
        """Yield the events of what the model writes after a prompt with images, which is no conversation; the last one is Done.

        Raises ModelNotFound, ModelLacksVision, InvalidRequest, ImageError, Overloaded, ShuttingDown, UpstreamError.
        """
        if self.closing:
            raise ShuttingDown
        self.memory.check(images=bool(images))
        with self._counted():
            model = await self.pool.resolve(request.model)
            files = await self.image_requests.single_files(images, model)
            outcome, end = "cancelled", Answer(f"answer_{new_id()}", model.name, model.engine, None, "", "stop")
            try:
                async with aclosing(self.engine_requests.complete(replace(request, images=files))) as events:
                    async for event in events:
                        if isinstance(event, Done):
                            outcome, end = "complete", event.answer
                        yield event
            except GatewayError as error:
                outcome = error.code
                raise
            finally:
                self.telemetry.answer(
                    answer_id=end.id, engine=end.engine, model=end.model, outcome=outcome, usage=end.usage, timings=end.timings
                )

    async def load(self, model: str, options: Options = Options(), *, keep_alive: str | int | None = None) -> None:
        """Load a model before the first question to it. Raises ModelNotFound, ModelLoadFailed, Overloaded, ShuttingDown, UpstreamError."""
        if self.closing:
            raise ShuttingDown
        with self._counted():
            await self.engine_requests.load(model, options, keep_alive)
        await self.pool.refresh()

    async def unload(self, model: str) -> None:
        """Free the memory of a model once its running answers have ended. Raises ModelNotFound, UpstreamError."""
        info = await self.pool.resolve(model)
        await self.pool.engine(info.engine).unload_model(info.name)
        await self.pool.refresh()

    async def read_ahead(self, request: ChatRequest, *, wait: bool = True) -> ReadAheadResult:
        """Let the engine read ahead the beginning of a question like this one. Without `wait`, returns when reading has begun.

        The session is not busy meanwhile. Raises errors in the request, and what the engine raises.
        """
        if self.closing:
            raise ShuttingDown
        self.memory.check(images=request.brings_images)
        if not self.settings.read_ahead:
            return self.reading_ahead.not_started(OFF)
        if request.session_id is not None and self.sessions.is_running(request.session_id):
            return self.reading_ahead.not_started(SESSION_BUSY)

        async def prepare() -> Prompt:
            now = (Session() if request.session_id is None else self.sessions.get(request.session_id)).under(request)
            with holding(self.images) as hold:
                model = await self.pool.choose(request.model, now.model, now.engine)
                return await self.prompt_builder.build(request, now, model, hold)

        return await self.reading_ahead.read(await prepare(), request.session_id, prepare, wait=wait)

    async def _events(self, answering: Answering, ticket: Ticket, hold: Hold) -> AsyncGenerator[AnswerEvent | Finish]:
        """Yield the events from the queue to the engine's last event, which is Finish. Raises GatewayError."""
        wait = answering.interrupt.wait
        while (position := await wait(ticket.position())) is not None:
            yield Queued(position)
        answering.admitted_at = time.monotonic()
        engine = self.pool.engine(answering.model.engine)
        if loading := await wait(engine.loading(answering.engine_request), self.settings.load_timeout):
            answering.note_loading(loading)
            yield loading

        def limit() -> float:
            return answering.limit(self.settings, reports_progress=engine.reports_progress)

        async with AsyncExitStack() as stack:
            try:
                events = await wait(stack.enter_async_context(engine.chat(answering.engine_request)), limit())
            except ContextLengthExceeded as refusal:
                answering.replace_prompt(await self.prompt_builder.fit_again(answering.request, answering.prompt, refusal, hold))
                events = await wait(stack.enter_async_context(engine.chat(answering.engine_request)), limit())
            answering.accepted = True
            for name in (*engine.ignored_options(answering.request.options), *engine.ignored_fields(answering.engine_request)):
                answering.warnings.append(note("option_ignored", option=name))
            if answering.has_prefill and not await wait(engine.continues(answering.engine_request)):
                answering.warnings.append(note("option_ignored", option="prefill"))
            if answering.request.counted and not engine.reports_progress:
                yield PromptProgress(0, await wait(self.prompt_builder.tokens(answering.prompt)))
            while event := await wait(anext(events, None), limit()):
                if isinstance(event, Finish):
                    yield event
                    return
                if shown := answering.add(event):
                    yield shown
            raise UpstreamIncomplete

    async def _recorded(self, answering: Answering, events: AsyncGenerator[AnswerEvent | Finish]) -> AsyncGenerator[AnswerEvent]:
        """Forward the events and record the outcome in the session and the metrics, in every case."""
        session_id = answering.request.session_id
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
            self.prompt_builder.fitter.forget_growth(answering.model.key, answering.warnings)
            turn_id = None
            if session_id is not None:
                turn_id = self._keep(answering, session_id, answering.turn(parts, "complete", finish), finish.usage.tokens)
        except GatewayError as error:
            # A question that the engine never accepted is not kept: the session stays as it was, and the user can send it again. A timeout
            # is no refusal: Ollama sends nothing at all before its first word, so a question that timed out is kept.
            if answering.accepted or isinstance(error, UpstreamTimeout):
                await self._keep_partial(answering, "incomplete", error.code)
            self._count(answering, error.code)
            raise
        except Exception:  # a bug; keep what was generated
            await self._keep_partial(answering, "incomplete", "internal_error")
            self._count(answering, "internal_error")
            raise
        except BaseException:  # the client left: GeneratorExit, CancelledError
            await asyncio.shield(self._keep_partial(answering, "cancelled", self._cancelled_by(answering.request)))
            self._count(answering, "cancelled")
            raise
        self._count(answering, "complete", finish)
        if session_id is not None:
            await self.sessions.wait_saved(session_id)
        yield Done(answering.whole(finish, parts, turn_id))

    @contextmanager
    def _session(self, request: ChatRequest) -> Iterator[Session]:
        """Yield the session of the request, pinned for this turn. A request without a session gets a fresh one that is not stored."""
        if request.session_id is None:
            yield Session().under(request)
            return
        with self.sessions.turn(request.session_id, request.text_bytes, adds=request.continues is None) as session:
            yield session.under(request)

    async def count_tokens(self, request: ChatRequest) -> Prompt:
        """Return the prompt that `ask` would send, with its tokens counted. The engine does no work and the session does not change.

        Raises what `ask` would raise, except ContextLengthExceeded.
        """
        session = self.sessions.get(request.session_id) if request.session_id else Session()
        with holding(self.images) as hold:
            session = session.under(request)
            model = await self.pool.choose(request.model, session.model, session.engine)
            return await self.prompt_builder.build(request, session, model, hold, exactly=True)

    def forecast(self, prompt: Prompt) -> Forecast:
        """Forecast what is dropped next from the conversation of a counted prompt."""
        return forecast(prompt, self.pool.engine(prompt.model.engine), self.prompt_builder.fitter.scale(prompt.model.key))

    async def import_session(self, session: Session, images: Mapping[str, bytes]) -> Session:
        """Store an imported session. `images` holds the image files by the ids that the session uses.

        The images are stored like any others and may get other ids. If any part is rejected, nothing is kept. Raises ImageError,
        SessionFull, StorageFull, Overloaded.
        """
        self.memory.check(images=bool(images))
        self.sessions.check(session, sum(map(len, images.values())))
        ids: dict[str, str] = {}
        files: dict[str, ImageInfo] = {}
        with holding(self.images) as hold:
            for image_id, data in images.items():
                image = hold(await self.images.add(data, place=("image", image_id)))
                ids[image_id], files[image_id] = await image.stored(), image.info
            return self.sessions.create(await asyncio.to_thread(session.with_images, ids, files))

    async def search(self, text: str) -> list[Found]:
        """Find sessions by words in their titles, questions and answers; the most recently changed first. Raises StorageFailed."""
        found = await asyncio.to_thread(search, self.sessions.only_in_memory(), text)
        on_disk = await self.journal.search(text) if self.journal else []
        return sorted([*found, *on_disk], key=lambda each: each[0].updated_at, reverse=True)

    def _check_room(self, request: ChatRequest, session: Session, prompt: Prompt) -> None:
        """Raise StorageFull if the session's images of this question would have no room on disk."""
        if request.session_id is not None:
            self.sessions.check_room(session, [each.image for each in prompt.attachments])

    def _keep(self, answering: Answering, session_id: str, turn: Turn, tokens: int | None = None) -> int:
        """Add the turn to its session and update the session. Returns the turn's id. Raises SessionDeleted.

        Args:
            tokens: those of the whole conversation now; None if unknown.
        """
        request = answering.request

        def updated(session: Session) -> Session:
            return replace(
                session,
                model=answering.model.name,
                engine=answering.model.engine,
                defaults=session.defaults.under(request),
                prompt_state=replace(session.prompt_state, window=answering.prompt.window, tokens=tokens),
            )

        images = tuple(each.image for each in answering.attachments)
        return self.sessions.record(session_id, turn, images, updated, after=request.after).turns[-1].id

    async def _keep_partial(self, answering: Answering, status: TurnStatus, error_code: str | None = None) -> None:
        """Keep the question and what was generated of the answer. Does nothing if the session or an image is gone."""
        session_id = answering.request.session_id
        if session_id is None or not answering.has_new_content:
            return
        with suppress(GatewayError):
            self._keep(answering, session_id, answering.turn(await answering.parts(), status, error_code=error_code))
            await self.sessions.wait_saved(session_id)

    def _cancelled_by(self, request: ChatRequest) -> str | None:
        """Return the reason why an answer ended early; None if a person stopped it."""
        running = self.answers.get(request.session_id) if request.session_id else None
        reason = (running and running.reason) or "client_left"
        return None if reason == "answer_cancelled" else reason

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
    def _counted(self) -> Iterator[None]:
        """Count a request from its first check to the end of its answer. `drain` waits for all of them."""
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            self._news.set()

    @contextmanager
    def _registered(self, answering: Answering) -> Iterator[None]:
        """Register a running answer, so that it can be ended."""
        self._running[answering.id] = answering
        if self._ending:
            answering.interrupt.interrupt(ShuttingDown())
        try:
            yield
        finally:
            del self._running[answering.id]
            answering.interrupt.close()

    def _end_session(self, session_id: str, undo: float) -> None:
        """End all work for a session that is gone: its answer with SessionDeleted, its read-ahead and its summary."""
        if undo:  # free its memory then, even if no further request comes
            asyncio.get_running_loop().call_later(undo + 0.1, self.sessions.expire)
        self.reading_ahead.end_session(session_id)
        self.summariser.end_session(session_id)
        for answering in self._running.values():
            if answering.request.session_id == session_id:
                answering.interrupt.interrupt(SessionDeleted())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the image workers and the engines for the block, once. Leaving drains the gateway (at once after an error) and ends them
        all.

        Errors on the way in or out are raised after everything that was started has ended.
        """
        async with AsyncExitStack() as stack:
            if self.journal:
                stack.push_async_callback(self.journal.aclose)
                self.journal.start()
            stack.push_async_callback(self.sessions.aclose)
            stack.push_async_callback(self.images.aclose)
            await self.images.start()
            stack.push_async_callback(self.pool.aclose)
            await self.pool.start()
            stack.push_async_callback(self.installer.aclose)
            stack.push_async_callback(self.drain)
            try:
                yield
            except BaseException:
                self.end_grace_period()
                raise

    def stop_accepting(self) -> None:
        """Accept no new requests from now on (safe in a signal handler)."""
        self.closing = True

    def end_grace_period(self) -> None:
        """End the grace period of `drain` (safe in a signal handler)."""
        self._hurried = True
        self._news.set()

    async def drain(self) -> None:
        """Wait for running answers, at most `shutdown_grace` seconds, then end the rest with ShuttingDown.

        Ends model downloads at once: they take long, and continue next time where they stopped.
        """
        self.stop_accepting()
        self.news.close()
        self.installer.close()
        await self.reading_ahead.aclose()
        await self.summariser.aclose()
        await self._until(lambda: self._hurried or not self._asking, self.settings.shutdown_grace)
        self._ending = True
        for answering in list(self._running.values()):
            answering.interrupt.interrupt(ShuttingDown())
        self.engine_requests.end(ShuttingDown())
        await self._until(lambda: not self._asking, 1)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
