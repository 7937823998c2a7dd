FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    METRONOME_QBO_CONFIG=/etc/metronome-qbo.toml

RUN useradd --system --create-home --home-dir /var/lib/metronome-qbo metronome-qbo

WORKDIR /usr/src/metronome-qbo
# The libraries first: this layer is built again only when their pins change.
COPY requirements.txt ./
RUN pip install --require-hashes --no-deps -r requirements.txt
COPY pyproject.toml README.md ./
COPY models models
COPY agents agents
COPY stream stream
COPY simulators simulators
RUN pip install --no-deps .

USER metronome-qbo
# Working state (tables, the index) is written here; it is rebuilt from Kafka when it is lost.
WORKDIR /var/lib/metronome-qbo
ENTRYPOINT ["metronome-qbo"]
