"""`notify_systems.email_notification`: send a mail, to those whom the operator allows."""

from typing import Annotated, ClassVar

from pydantic import AliasChoices, BeforeValidator, Field

from convergence.model.event import Level
from convergence.outside.notify import Mail
from convergence.steps.base import Report, Settings, StepContext


def _addresses(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


Addresses = Annotated[tuple[str, ...], BeforeValidator(_addresses)]


class EmailSettings(Settings):
    """`to_emails` is a list, or a text with commas."""

    needs_warehouse: ClassVar[bool] = False

    to_emails: Annotated[Addresses, Field(min_length=1)]
    subject: str = Field(
        min_length=1, max_length=998, validation_alias=AliasChoices("subject", "subject_template")
    )
    message: str = Field(validation_alias=AliasChoices("message", "body_template"))
    cc_emails: Addresses = ()
    bcc_emails: Addresses = ()
    from_email: str | None = None


class EmailNotification:
    settings: ClassVar[type[Settings]] = EmailSettings
    unfilled: ClassVar[tuple[tuple[str, ...], ...]] = ()

    def run(self, settings: EmailSettings, context: StepContext) -> Report:
        """Send to those whom the operator allows; who was left out is said in the report.

        A step that is repeated sends the same Message-ID, so that mail programs know it again.
        """
        mail = Mail(
            to=settings.to_emails,
            cc=settings.cc_emails,
            bcc=settings.bcc_emails,
            sender=settings.from_email,
            subject=settings.subject,
            text=settings.message,
            message_id=f"{context.run_id}/{context.names.get('step_id')}",
        )
        report = context.mailer.send(
            mail, always_allowed=frozenset({context.admin_email}), cancel=context.cancel
        )
        for address, reason in report.left_out.items():
            context.log(f"{address} left out: {reason}", Level.WARNING)
        return Report(facts={"sent_to": list(report.sent_to), "left_out": dict(report.left_out)})
