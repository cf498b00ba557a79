"""Files of subscriptions, in YAML. All problems of a file are reported together, each with its line and field.

    set: billing                 # optional: what --prune may delete
    subscriptions:
      - id: acme-cases
        sender: zenoo
        customer_id: acme
        url: https://hooks.acme.example/zenoo
        event_types: [case.*, sla.breached]
        secret_env: ACME_SECRET  # or secret, secret_file, `secret: generate`, `secret: none`, or none of these
        # The rest is optional. It replaces settings of the sender for this endpoint.
        headers: {X-Region: eu, Authorization: {env: ACME_TOKEN}}         # or {file: token.txt}
        client_certificate: {certificate_file: c.pem, key_file: c.key}    # or key_env
        schedule: [5s, 1m, 30m]  # the wait after each failed attempt; [] makes one attempt
        timeout: 10s
        max_in_flight: 4
        rate_limit: 2.5          # requests a second
        paused: true             # nothing is sent until it is resumed
        filters: {country: GB}   # of senders that have filters: stored and returned

Sealed values (secret, headers, client certificate) and a pause stay as they are if the file does not mention them.
`null` removes headers and client certificate, `secret: none` the secret. Every other setting that the file leaves out
gets the sender's value or a default.

Messages contain neither a value of a secret nor a line of the file, which may contain one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from deploy.config.subscription_settings import (
    Boolean,
    Certificate,
    EnvironmentText,
    EventTypes,
    FileText,
    Filters,
    Headers,
    Number,
    Schedule,
    Sources,
    WholeNumber,
)
from deploy.config.yaml_document import Unquoted, read_yaml
from schemas.catalog.errors import SubscriptionError
from schemas.input.file_models import UNKNOWN_KEY, Document, Duration, FileModel, KeyPath, Problem, dotted
from schemas.subscriptions.filters import NO_FILTERS
from schemas.subscriptions.rules import KEEP, Draft, Fault, Generate, Given, NoSecret, SecretSource

_SECRETS: Final = ("secret", "secret_env", "secret_file")
_GENERATE: Final = "generate"
_NONE: Final = "none"
_MAX_ID: Final = 128
# The default of fields that are validated as another type.
_KEEP: Final[Any] = KEEP
# Values for required fields that are unreadable, so that the other fields can be validated.
_EMPTY: Final = {"id": "", "sender": "", "customer_id": "", "url": "", "event_types": []}


class _File(FileModel):
    """The whole file. Its items are read one by one."""

    set: str = ""
    subscriptions: list[Any]


class _Subscription(FileModel):
    """One item of `subscriptions`."""

    id: str
    sender: str
    customer_id: str
    url: str
    event_types: EventTypes
    secret: str = ""
    secret_env: EnvironmentText = ""
    secret_file: FileText = ""
    description: str = ""
    headers: Headers = _KEEP
    client_certificate: Certificate | None = _KEEP
    schedule: Schedule | None = None
    timeout: Duration | None = None
    max_in_flight: WholeNumber | None = None
    rate_limit: Number | None = None
    paused: Boolean = _KEEP
    filters: Filters = NO_FILTERS

    def draft(self, set_: str | None) -> Draft:
        """Return the subscription that the file describes."""
        values = {name: value for name, value in self if name not in _SECRETS}
        return Draft(**values, secret=self._secret(), set=set_)

    def _secret(self) -> SecretSource:
        given = self.model_fields_set.intersection(_SECRETS)
        if "secret" in given and self.secret == _GENERATE:
            return Generate()
        if "secret" in given and self.secret == _NONE:
            return NoSecret()
        return Given(self.secret or self.secret_env or self.secret_file) if given else None


@dataclass(frozen=True, slots=True)
class _Item:
    """A subscription, and where it is in the file.

    `spelling` maps fields to their misspelt keys in the file. Fields in `unread` are unreadable.
    """

    draft: Draft
    path: KeyPath
    spelling: Mapping[str, str]
    unread: frozenset[str]


@dataclass(frozen=True, slots=True)
class SubscriptionFile:
    """The readable subscriptions of a file, and the problems of the rest.

    `key` is the spelling of `subscriptions` in the file.
    """

    set: str | None
    key: str
    items: tuple[_Item, ...]
    document: Document
    found: tuple[Problem, ...]

    @property
    def drafts(self) -> tuple[Draft, ...]:
        """The subscriptions without problems."""
        wrong = {problem.path[:2] for problem in self.found}
        return tuple(item.draft for item in self.items if item.path not in wrong)

    @property
    def attempts(self) -> tuple[Draft, ...]:
        """All subscriptions, for further checks. Unreadable fields are empty."""
        return tuple(item.draft for item in self.items)

    @property
    def problems(self) -> tuple[str, ...]:
        """The problems of the file, in the order of lines."""
        return self.all_problems(())

    def all_problems(self, faults: Iterable[Fault]) -> tuple[str, ...]:
        """Return all problems in the order of lines; `faults` are those of `attempts`.

        Faults of unreadable fields are left out, because those fields have a problem already.
        """
        found = [(line, self._sentence(path, what)) for line, path, what in self.found]
        for fault in faults:
            item = self.items[fault.number]
            field, *inner = fault.path
            if field not in item.unread:
                line = self.document.line_of((*item.path, item.spelling.get(str(field), field), *inner))
                found.append((line, self._sentence(item.path, fault.what)))
        found.sort(key=lambda problem: problem[0])
        return tuple(f"{self.document.file}:{line}: {sentence}" for line, sentence in found)

    def _sentence(self, path: KeyPath, what: str) -> str:
        """Return a problem with the name of its subscription in place of `subscriptions.0`."""
        parts = [what]
        if path[:1] == (self.key,) and len(path) > 1:
            parts.insert(0, _name_of(self.document.data[self.key][path[1]]))
            path = path[2:]
        if path:
            parts.insert(-1, dotted(path))
        return ": ".join(parts)


def read_file(path: Path, environment: Mapping[str, str]) -> SubscriptionFile:
    """Read a file (`-`: standard input); SubscriptionError if none of it is readable.

    Secrets come from `environment` and files. Relative paths of files start at the folder of `path`.
    """
    document, found = read_yaml(path, _File.model_fields)
    data = document.data
    if not isinstance(data, dict):
        raise SubscriptionError(f"{document.file}:1: the file must have `subscriptions:` with a list")
    try:
        _File.model_validate(data)
    except ValidationError as error:
        found += document.problems(error)
    spelling = _File.misspelt(data)
    key = spelling.get("subscriptions", "subscriptions")
    set_ = data.get(spelling.get("set", "set"))
    set_ = set_ if isinstance(set_, str) and set_ else None
    listed = data.get(key)
    items = []
    for number in range(len(listed) if isinstance(listed, list) else 0):
        item, problems = _read_item(document, (key, number), set_, Sources(path.parent, environment))
        found += problems
        if item is not None:
            items.append(item)
    return SubscriptionFile(set_, key, tuple(items), document, tuple(found))


def _read_item(
    document: Document, path: KeyPath, set_: str | None, sources: Sources
) -> tuple[_Item | None, list[Problem]]:
    data = document.data[path[0]][path[1]]
    problems: list[Problem] = []
    unread: frozenset[str] = frozenset()
    try:
        read = _Subscription.model_validate(data, context=sources)
    except ValidationError as error:
        problems = document.problems(error, path)
        if not isinstance(data, dict):
            return None, problems
        fields = _readable(data, error)
        unread = frozenset(_EMPTY.keys() | data.keys() | _Subscription.misspelt(data).keys()) - fields.keys()
        read = _Subscription.model_validate(_EMPTY | fields, context=sources)
    spelling = _Subscription.misspelt(data)
    secrets = [name for name in _SECRETS if name in data]
    if secrets:
        spelling["secret"] = secrets[0]
    if len(secrets) > 1:
        what = f"{' and '.join(secrets)} are both set; keep one of them"
        problems.append(Problem(document.line_of((*path, secrets[1])), path, what))
    return _Item(read.draft(set_), path, spelling, unread), problems


def _readable(data: Mapping[str, Any], error: ValidationError) -> dict[str, Any]:
    """Return the readable fields by their correct names, with the readable headers."""
    names = {key: name for name, key in _Subscription.misspelt(data).items()}
    fields = {names.get(key, key): value for key, value in data.items()}
    fields = {name: value for name, value in fields.items() if name in _Subscription.model_fields}
    if isinstance(fields.get("headers"), dict):
        fields["headers"] = dict(fields["headers"])
    for found in error.errors(include_url=False):
        key, *inner = found["loc"]
        name = names.get(str(key), key)
        if name == "headers" and inner:
            fields["headers"].pop(inner[0], None)
        elif inner or found["type"] != UNKNOWN_KEY:
            fields.pop(str(name), None)
    return fields


def _name_of(item: object) -> str:
    id_ = item.get("id") if isinstance(item, dict) else None
    text = id_.text if isinstance(id_, Unquoted) else id_
    return f"subscription {text[:_MAX_ID]}" if isinstance(text, str) and text else "subscription without an id"
