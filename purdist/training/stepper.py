"""`Stepper`: takes the batches of one `train`, and makes updates of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from types import TracebackType

import attrs
import numpy as np
from paddle.optimizer.lr import LRScheduler, ReduceOnPlateau

from purdist import graphs, scopes
from purdist.arrays import Array, Arrays, Feed
from purdist.errors import NonFiniteError, PurdistError, RankError, RunError, warn
from purdist.feeding import FeedRules
from purdist.program import internals_of
from purdist.training.exchanging import Exchange
from purdist.training.nonfinite import check_weights, loss_error, others_error
from purdist.training.ranks import check_together, is_lost, leave, lost
from purdist.training.session import Session
from purdist.training.values import Step, Training, sealed, session_of


@attrs.define(eq=False, slots=False)
class Stepper:
    """Takes batch after batch, each with `step`, inside a ``with`` block.

    Attributes:
        training: What it moves.
        fetch: What is computed along.
        log_every: It tells one step in so many.
    """

    training: Training
    fetch: tuple[str, ...]
    log_every: int
    _told: list[list[float]] = attrs.field(factory=list, init=False)
    """The losses of the batches of the update that is being made."""
    _found: Mapping[str, Array] = attrs.field(factory=dict, init=False)
    """The running statistics from before that update."""
    _rate: float = attrs.field(default=0.0, init=False)
    _inside: bool = attrs.field(default=False, init=False)
    """Whether a batch is being taken, or was interrupted."""
    _before: Arrays | None = attrs.field(default=None, init=False)
    """What was fed to the newest batch."""

    @property
    def session(self) -> Session:
        """What moves."""
        return session_of(self.training)

    @cached_property
    def _run(self) -> graphs.Runner:
        return self.session.compiled((self.training.loss, *self.training.terms, *self.fetch))

    @cached_property
    def _needed(self) -> frozenset[str]:
        return self.session.driver.needs(self._run.feeds)

    @cached_property
    def _rules(self) -> FeedRules:
        return self.session.driver.rules(self.training.program)

    def check(self, feed: Feed) -> Arrays:
        """A feed in arrays, refused if it does not fit."""
        arrays = self._rules.check(feed, self._needed)
        graphs.check_not_empty({name: arrays[name] for name in self._needed})
        return arrays

    def step(self, feed: Arrays, starting: Callable[[], object] = lambda: None) -> Step | None:
        """Trains on a whole feed that fits. Tells of the update if it made one that is due."""
        progress = self.session.progress
        progress.at_rest, self._inside = False, True
        try:
            told = self._taken(feed, starting)
        except PurdistError:
            progress.at_rest, self._inside = True, False  # what was refused has moved nothing
            raise
        progress.at_rest, self._inside = not self._told, False
        return told

    def _taken(self, feed: Arrays, starting: Callable[[], object]) -> Step | None:
        session, index = self.session, self.session.progress.steps
        is_due = (index + 1) % self.log_every == 0
        if not self._told:
            self._begin(index)
        is_last = len(self._told) + 1 == session.update.accumulate
        losses = 1 + len(self.training.terms) if is_due or session.built.exchange else 1
        numbers = self._computed(feed, starting, None if is_due and is_last else losses)
        self._told.append([float(number) for number in numbers[:losses]])
        if session.built.exchange is None:
            self._check_finite(feed)
        if not is_last:
            self._before = feed
            return None
        exchange = session.built.exchange
        told = self._means() if exchange is None else self._exchanged(exchange, feed)
        self._before = feed
        self._made(told[0])
        if not is_due:
            return None
        return Step(
            index,
            told[0],
            dict(zip(self.training.terms, told[1:], strict=True)),
            session.weights_at(index),
            self._rate,
            sealed(dict(zip(self.fetch, numbers[losses:], strict=True))),
        )

    def _begin(self, index: int) -> None:
        """Makes ready for the update of that index."""
        session = self.session
        if session.progress.is_begun:
            session.clear_sums()
        session.progress.is_begun = session.update.accumulate > 1
        self._found = scopes.values(session.progress.scope, session.statistics)
        self._rate = session.learning_rate_now()
        session.set_numbers(session.weights_at(index), self._rate)
        if session.built.exchange is not None:
            session.built.exchange.begin(session.progress.scope, session.place, session.rank, index)

    def _computed(
        self, feed: Arrays, starting: Callable[[], object], read: int | None
    ) -> list[Array]:
        session, batch = self.session, len(self._told)
        is_last = batch + 1 == session.update.accumulate
        session.set_due(due=is_last)
        if is_last and session.built.exchange is not None:
            session.built.exchange.add_earlier(session.progress.scope, session.place, self._told)
        try:
            with session.drawing(session.progress.steps, batch):
                return self._run(feed, read=read, starting=starting)
        except PurdistError as error:
            self._put_back()
            if not isinstance(error, RunError):
                raise
            if session.built.exchange is not None and is_lost(error):
                raise lost(session.progress.steps) from error
            raise internals_of(self.training.program).explained(error, feed) from error.__cause__

    def _means(self) -> list[float]:
        return [float(mean) for mean in np.mean(self._told, axis=0)]

    def _check_finite(self, feed: Arrays) -> None:
        """Refuses a loss that is not finite, and puts back what its batches have moved."""
        if np.isfinite(self._told[-1][0]):
            return
        raise self._error(feed)

    def _error(self, feed: Arrays) -> NonFiniteError:
        batch = len(self._told) - 1
        self._put_back()
        return loss_error(self.training, self.session.progress.steps, batch, feed, self._before)

    def _exchanged(self, exchange: Exchange, feed: Arrays) -> list[float]:
        """The means over all processes, once all have made the update."""
        session = self.session
        told, updates = exchange.told(session.progress.scope)
        try:
            check_together(updates, session.rank, session.progress.steps)
        except RankError:
            self._put_back()
            raise
        if np.isfinite(told[0]):
            return told
        if np.isfinite([losses[0] for losses in self._told]).all():
            self._put_back()
            raise others_error(session.progress.steps)
        raise self._error(feed)

    def _made(self, loss: float) -> None:
        """Counts an update that was made."""
        progress = self.session.progress
        self._told.clear()
        progress.is_begun = False
        progress.steps += 1
        if progress.scheduler is not None and progress.steps % self.session.scheduler_every == 0:
            _advance(progress.scheduler, loss)

    def _put_back(self) -> None:
        """Puts back what batches of an update that is not made have moved."""
        self._told.clear()
        scopes.put_each(self.session.progress.scope, self._found, self.session.place)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Ends between two updates, as all processes do.

        Raises:
            NonFiniteError: All batches were taken, and a weight is not finite.
            RankError: All batches were taken, and another process has more.
        """
        left = len(self._told)
        if left:
            self._put_back()
            self.session.progress.at_rest = not self._inside
            if kind is None:
                count = self.session.update.accumulate
                warn(f"The last {left} batches are no update: one takes accumulate={count}.")
        exchange = self.session.built.exchange
        if exchange is not None and not isinstance(error, NonFiniteError | RankError):
            leave(exchange, self.session, raising=kind is None)
        if kind is None:
            check_weights(self.session)
        elif issubclass(kind, GeneratorExit):
            _warn_of_weights(self.session)


def _warn_of_weights(session: Session) -> None:
    """The same where nobody would see an error."""
    try:
        check_weights(session)
    except NonFiniteError as error:
        warn(str(error))


def _advance(scheduler: LRScheduler, loss: float) -> None:
    try:
        if isinstance(scheduler, ReduceOnPlateau):
            scheduler.step(loss)
        else:
            scheduler.step()
    except Exception as error:
        raise RunError(
            f"Expected an LR scheduler that goes on, got {type(scheduler).__name__}, which raises "
            f"{type(error).__name__}: {str(error).strip()}",
            "Make it for all the updates of the run (total_steps of OneCycleLR). The step before "
            "was taken.",
        ) from error
