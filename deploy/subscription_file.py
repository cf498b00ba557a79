"""Files of subscriptions, in YAML: every problem by its line and field, and all of them at once.

    set: billing                 # optional: what --prune may delete
    subscriptions:
      - id: acme-cases
        sender: zenoo
        customer_id: acme
        url: https://hooks.acme.example/zenoo
        event_types: [case.*, sla.breached]
        secret_env: ACME_SECRET  # or secret, or secret_file, or `secret: generate`, or none of them
        # What follows is for an endpoint that needs something else than its sender has.
        headers: {X-Region: eu, Authorization: {env: ACME_TOKEN}}         # or {file: token.txt}
        client_certificate: {certificate_file: c.pem, key_file: c.key}    # or key_env
        schedule: [5s, 1m, 30m]  # the wait after each failed attempt; [] makes one attempt
        timeout: 10s
        max_in_flight: 4
        rate_limit: 2.5          # requests a second

What is sealed (secret, headers, client certificate) stays as it is where the file says nothing of it; headers and
client certificate go where it says `null`. All else that it leaves out is as the sender, or Signpost, has it.

Messages repeat neither a value of a secret nor a line of the file, which may hold one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from deploy.subscription_settings import FIELDS, read_settings
from deploy.yaml_nodes import Fields, NodeReader, Problem, line_of
from schemas.errors import SubscriptionError
from schemas.rules import Draft, Fault, Generate, Given, SecretWish

_TOP: Final = ("set", "subscriptions")
_REQUIRED: Final = ("id", "sender", "customer_id", "url", "event_types")
_SECRETS: Final = ("secret", "secret_env", "secret_file")
_FIELDS: Final = (*_REQUIRED, *_SECRETS, "description", *FIELDS)
_GENERATE: Final = "generate"


@dataclass(frozen=True, slots=True)
class SubscriptionFile:
    """What a file says, as far as it could be understood, and what is wrong with the rest."""

    path: Path
    set: str | None
    items: tuple[_Item, ...]
    noted: tuple[Problem, ...]

    @property
    def drafts(self) -> tuple[Draft, ...]:
        """The subscriptions of which all could be read."""
        return tuple(item.draft for item in self.items if item.is_whole)

    @property
    def attempts(self) -> tuple[Draft, ...]:
        """All of them, to find what else is wrong: what could not be read is empty."""
        return tuple(item.draft for item in self.items)

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong when it was read, in the order of lines."""
        return self.all_problems(())

    def all_problems(self, faults: Iterable[Fault]) -> tuple[str, ...]:
        """Return all that is wrong in the order of lines; `faults`: of `attempts`, by the rules of subscriptions.

        Of a field that could not be read its fault says nothing new.
        """
        found = list(self.noted)
        for fault in faults:
            item = self.items[fault.number]
            if fault.field not in item.bad:
                found.append(Problem(item.lines.get(fault.field, item.line), str(fault)))
        return tuple(f"{self.path}:{line}: {what}" for line, what in sorted(found, key=lambda one: one.line))


@dataclass(frozen=True, slots=True)
class _Item:
    """A subscription, where it and its fields are, and which of these could not be read."""

    draft: Draft
    is_whole: bool
    line: int
    lines: Mapping[str, int]
    bad: frozenset[str]


def read_file(path: Path, environment: Mapping[str, str]) -> SubscriptionFile:
    """Read a file; SubscriptionError if nothing of it can be understood. Secrets come from `environment` and files."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SubscriptionError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SubscriptionError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from None
    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise SubscriptionError(_sentence(path, error)) from None
    except RecursionError:
        raise SubscriptionError(f"{path}: not YAML: nested too deeply") from None
    return _Reader(path, environment).read(document)


class _Reader(NodeReader):
    def read(self, document: yaml.Node | None) -> SubscriptionFile:
        if not isinstance(document, yaml.MappingNode):
            raise SubscriptionError(f"{self._path}:1: the file has to hold `subscriptions:` and a list below it")
        top = self.fields(document, "", _TOP)
        set_ = (self.text(top["set"], "set") or None) if "set" in top else None
        listed = top.get("subscriptions")
        items: list[_Item] = []
        if isinstance(listed, yaml.SequenceNode):
            items = [item for node in listed.value if (item := self._item(node, set_)) is not None]
        else:
            self.note(listed or document, "subscriptions: write a list, each item beginning with `- id:`")
        return SubscriptionFile(self._path, set_, tuple(items), tuple(self.problems))

    def _item(self, node: yaml.Node, set_: str | None) -> _Item | None:
        if not isinstance(node, yaml.MappingNode):
            self.note(node, "subscriptions: each item holds the fields of a subscription, beginning with `- id:`")
            return None
        before = len(self.problems)
        name = _name_of(node)
        fields = Fields(self, name, self.fields(node, name, _FIELDS))
        for required in _REQUIRED:
            if required not in fields.nodes:
                self.note(node, f"{name}{required} is missing")
                fields.bad.add(required)
        draft = Draft(
            id=fields.read("id", self.text, ""),
            sender=fields.read("sender", self.text, ""),
            customer_id=fields.read("customer_id", self.text, ""),
            url=fields.read("url", self.text, ""),
            event_types=fields.read("event_types", self._event_types, ()),
            secret=self._secret(node, name, fields.nodes),
            set=set_,
            description=fields.read("description", self.text, ""),
            **read_settings(self, fields),
        )
        lines = {name: line_of(value) for name, value in fields.nodes.items()}
        return _Item(draft, len(self.problems) == before, line_of(node), lines, frozenset(fields.bad))

    def _event_types(self, node: yaml.Node, name: str) -> tuple[str, ...]:
        return self.texts(node, name, "of event types, such as [case.created, case.*]")

    def _secret(self, node: yaml.Node, name: str, fields: Mapping[str, yaml.Node]) -> SecretWish:
        given = [field for field in _SECRETS if field in fields]
        if len(given) > 1:
            self.note(node, f"{name}{' and '.join(given)} are both there; keep one of them")
            return None
        if not given:
            return None
        field = given[0]
        text = self.text(fields[field], f"{name}{field}")
        if field == "secret":
            return Generate() if text == _GENERATE else Given(text)
        fetch = self.from_environment if field == "secret_env" else self.from_file
        secret = fetch(fields[field], f"{name}{field}", text)
        return None if secret is None else Given(secret)


def _name_of(node: yaml.MappingNode) -> str:
    for key, value in node.value:
        if key.value == "id" and isinstance(value, yaml.ScalarNode) and value.value:
            return f"subscription {value.value[:128]}: "
    return "subscription without an id: "


def _sentence(path: Path, error: yaml.YAMLError) -> str:
    """Say where the file stops being YAML, without what stands there."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"{path}: not YAML: it holds characters that YAML does not allow"
    where = f"{path}:{error.problem_mark.line + 1}"
    if "alias" in f"{error.context} {error.problem}":
        return f"{where}: not YAML: * and & have a meaning of their own at the start of a value; put it in quotes"
    problem = re.sub(r"'([^']*)'", _without_content, error.problem or "")
    return f"{where}: not YAML: {problem}"


def _without_content(quoted: re.Match[str]) -> str:
    """Keep the signs that YAML's own sentences quote, and names of its tokens, but nothing of the file."""
    inside = quoted[1]
    return quoted[0] if len(inside) < 2 or inside.startswith("<") else "'…'"
