# Built in two stages: the first compiles mysqlclient, the second runs without a compiler and without root.
ARG PYTHON=python:3.13-slim-trixie
FROM ${PYTHON} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends default-libmysqlclient-dev gcc libc6-dev pkg-config
COPY requirements.txt .
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes \
        --only-binary :all: --no-binary mysqlclient -r requirements.txt

FROM ${PYTHON}
RUN apt-get update \
    && apt-get install -y --no-install-recommends libmariadb3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin firstcome
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    MALLOC_ARENA_MAX=2 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=shop.settings \
    STATIC_ROOT=/app/static
WORKDIR /app
COPY manage.py ./
COPY shop shop
COPY foundation foundation
COPY accounts accounts
COPY events events
COPY coupons coupons
COPY sales sales
COPY inventory inventory
COPY payments payments
COPY orders orders
COPY backoffice backoffice
COPY demo demo
# collectstatic loads the settings: with DEBUG no secrets are needed. DEBUG is set for this command only.
RUN DEBUG=1 python manage.py collectstatic --no-input
USER firstcome
EXPOSE 8000
# A shell expands WEB_WORKERS; exec replaces it by the server, which so gets SIGTERM.
CMD ["sh", "-c", "exec python -m gunicorn --config python:shop.web_server --bind 0.0.0.0:8000 --workers ${WEB_WORKERS:-2} --graceful-timeout 35"]
