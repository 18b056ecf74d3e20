"""What the sample's two customers run: their accounts, projects and the things that cost money."""
# ruff: noqa: E501 - the price list has a line for each thing

from dataclasses import dataclass

HOURS = ("seconds", "hour", 3600.0)
BYTES = ("byte-seconds", "gibibyte month", 2.8e15)
SCANS = ("bytes", "tebibyte", 1.1e12)
TRAFFIC = ("bytes", "gibibyte", 1.07e9)
COUNTS = ("count", "1000 count", 1000.0)
Unit = tuple[str, str, float]
"""Unit of usage, unit of the price, and how many of the first are one of the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """A kind of credit, and its share of the cost. `until` is the first day index without it."""

    name: str
    type: str
    share: float
    until: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project of a customer; a charge of none has None in its place."""

    id: str
    number: str
    env: str
    team: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Something that costs money each day: `daily` of the account's currency on the first day.

    It is charged for each of `resources`, in windows of `hours`. A weekend day costs `weekend`
    times a weekday's; `growth` is the share that a day adds to the one before.
    """

    service: tuple[str, str]
    sku: tuple[str, str]
    project: Project | None
    unit: Unit
    price: float
    daily: float
    resources: int = 1
    hours: int = 24
    weekend: float = 1.0
    growth: float = 0.002
    zone: str = ""
    resource: str = ""
    discounts: tuple[Discount, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A billing account: one currency, one export. `rate` is its currency per US dollar."""

    id: str
    currency: str
    rate: float
    tax: float
    region: str
    country: str
    lines: tuple[Line, ...]
    anomaly: int | None = None
    """The day index on which queries cost nine times as much."""
    broken: int | None = None
    """The day index whose file lacks a column that every bill has."""

    @property
    def files(self) -> str:
        """The folder of its export."""
        return self.currency.lower()

    @property
    def table(self) -> str:
        """The name of its export, as the provider gives it."""
        return f"gcp_billing_export_resource_v1_{self.id.replace('-', '_')}"


COMPUTE = ("6F81-5844-456A", "Compute Engine")
BIGQUERY = ("24E6-581D-38E5", "BigQuery")
STORAGE = ("95FF-2EF5-5EA1", "Cloud Storage")
SQL = ("9662-B51E-5089", "Cloud SQL")
KUBERNETES = ("CCD8-9BF1-090E", "Kubernetes Engine")
NETWORK = ("E505-1604-58F8", "Networking")
VERTEX = ("C7E2-9256-1C43", "Vertex AI")
RUN = ("152E-C115-5142", "Cloud Run")
LOGGING = ("5490-F7B7-8DF6", "Cloud Logging")
SUPPORT = ("2062-016F-44A2", "Support")

SUSTAINED = Discount(name="Sustained Usage Discount", type="SUSTAINED_USAGE_DISCOUNT", share=0.12)
COMMITTED = Discount(
    name="Committed Usage Discount: CPU", type="COMMITTED_USAGE_DISCOUNT", share=0.18
)
FREE_TIER = Discount(name="Free tier", type="FREE_TIER", share=0.35)
PROMOTION = Discount(name="Startup credits", type="PROMOTION", share=0.06, until=60)
SECOND_PROMOTION = Discount(name="Startup credits", type="PROMOTION", share=0.03, until=60)
"""Of the same type and name as the first: a row may hold both, and both count."""

CORES = ("2E27-4F75-95CD", "N2 Instance Core running")
RAM = ("6C71-E844-38BC", "N2 Instance Ram running")
DISK = ("B188-61DD-52E4", "SSD backed PD Capacity")
ANALYSIS = ("1145-49C5-8000", "Analysis")
STANDARD_STORAGE = ("E5F0-6A5D-7BAD", "Standard Storage")
EGRESS = ("9DE9-9092-B3BC", "Network Internet Data Transfer Out")
PREMIUM_SUPPORT = ("8F7A-41B9-0C3E", "Standard Support Subscription")

_ACME_PROD = Project(id="acme-prod", number="418273645501", env="prod", team="shop")
_ACME_DATA = Project(id="acme-data", number="418273645502", env="prod", team="data")
_ACME_STAGING = Project(id="acme-staging", number="418273645503", env="staging", team="shop")
_GLOBEX_PROD = Project(id="globex-prod", number="902817364401", env="prod", team="platform")
_GLOBEX_ML = Project(id="globex-ml", number="902817364402", env="prod", team="ml")

# A line each, so that it reads as a price list.
# fmt: off
USD = Account(
    id="01A2B3-4C5D6E-7F8091",
    currency="USD",
    rate=1.0,
    tax=0.0825,
    region="us-central1",
    country="US",
    anomaly=71,
    lines=(
        Line(service=COMPUTE, sku=CORES, project=_ACME_PROD, unit=HOURS, price=0.031611, daily=96, resources=5, hours=4, weekend=0.78, zone="us-central1-a", resource="web", discounts=(SUSTAINED, COMMITTED)),
        Line(service=COMPUTE, sku=RAM, project=_ACME_PROD, unit=HOURS, price=0.004237, daily=31, resources=5, hours=6, weekend=0.78, zone="us-central1-a", resource="web", discounts=(SUSTAINED,)),
        Line(service=COMPUTE, sku=CORES, project=_ACME_STAGING, unit=HOURS, price=0.031611, daily=22, resources=2, hours=6, weekend=0.15, zone="us-central1-b", resource="staging"),
        Line(service=COMPUTE, sku=DISK, project=_ACME_PROD, unit=BYTES, price=0.17, daily=14, resources=5, zone="us-central1-a", resource="web-disk"),
        Line(service=KUBERNETES, sku=("B561-BFBD-1264", "Regional Kubernetes Clusters"), project=_ACME_PROD, unit=HOURS, price=0.1, daily=7.2, resources=3, hours=6, growth=0.0, resource="cluster"),
        Line(service=SQL, sku=("2F1E-4F0B-3F6B", "PostgreSQL: Regional - vCPU"), project=_ACME_PROD, unit=HOURS, price=0.0826, daily=48, resources=2, hours=4, weekend=0.97, resource="orders"),
        Line(service=BIGQUERY, sku=ANALYSIS, project=_ACME_DATA, unit=SCANS, price=6.25, daily=55, resources=3, hours=3, weekend=0.35, growth=0.006, resource="warehouse", discounts=(PROMOTION, SECOND_PROMOTION)),
        Line(service=BIGQUERY, sku=("C9A3-4A7B-52DF", "Active Logical Storage"), project=_ACME_DATA, unit=BYTES, price=0.02, daily=9, growth=0.004, resource="warehouse"),
        Line(service=STORAGE, sku=STANDARD_STORAGE, project=_ACME_PROD, unit=BYTES, price=0.02, daily=24, resources=4, hours=12, growth=0.004, resource="media", discounts=(PROMOTION,)),
        Line(service=NETWORK, sku=EGRESS, project=_ACME_PROD, unit=TRAFFIC, price=0.085, daily=33, resources=2, hours=3, weekend=1.2, growth=0.003, resource="lb"),
        Line(service=RUN, sku=("8F2B-76A1-3E3C", "Services CPU"), project=_ACME_PROD, unit=HOURS, price=0.0864, daily=12, resources=3, hours=4, weekend=0.9, growth=0.005, resource="api", discounts=(FREE_TIER,)),
        Line(service=LOGGING, sku=("143F-A1B0-E0BE", "Log Storage cost"), project=_ACME_PROD, unit=TRAFFIC, price=0.5, daily=8, hours=6, weekend=0.8, resource="logs"),
        Line(service=SUPPORT, sku=PREMIUM_SUPPORT, project=None, unit=COUNTS, price=1.0, daily=3.2, growth=0.001),
    ),
)
EUR = Account(
    id="0F1E2D-3C4B5A-697887",
    currency="EUR",
    rate=0.92,
    tax=0.19,
    region="europe-west3",
    country="DE",
    broken=83,
    lines=(
        Line(service=VERTEX, sku=("5D3C-6C51-2F3A", "Training A100 GPU"), project=_GLOBEX_ML, unit=HOURS, price=2.7, daily=74, resources=2, hours=2, weekend=0.4, growth=0.007, resource="training", discounts=(PROMOTION, SECOND_PROMOTION)),
        Line(service=VERTEX, sku=("A3D8-1B4F-7C62", "Online Prediction N1 Core"), project=_GLOBEX_ML, unit=HOURS, price=0.0316, daily=26, resources=3, hours=6, weekend=0.85, growth=0.004, resource="endpoint"),
        Line(service=KUBERNETES, sku=("6B92-A835-08AB", "Autopilot Pod mCPU Requests"), project=_GLOBEX_PROD, unit=HOURS, price=0.0445, daily=52, resources=6, hours=4, weekend=0.7, resource="pods", discounts=(COMMITTED,)),
        Line(service=COMPUTE, sku=CORES, project=_GLOBEX_PROD, unit=HOURS, price=0.0372, daily=41, resources=4, hours=6, weekend=0.82, zone="europe-west3-a", resource="batch", discounts=(SUSTAINED, COMMITTED)),
        Line(service=COMPUTE, sku=RAM, project=_GLOBEX_PROD, unit=HOURS, price=0.005, daily=15, resources=4, hours=6, weekend=0.82, zone="europe-west3-a", resource="batch", discounts=(SUSTAINED,)),
        Line(service=SQL, sku=("7A90-43C1-2E5D", "MySQL: Zonal - vCPU"), project=_GLOBEX_PROD, unit=HOURS, price=0.0538, daily=19, resources=2, hours=6, resource="catalog"),
        Line(service=BIGQUERY, sku=ANALYSIS, project=_GLOBEX_ML, unit=SCANS, price=6.9, daily=17, resources=2, hours=4, weekend=0.3, growth=0.003, resource="features"),
        Line(service=STORAGE, sku=STANDARD_STORAGE, project=_GLOBEX_ML, unit=BYTES, price=0.023, daily=21, resources=3, hours=12, growth=0.006, resource="datasets"),
        Line(service=NETWORK, sku=EGRESS, project=_GLOBEX_PROD, unit=TRAFFIC, price=0.08, daily=11, resources=2, hours=6, weekend=1.1, resource="lb"),
        Line(service=LOGGING, sku=("143F-A1B0-E0BE", "Log Storage cost"), project=_GLOBEX_PROD, unit=TRAFFIC, price=0.5, daily=4, hours=6, resource="logs", discounts=(FREE_TIER,)),
        Line(service=SUPPORT, sku=PREMIUM_SUPPORT, project=None, unit=COUNTS, price=1.0, daily=2.4, growth=0.001),
    ),
)
# fmt: on
ACCOUNTS = (USD, EUR)
