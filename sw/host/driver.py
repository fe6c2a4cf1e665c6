"""The driver: loads a model into a device and streams the tokens that it generates.

It sees a device through a ``Transport`` only, so a board, a simulated one and the emulated one are
driven by the same code.

It recovers from errors by itself where it can: a request gives the same tokens each time, so a
device that was reset is loaded again and the request retried. Tokens that have been yielded already
are compared.
"""

from collections.abc import Generator, Sequence
from os import PathLike

from trilight.hw.contract.protocol import WORD_BYTES, Command, Result
from trilight.hw.support.terminal import visible
from trilight.sw.errors import (
    DeviceError,
    LinkError,
    PromptError,
    TargetError,
    TrilightError,
    WrongDeviceError,
)
from trilight.sw.model.bundled import bundled_model, default_model_path
from trilight.sw.model.image import compile_image
from trilight.sw.model.model import Model
from trilight.sw.reference.sampler import temperature_to_fixed

from .generation import Generation, LastRun, Token, assign_sequences, check_requests
from .learnt import read_learnt, write_learnt
from .link import Link, Request
from .loader import RECOVERIES, Loader, Progress
from .responses import Identity, Status
from .session import Runs, SequenceState
from .transport import Transport
from .weight_crc import WeightCheck

__all__ = ["Board"]


class Board:
    """A device that runs one model.

    Parameters
    ----------
    transport : Transport
        Reaches the device; ``close`` closes it.

    Attributes
    ----------
    identity : Identity
    model : Model or None
        The model that was loaded last.
    last_run : LastRun or None
        Counters of the last generation, set when it ends or is stopped.

    Raises
    ------
    NoResponseError, WrongDeviceError
        No Trilight of this protocol version answers.
    """

    def __init__(self, transport: Transport) -> None:
        if not isinstance(transport, Transport):
            raise TargetError(f"a board is reached by a transport, not by {transport!r}; "
                              "trilight.open_board opens one by its name")
        self.transport = transport
        self.model: Model | None = None
        self.last_run: LastRun | None = None
        self._link = Link(transport)
        self._generation = 0
        self._closed = False
        self.identity = self._identify()
        self._check = WeightCheck(
            self._link, WORD_BYTES * self.identity.device.packing.word_units)
        self._runs = Runs(self._link, self.identity.device)
        self._loader = Loader(self._link, self._runs, self._check)
        self.stop()

    @property
    def repeats(self) -> int:
        """Requests sent again so far."""
        return self._link.repeats

    @property
    def damaged(self) -> int:
        """Frames from the device that were dropped so far."""
        return self._link.damaged

    @property
    def resident(self) -> bool:
        """True if the board had the weights of the model that was loaded last.

        After a boot from flash, or from a former host.
        """
        return self._loader.resident

    def _identify(self) -> Identity:
        # Sequence number 0 makes the device forget the last RUN of a former host.
        response = self._link.request(Request(Command.IDENTIFY), sequence=0)
        if response.result != Result.OK:
            raise WrongDeviceError(f"{self.transport.name} does not know IDENTIFY (result "
                                   f"{response.result}); choose another port")
        return Identity.parse(response.payload, self.transport.name)

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the device back; what it does goes on. A second time does nothing."""
        self._closed = True
        self.transport.close()

    def _check_open(self) -> None:
        if self._closed:
            raise LinkError(f"the board {self.transport.name} has been closed; open it again")

    def __repr__(self) -> str:
        """One line: what it is, where, and what it holds."""
        device = self.identity.device
        clock = f", {self.identity.clock_hz / 1e6:g} MHz" if self.identity.clock_hz else ""
        held = f"model {self.model.sha256[:12]}" if self.model else "no model"
        end = ", closed" if self._closed else ""
        return visible(f"<Board {self.transport.name}{clock}, {device.weight_words:,} weight "
                       f"words, {device.sequences} sequences, {held}{end}>")

    def status(self) -> Status:
        """Return the state of the device."""
        self._check_open()
        return self._runs.status()

    def stop(self) -> Status:
        """End the run in progress, if any, after its token, and return how far it went."""
        self._check_open()
        return self._runs.stop()

    def forget(self) -> None:
        """Take what was loaded for lost, as it is when something else has written the memory."""
        self._generation += 1
        self.model = None
        self._loader.sound = False

    def load(self, source: Model | str | PathLike[str] | None = None, *, verify: bool = False,
             progress: Progress | None = None) -> None:
        """Load a model, unless it is the one that this board has already.

        A board whose weights are this model's by their CRC, after a boot from flash or a former
        host's load, gets only what it can not say that it has: program, biases, taps and tables,
        a twentieth of the bundled model. The device then says what it holds, by a CRC.

        Parameters
        ----------
        source : Model or path, optional
            The model or its file; the bundled one unless given.
        verify : bool
            Read the weights back too, to learn where a difference lies.
        progress : callable, optional
            Called with the 16-bit words moved so far and the words in all.

        Raises
        ------
        ModelFileError
            The file is missing or damaged; nothing was sent.
        ModelDoesNotFitError
            The model is too large; nothing was sent.
        DeviceError
            The device refuses a write, or holds other weights than were written.
        LinkError
            The board has been closed, or does not answer any more.
        """
        self._check_open()
        if source is None:
            # The largest that it holds; if it holds none, the error says how large one is.
            source = bundled_model(self.identity.device) or default_model_path()
        model = source if isinstance(source, Model) else Model.load(source)
        image = compile_image(model, self.identity.device)
        self._generation += 1
        if self.model is None or self.model.sha256 != model.sha256 or not self._loader.sound:
            known = self.model is not None
            self.model = None
            self._loader.load(image, verify=verify, keep=not known, progress=progress)
        self.model = model

    def _check_learns(self) -> None:
        self._check_open()
        if not self.identity.device.adapt_orders:
            raise PromptError(f"{self.transport.name} learns nothing while it reads; a board whose "
                              "device has adapt_orders does")

    def learnt(self) -> bytes:
        """Return what the device has learnt while it read, to be kept and restored.

        Raises
        ------
        PromptError
            The device learns nothing.
        DeviceError, LinkError
            As of ``generate``.
        """
        self._check_learns()
        self.stop()
        return read_learnt(self._link, self.identity.device)

    def restore_learnt(self, data: bytes | None = None) -> None:
        """Give the device what ``learnt`` returned; without it, make it forget.

        Raises
        ------
        PromptError
            The device learns nothing, or it learns another number of biases.
        DeviceError, LinkError
            As of ``generate``.
        """
        self._check_learns()
        self.stop()
        write_learnt(self._link, self.identity.device, data)

    def _restore(self, model: Model) -> None:
        """Load a model into a device that may have lost everything."""
        if self._identify() != self.identity:
            raise WrongDeviceError(f"{self.transport.name} is another device than before; open it "
                                   "again")
        self._loader.load(compile_image(model, self.identity.device))

    def generate(self, prompt: str, *, tokens: int, temperature: float = 0.8,
                 seed: int = 0, adapt: bool = False) -> Generator[Token, None, None]:
        """Generate tokens after a prompt, each yielded as it arrives.

        The device runs on by itself meanwhile. Closing the iterator, or an exception while it
        waits such as that of Ctrl-C, stops the device, which is then ready for the next run.

        Parameters
        ----------
        prompt : str
            At least one character, all of the model's vocabulary.
        tokens : int
            How many, at least 1.
        temperature : float
            0 takes the likeliest token always.
        seed : int
            Of the random generator, 0 ... 2**32 - 1. The same seed gives the same tokens.
        adapt : bool
            Add what the device has learnt to the logits, and let it learn from the prompt; see
            ``trilight.sw.reference.adaptation``. A generation that the device breaks off is then
            not tried again, as it would learn twice.

        Raises
        ------
        PromptError
            The prompt is empty, or a number is out of its range; or the device learns nothing.
        UnknownCharacterError
            The vocabulary lacks a character of the prompt.
        DeviceError
            No model is loaded, or the device does not do as it is told, however often.
        LinkError
            The device does not answer any more.
        WrongTokenError
            The device was reset, its weights have changed, or the like; and by then it had given
            out a token that is another one when it is generated again.
        """
        if adapt:
            self._check_learns()
        return self._begin([prompt], tokens, temperature, [seed], adapt=adapt)

    def generate_many(self, prompts: Sequence[str], *, tokens: int | Sequence[int],
                      temperature: float = 0.8, seeds: Sequence[int] | None = None,
                      ) -> Generator[Token, None, None]:
        """Generate tokens after several prompts, each yielded as it arrives.

        ``Token.prompt`` says which prompt a token goes on from. The device works on as many
        prompts at once as it has sequences, on the next ones when those are done. Each prompt gets
        the tokens that it would get alone. All else is as with ``generate``.

        Parameters
        ----------
        prompts : sequence of str
            At least one.
        tokens : int or sequence of int
            How many after each prompt.
        temperature : float
        seeds : sequence of int, optional
            One for each prompt; 0, 1, 2 and so on unless given, so that equal prompts differ.

        Raises
        ------
        PromptError
            There is no prompt, an empty one, not a number for each, or a number out of its range.
        UnknownCharacterError, DeviceError, LinkError, WrongTokenError
            See ``generate``.
        """
        return self._begin(prompts, tokens, temperature, seeds)

    def likeliest(self, text: str) -> Generator[str, None, None]:
        """Yield the token that the model holds likeliest after each token of a text but the last.

        The text is read as one sequence from zero state, a run for each of its tokens. Nothing is
        tried again: a device that breaks off raises an error.

        Raises
        ------
        PromptError
            The text has fewer than two tokens.
        UnknownCharacterError, DeviceError, LinkError
            See ``generate``.
        """
        self._check_open()
        if self.model is None:
            raise DeviceError("no model is loaded; load one first")
        tokens = self.model.encode(text)
        if len(tokens) < 2:
            raise PromptError(f"a text must have at least two tokens to be read, not {len(tokens)}")
        self._generation += 1
        generation, self._runs.one_by_one = self._generation, False
        self.stop()
        if not self._loader.still_sound():
            self._restore(self.model)
        state = SequenceState(number=0, prompt=tokens[:1], tokens=1, seed=0)
        for end in range(1, len(tokens)):
            # What the text has, in the place of what was said.
            state.prompt, state.generated = tokens[:end], []
            self._runs.start([state], 0)
            for _ in self._runs.listen():
                pass
            self._runs.settle()
            yield self.model.vocab[state.generated[0]]
            self._check_current(generation)
        self._check.confirm()

    def _begin(self, prompts: Sequence[str], tokens: int | Sequence[int], temperature: float,
               seeds: Sequence[int] | None, *, adapt: bool = False
               ) -> Generator[Token, None, None]:
        """Check a request, and begin it."""
        self._check_open()
        if self.model is None:
            raise DeviceError("no model is loaded; load one first")
        states = check_requests(self.model, prompts, tokens=tokens, temperature=temperature,
                                seeds=seeds, adapt=adapt)
        self._generation += 1
        return self._generate(self.model, states, temperature_to_fixed(temperature),
                              self._generation)

    def _generate(self, model: Model, states: list[SequenceState], temperature: int,
                  generation: int) -> Generator[Token, None, None]:
        self._check_current(generation)
        work = Generation(model, states, temperature, generation, self._link.repeats)
        first: DeviceError | None = None
        self._runs.one_by_one = False
        try:
            while True:
                try:
                    yield from self._attempt(work)
                    break
                except DeviceError as error:
                    self._check_current(generation)
                    self._loader.sound = False
                    # What goes wrong later follows from what went wrong at first.
                    first = first or error
                    if work.recoveries == RECOVERIES or isinstance(error, WrongDeviceError) or any(
                            state.adapts for state in states):
                        raise first from (None if first is error else error)
                    work.recoveries += 1
            self._record(work)
        except TrilightError:
            if generation == self._generation:
                self._loader.sound = False
            raise
        except BaseException:
            if generation == self._generation:
                self._abandon(work)
            raise

    def _attempt(self, work: Generation) -> Generator[Token, None, None]:
        """Generate from the beginning; yield the tokens that have not been yielded before."""
        model, runs, size = work.model, self._runs, self.identity.device.sequences
        work.begin()
        self.stop()
        if not self._loader.still_sound():
            self._restore(model)
        for start in range(0, len(work.states), size):
            group = assign_sequences(work.states[start:start + size])
            work.prompt_spent += runs.feed(group)
            while group := [state for state in group if state.left]:
                runs.start(group, work.temperature)
                work.running = True
                for state in runs.listen():
                    token = state.generated[-1]
                    if token >= len(model.vocab):
                        raise DeviceError(f"the device generated token {token} of a vocabulary "
                                          f"of {len(model.vocab)}; load the model again")
                    if work.emit(state):
                        text = work.decoders[state.number].feed(model.token_bytes[token])
                        yield Token(token, text, state.position - 1, state.number)
                        self._check_current(work.number)
                work.spent += runs.settle()
                work.running = False
        self._check.confirm()

    def _abandon(self, work: Generation) -> None:
        """Stop a generation that is not wanted any more."""
        try:
            status = self.stop()
            if work.running:
                work.spent += status.counters
        except TrilightError:
            # The next request loads the model again.
            self._loader.sound = False
        self._record(work)

    def _record(self, work: Generation) -> None:
        self.last_run = work.result(self._link.repeats, self.identity.device.sequences,
                                    clock=self.identity.clock_hz != 0)

    def _check_current(self, generation: int) -> None:
        self._check_open()
        if generation != self._generation:
            raise DeviceError("this generation ended when the board was given something else to "
                              "do; start it again")
