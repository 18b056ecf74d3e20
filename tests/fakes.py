"""Hand-written stand-ins for what a test cannot have for real."""

from collections.abc import Set
from datetime import UTC, datetime, timedelta

from typing_extensions import override

from convergence.model.cancel import CancelToken
from convergence.outside.clock import Clock
from convergence.outside.notify import Mail, Mailer, MailReport


class FakeClock(Clock):
    """Moves a millisecond with each look, and as far as it is told."""

    def __init__(self, start: datetime = datetime(2024, 11, 5, 8, tzinfo=UTC)) -> None:
        self._now = start

    @override
    def now(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now

    def advance(self, **span: float) -> None:
        self._now += timedelta(**span)


class FakeMailer(Mailer):
    """Keeps what was sent; raises `trouble` instead while there is one."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []
        self.trouble: BaseException | None = None

    @override
    def send(
        self, mail: Mail, *, always_allowed: Set[str], cancel: CancelToken | None = None
    ) -> MailReport:
        if self.trouble is not None:
            raise self.trouble
        self.sent.append(mail)
        return MailReport(sent_to=tuple(mail.to), left_out={})
