"""Links that sign somebody in to the dashboard."""

from datetime import datetime

from convergence.api.wire.shape import In, Out


class SignInLinkIn(In):
    """Whom the link signs in: a tenant, or the operator when absent."""

    tenant_id: str | None = None


class SignInLinkOut(Out):
    """Good for whoever opens `url` first, until `expires_at`."""

    url: str
    expires_at: datetime
