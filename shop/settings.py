"""Every setting, read from environment variables (and `.env`), checked at start: `settings.toml` has their
defaults, bounds and what they are for.
"""

import warnings

from django.utils.translation import gettext_lazy

from foundation.observability import logs
from payments import gateways
from shop.configuration import (
    BASE_DIR,
    BROKER_CONNECT_SECONDS,
    BROKER_HEARTBEAT_SECONDS,
    Rate,
    broker_queue_type,
    broker_transport_options,
    broker_urls,
    database,
    env,
    flag,
    gateway_settings,
    number,
    one_of,
    optional_number,
    origins,
    page_url,
    payment_gateways,
    rate,
    read_database,
    read_toml,
    redis_cache,
    require_together,
    secret_key,
    secret_key_fallbacks,
    signing_keys,
    text,
    texts,
    time_zone,
    two_rates,
    url,
)

# The process
DEBUG = flag("DEBUG")
LAB = flag("LAB")
DEMO = flag("DEMO")
# `make run` and `make manage` set this variable to the folder of their state; nothing else does.
IS_MAKE_RUN = bool(env.str("FIRSTCOME_VAR", default=""))
SECRET_KEY = secret_key(is_debug=DEBUG)
# Sessions that these signed go on, and are signed anew as they are used.
SECRET_KEY_FALLBACKS = secret_key_fallbacks(is_debug=DEBUG)
# Of operators, who have no others; `guard_operators_pages` prolongs those that are used.
SESSION_COOKIE_AGE = 12 * 3600
# For access and refresh tokens: the first key signs, and tokens of all keys are valid.
TOKEN_SIGNING_KEYS = signing_keys(texts("TOKEN_SIGNING_KEYS") or ["SECRET_KEY"], SECRET_KEY)
# Access tokens of an identity provider of the shop's own, accepted beside ours; empty: of none.
IDENTITY_ISSUER = text("IDENTITY_ISSUER")
IDENTITY_AUDIENCE = text("IDENTITY_AUDIENCE")
IDENTITY_JWKS_URL = url("IDENTITY_JWKS_URL")
require_together("IDENTITY_ISSUER", "IDENTITY_AUDIENCE", "IDENTITY_JWKS_URL")
# Off: customers neither register nor sign in here.
REGISTRATION = one_of("REGISTRATION", "on", "off") == "on"
ALLOWED_HOSTS = texts("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = texts("CSRF_TRUSTED_ORIGINS")
CORS_ALLOWED_ORIGINS = origins("CORS_ALLOWED_ORIGINS")
TRUSTED_PROXIES = number("TRUSTED_PROXIES")
HTTPS = flag("HTTPS")
if HTTPS:
    # The proxy in front terminates TLS, redirects to it, and sets this header to the request's scheme.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
WEB_WORKERS = number("WEB_WORKERS")
WEB_THREADS = number("WEB_THREADS")
WEB_PAYMENTS = number("WEB_PAYMENTS")
# Off: Django answers every call, with whatever is added to its settings (docs/api-calls.md).
BURST = flag("BURST")
# Requests of a process that may wait at once by `Prefer: wait`; past it they are answered as things stand.
WAITING_REQUESTS = 20_000
METRICS_TOKEN = text("METRICS_TOKEN")
# Where worker, issuer and beat serve their metrics; 0: nowhere.
METRICS_PORT = number("METRICS_PORT")
METRICS_HOST = text("METRICS_HOST")
# Traces are recorded if it is set. OpenTelemetry's SDK reads its other variables, OTEL_…, by itself.
OTEL_EXPORTER_OTLP_ENDPOINT = url("OTEL_EXPORTER_OTLP_ENDPOINT")

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_otp",
    "accounts.apps.OneTimeCodesConfig",
    "django_otp.plugins.otp_static",
    "shop",
    "foundation",
    "accounts",
    "events",
    "inventory",
    "coupons",
    "payments",
    "sales",
    "orders",
    "backoffice",
    "demo",
]
MIDDLEWARE = [
    "foundation.observability.request_metrics.RequestMetricsMiddleware",
    "foundation.http.compression.CompressionMiddleware",
    "foundation.http.pages.middleware.request_id",
    "foundation.http.pages.middleware.choose_language",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "foundation.http.pages.middleware.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.signing_in.middleware.require_second_factor",
    # Before any code reads the body, as the check of CSRF tokens does.
    "foundation.http.pages.middleware.guard_operators_pages",
    "django.contrib.messages.middleware.MessageMiddleware",
    "accounts.signing_in.middleware.show_refused_turn",
]
ROOT_URLCONF = "shop.urls"
ASGI_APPLICATION = "shop.asgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Before those of the apps: unfold's templates are replaced by ours of the same name.
        "DIRS": [BASE_DIR / "foundation" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "libraries": {"operators": "foundation.admin_base.display"},
        },
    }
]
UNFOLD = {
    "SITE_TITLE": "Firstcome",
    "SITE_HEADER": "Firstcome",
    "SITE_SUBHEADER": gettext_lazy("Coupons and limited sales"),
    "SITE_SYMBOL": "confirmation_number",
    "SITE_URL": "/api/docs/",
    "SIDEBAR": {"navigation": "backoffice.navigation.sidebar"},
    "TABS": "backoffice.navigation.tabs",
    "DASHBOARD_CALLBACK": "backoffice.home.page.dashboard",
    "STYLES": ["foundation.admin_base.display.stylesheet"],
    "LOGIN": {"form": "accounts.signing_in.sign_in_page.SignInForm"},
    "SHOW_LANGUAGES": True,
}
# The admin has the only sign-in page.
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
LOGOUT_REDIRECT_URL = LOGIN_URL
# Whether staff need one-time codes to sign in; an account that has set them up needs them in any case.
STAFF_OTP_REQUIRED = flag("STAFF_OTP_REQUIRED", str(int(not DEBUG)))
OTP_TOTP_ISSUER = "Firstcome"
STATIC_URL = "static/"
STATIC_ROOT = text("STATIC_ROOT", f"{BASE_DIR}/var/static")
# WhiteNoise reads the folder when a process starts; its warning about a missing folder is not needed.
warnings.filterwarnings("ignore", "No directory at", UserWarning)
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = WHITENOISE_ALLOW_ALL_ORIGINS = False
WHITENOISE_MAX_AGE = 24 * 3600
LANGUAGE_CODE = "en"
# A language has catalogs in `<app>/locale`: docs/translating.md says how one is added.
LANGUAGES = [("en", "English"), ("ko", "한국어")]
# What a member of staff chose in the admin; elsewhere, and before, the browser's languages decide.
# Its Korean of Django's own texts wins.
LOCALE_PATHS = [BASE_DIR / "foundation" / "locale"]
LANGUAGE_COOKIE_NAME = "firstcome_language"
LANGUAGE_COOKIE_PATH = "/admin/"
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_SAMESITE = "Lax"
# The pages'. The shop's own, in which its days begin and end, is `SHOP_TIME_ZONE`.
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = ["shop.formats"]

# Database
MYSQL_OPTIONS = {
    "charset": "utf8mb4",
    # REPEATABLE READ loses updates on MySQL (Jepsen, 8.0.34) and answers 1020 on MariaDB >= 11.6.
    "isolation_level": "read committed",
    # A list by account and status would else be read as all rows of both, whose intersection is then sorted;
    # and positions of events follow from the ids of an INSERT, which must be consecutive.
    "init_command": "SET SESSION innodb_lock_wait_timeout=5, sql_mode='TRADITIONAL', "
    "auto_increment_increment=1, optimizer_switch='index_merge_intersection=off'",
    "connect_timeout": 2,
    # A query silent for longer counts as a lost connection; DATABASE_URL may say `?read_timeout=10`.
    "read_timeout": 30,
}
SQLITE_OPTIONS = {
    # Every transaction takes the write lock at its start, so none has to upgrade a read lock and fail.
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
}
DATABASES = {"default": database("DATABASE_URL", f"sqlite:///{BASE_DIR}/var/firstcome.sqlite3")}
_database = DATABASES["default"]
_is_mysql = _database["ENGINE"] == "django.db.backends.mysql"
# Off: each statement travels in a packet of its own, and the connection refuses packets of several.
DATABASE_PIPELINING = flag("DATABASE_PIPELINING")
if not DATABASE_PIPELINING:
    MYSQL_OPTIONS["multi_statements"] = False
if _is_mysql:
    _database["ENGINE"] = "foundation.db.mysql.pipelined" if DATABASE_PIPELINING else "foundation.db.mysql"
_database |= {
    "OPTIONS": (MYSQL_OPTIONS if _is_mysql else SQLITE_OPTIONS) | _database.get("OPTIONS", {}),
    "CONN_MAX_AGE": 60,
    "CONN_HEALTH_CHECKS": True,
    "ATOMIC_REQUESTS": False,
    # Its collation is the server's.
    "TEST": {"NAME": env.str("TEST_DATABASE_NAME", default=None)},
}
# A secondary, which answers lists of staff, exports and reports once it has applied all that they must show.
DATABASE_READ_URL = text("DATABASE_READ_URL")
if DATABASE_READ_URL:
    DATABASES["reader"] = read_database("DATABASE_READ_URL", primary=_database, options=MYSQL_OPTIONS)
    DATABASE_ROUTERS = ["foundation.db.secondary.Router"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The clock: how far the host's may differ from the database's for a process to start
CLOCK_SKEW_SECONDS = number("CLOCK_SKEW_SECONDS", float)

# Redis: it accelerates and never decides, so calls are short and tried once
CACHES = {"default": redis_cache("REDIS_URL")}

# Celery: tasks carry an id, the database carries the state
BROKER_URLS = broker_urls("BROKER_URL")
CELERY_BROKER_URL = ";".join(BROKER_URLS)
CELERY_BROKER_CONNECTION_TIMEOUT = BROKER_CONNECT_SECONDS if len(BROKER_URLS) > 1 else 4
CELERY_BROKER_HEARTBEAT = BROKER_HEARTBEAT_SECONDS
CELERY_TASK_DEFAULT_QUEUE_TYPE = broker_queue_type("BROKER_QUEUE_TYPE", BROKER_URLS)
CELERY_WORKER_CONSUMER = "foundation.operations.celery_processes:Consumer"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 4
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_PUBLISH_RETRY = False
# Celery would connect anew for each task; Django closes a thread's connection by its own rules before one.
CELERY_DB_REUSE_MAX = 2**31
CELERY_BROKER_TRANSPORT_OPTIONS = broker_transport_options(
    BROKER_URLS, queue_type=CELERY_TASK_DEFAULT_QUEUE_TYPE
)
SWEEP_SECONDS = number("SWEEP_SECONDS", float)
# The interval between queries for due sagas and events: one indexed query each.
DUE_SECONDS = min(1.0, SWEEP_SECONDS)
RECONCILE_SECONDS = number("RECONCILE_SECONDS", float)
# 0: no audit by schedule.
AUDIT_SECONDS = number("AUDIT_SECONDS", float)
# A full audit is done in parts, of which each call of the task does one.
AUDIT_POLL_SECONDS = min(15.0, AUDIT_SECONDS)
# A beat or worker that starts while the database is away has its host's time until it is back, which may be
# off by the limit.
LATE_SECONDS = 2 * CLOCK_SKEW_SECONDS
CELERY_BEAT_SCHEDULE = {
    name: {"task": name, "schedule": seconds, "options": {"expires": seconds + LATE_SECONDS}}
    for name, seconds in {
        "orders.advance": DUE_SECONDS,
        "orders.handle_webhooks_due": DUE_SECONDS,
        "orders.sweep": SWEEP_SECONDS,
        "inventory.sweep": SWEEP_SECONDS,
        "coupons.sweep": SWEEP_SECONDS,
        "sales.sweep": SWEEP_SECONDS,
        # What is kept for days.
        "shop.sweep": 12 * SWEEP_SECONDS,
        "payments.reconcile": RECONCILE_SECONDS,
        "payments.sweep": 3600.0,
        "orders.number": 3600.0,
        "shop.audit": AUDIT_POLL_SECONDS,
    }.items()
    if seconds
}
CELERY_BEAT_SCHEDULER = "foundation.operations.beat.Scheduler"

# The API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.api_keys.calls.APIKey",
        "accounts.tokens.authentication.BearerToken",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["foundation.http.rest_classes.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["foundation.http.rest_classes.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "foundation.http.rest_classes.LenientNegotiation",
    "EXCEPTION_HANDLER": "foundation.http.rest_classes.handle_exception",
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_SCHEMA_CLASS": "foundation.http.openapi.openapi_generation.Operations",
}
MAX_BODY_BYTES = 64 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
# Pages to which staff with all of these permissions, which the page requires as well, may send files.
STOCK_IMPORT = ("inventory.add_product", "inventory.change_product", "inventory.add_stockmovement")
UPLOADS = {
    r"/admin/inventory/product/import/": STOCK_IMPORT,
    r"/admin/coupons/campaign/\d+/upload_codes/": ("coupons.add_poolcode",),
    r"/admin/coupons/campaign/\d+/upload_accounts/": ("coupons.add_eligibleaccount",),
}
MAX_UPLOAD_BYTES = 32 * 2**20
# Larger files are written to disk while they arrive.
FILE_UPLOAD_MAX_MEMORY_SIZE = 2**20
PASSWORD_HASHERS = ["accounts.signing_in.password_hashing.Argon2Hasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
# What the OpenAPI document says besides views and schemas.
OPENAPI_TEXTS = read_toml("openapi.toml")
SPECTACULAR_SETTINGS = OPENAPI_TEXTS["document"] | {
    "TITLE": "Firstcome",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": ["foundation.http.openapi.openapi_generation.complete_document"],
    "COMPONENT_SPLIT_REQUEST": False,
    "COMPONENT_SPLIT_PATCH": False,
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
}

# The shop
CURRENCY = text("CURRENCY")
SHOP_TIME_ZONE = time_zone("TIME_ZONE")
ORDER_HOLD_SECONDS = number("ORDER_HOLD_SECONDS")
IDEMPOTENCY_LEASE_SECONDS = number("IDEMPOTENCY_LEASE_SECONDS")
IDEMPOTENCY_RETENTION_SECONDS = number("IDEMPOTENCY_RETENTION_SECONDS")
INVENTORY_STRATEGY = one_of("INVENTORY_STRATEGY", "group_commit", "pessimistic", "optimistic", "redis_gate")
OPEN_UNITS_PER_ACCOUNT = number("OPEN_UNITS_PER_ACCOUNT")
OPEN_ORDERS_PER_ACCOUNT = number("OPEN_ORDERS_PER_ACCOUNT")
GRANT_LIMIT_AMOUNT = number("GRANT_LIMIT_AMOUNT")
GRANT_DAY_AMOUNT = number("GRANT_DAY_AMOUNT")
DISCOUNT_LIMIT_AMOUNT = optional_number("DISCOUNT_LIMIT_AMOUNT")
PRICE_CUT_PERCENT = optional_number("PRICE_CUT_PERCENT")
RATE_COUPONS = rate("RATE_COUPONS")
RATE_ENTRIES = Rate(120, 60)
RATE_ORDERS = rate("RATE_ORDERS")
RATE_PAYMENTS = rate("RATE_PAYMENTS")
RATE_TOP_UPS = rate("RATE_TOP_UPS")
RATE_DECLINES = rate("RATE_DECLINES")
# Codes that are no coupon's: of an account, and of its network.
RATE_WRONG_CODES, RATE_WRONG_CODES_OF_NETWORK = two_rates("RATE_WRONG_CODES")
RATE_REFRESHES = Rate(60, 60)
# Calls with a body that name no account: of a network, in each web process.
RATE_ANONYMOUS = rate("RATE_ANONYMOUS")
RATE_API_KEYS = rate("RATE_API_KEYS")
RATE_DECLINES_PER_KEY = Rate(50, 600)
PARTNER_URL = url("PARTNER_URL")
PARTNER_TIMEOUT_SECONDS = number("PARTNER_TIMEOUT_SECONDS", float)
OPTIMISTIC_RETRIES = 50
PAYMENT_GATEWAYS = payment_gateways("PAYMENT_GATEWAYS", gateways.GATEWAYS)
# Takes new payments.
PAYMENT_GATEWAY = one_of("PAYMENT_GATEWAY", *PAYMENT_GATEWAYS)
GATEWAY_URL = url("GATEWAY_URL")
# Whose books the gateway keeps: another account is as another gateway.
GATEWAY_ACCOUNT = text("GATEWAY_ACCOUNT")
# The page of a charge in the gateway's dashboard; empty: the one that the gateway's entry knows.
GATEWAY_CHARGE_URL = page_url("GATEWAY_CHARGE_URL", gateways.REFERENCE)
GATEWAY_TIMEOUT_SECONDS = number("GATEWAY_TIMEOUT_SECONDS", float)
PAYMENT_GIVE_UP_SECONDS = number("PAYMENT_GIVE_UP_SECONDS")
# After which a coupon that its partner doesn't confirm goes back.
PARTNER_GIVE_UP_SECONDS = min(60, PAYMENT_GIVE_UP_SECONDS)
# How long a charge waits for the card's owner to confirm it, by our clock.
PAYMENT_ACTION_SECONDS = number("PAYMENT_ACTION_SECONDS")
# Where the gateway's page leads the card's owner back to; {order} in it stands for the order's id.
PAYMENT_RETURN_URL = url("PAYMENT_RETURN_URL")
# Where `make docs` serves the documentation, to which the page at `/` links.
DOCUMENTATION_URL = "http://127.0.0.1:8009/" if IS_MAKE_RUN else ""
DATA_PLATFORM_URL = url("DATA_PLATFORM_URL")
EVENT_SECRET = text("EVENT_SECRET")
# Each signs events too, for a receiver that doesn't know EVENT_SECRET yet.
EVENT_SECRET_FALLBACKS = texts("EVENT_SECRET_FALLBACKS")
EVENT_GIVE_UP_SECONDS = number("EVENT_GIVE_UP_SECONDS")
# A refusal with the same status for so long is final.
EVENT_REFUSED_SECONDS = min(3600, EVENT_GIVE_UP_SECONDS)
# How long a webhook endpoint has to answer, how long an event is tried, and an endpoint that takes nothing.
WEBHOOK_TIMEOUT_SECONDS = number("WEBHOOK_TIMEOUT_SECONDS", float)
WEBHOOK_GIVE_UP_SECONDS = number("WEBHOOK_GIVE_UP_SECONDS")
WEBHOOK_PRIVATE_ADDRESSES = flag("WEBHOOK_PRIVATE_ADDRESSES", str(int(DEBUG)))
# How long the event feed keeps an event: seven days at least.
EVENT_RETENTION_SECONDS = number("EVENT_RETENTION_SECONDS")
WEBHOOK_SECRET_SIMULATOR = text("WEBHOOK_SECRET_SIMULATOR")
WEBHOOK_SECRET_STRIPE = text("WEBHOOK_SECRET_STRIPE")
STRIPE_API_KEY = text("STRIPE_API_KEY")
STRIPE_API_BASE = url("STRIPE_API_BASE")
# Webhooks that the gateway signs with one of these are taken too.
WEBHOOK_SECRET_FALLBACKS = texts("WEBHOOK_SECRET_FALLBACKS")
for _name in PAYMENT_GATEWAYS.keys() - gateways.WITHOUT_NAME:
    globals().update(gateway_settings(_name))
gateways.check(globals())

LOGGING_CONFIG = None
logs.configure(level=text("LOG_LEVEL"))
