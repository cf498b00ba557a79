"""Secrets that tests plant, and the search for them in topics, pages, logs and other bytes."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Iterator

from tests.support.pipeline import Pipeline
from tests.support.roles import Role


def canary(name: str) -> str:
    """Return a secret that cannot occur by chance."""
    return f"canary-{name}-{secrets.token_hex(12)}"


def encodings(secret: str | bytes) -> set[bytes]:
    """Return a secret in all encodings that are searched for: plain, base64 of any alignment, hex, UTF-16."""
    raw = secret.encode() if isinstance(secret, str) else secret
    encoded = {base64.b64encode(b"\x00" * shift + raw)[4:-4] for shift in range(3)}
    return {raw, raw.hex().encode(), raw.hex().upper().encode(), raw.decode("latin-1").encode("utf-16-le")} | encoded


def found(places: Iterable[tuple[str, bytes]], wanted: Iterable[str | bytes]) -> list[str]:
    """Return the places that contain one of the secrets in any encoding."""
    encoded = [encoding for secret in wanted for encoding in encodings(secret)]
    return [place for place, content in places if any(encoding in content for encoding in encoded)]


def topic_contents(pipeline: Pipeline) -> Iterator[tuple[str, bytes]]:
    """Yield keys, values and headers of all records in all topics of the installation."""
    for topic in pipeline.admin.list_topics(timeout=30).topics:
        if topic.startswith(pipeline.names.prefix):
            for message in pipeline.read(topic):
                parts = [message.key() or b"", message.value() or b"", repr(message.headers()).encode()]
                yield f"{topic} {message.partition()}/{message.offset()}", b"\n".join(map(bytes, parts))


def output_of(role: Role) -> Iterator[tuple[str, bytes]]:
    """Yield the pages and the log of a role."""
    for path in ("/metrics", "/readyz", "/healthz"):
        yield f"{role.name} {path}", role.get(path)[1].encode()
    yield f"{role.name} log", role.log.read_bytes()
