"""Files of subscriptions, in YAML: every problem by its line and field, and all of them at once.

    set: billing                 # optional: what --prune may delete
    subscriptions:
      - id: acme-cases
        sender: zenoo
        customer_id: acme
        url: https://hooks.acme.example/zenoo
        event_types: [case.*, sla.breached]
        secret_env: ACME_SECRET  # or secret, or secret_file, or `secret: generate`, or none of them

Messages repeat neither a value of a secret nor a line of the file, which may hold one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import yaml

from schemas.errors import SubscriptionError
from schemas.rules import Draft, Generate, Given, SecretWish, nearest

_TOP: Final = ("set", "subscriptions")
_REQUIRED: Final = ("id", "sender", "customer_id", "url", "event_types")
_SECRETS: Final = ("secret", "secret_env", "secret_file")
_FIELDS: Final = (*_REQUIRED, *_SECRETS, "description")
_GENERATE: Final = "generate"
_LOOKS_LIKE: Final = {"secret_env": re.compile(r"[A-Z_][A-Z0-9_]*"), "secret_file": re.compile(r"/.*|.*\.[a-z]{1,8}")}
_STR: Final = "tag:yaml.org,2002:str"
# A tag may be anything that somebody writes after a `!`.
_KINDS: Final = {f"tag:yaml.org,2002:{kind}": kind for kind in ("bool", "float", "int", "null", "timestamp")}


@dataclass(frozen=True, slots=True)
class SubscriptionFile:
    """What a file says, as far as it could be understood, and what is wrong with the rest."""

    set: str | None
    drafts: tuple[Draft, ...]
    problems: tuple[str, ...]


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


class _Reader:
    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self._path = path
        self._environment = environment
        self._problems: list[str] = []

    def read(self, document: yaml.Node | None) -> SubscriptionFile:
        if not isinstance(document, yaml.MappingNode):
            raise SubscriptionError(f"{self._path}:1: the file has to hold `subscriptions:` and a list below it")
        top = self._fields(document, "", _TOP)
        set_ = (self._text(top["set"], "set") or None) if "set" in top else None
        found = top.get("subscriptions")
        drafts: list[Draft] = []
        if isinstance(found, yaml.SequenceNode):
            drafts = [draft for item in found.value if (draft := self._draft(item)) is not None]
        else:
            self._note(found or document, "subscriptions: write a list, each item beginning with `- id:`")
        return SubscriptionFile(set_, tuple(replace(draft, set=set_) for draft in drafts), tuple(self._problems))

    def _draft(self, node: yaml.Node) -> Draft | None:
        if not isinstance(node, yaml.MappingNode):
            self._note(node, "subscriptions: each item holds the fields of a subscription, beginning with `- id:`")
            return None
        before = len(self._problems)
        name = _name_of(node)
        fields = self._fields(node, name, _FIELDS)
        for field in _REQUIRED:
            if field not in fields:
                self._note(node, f"{name}{field} is missing")
        texts = {
            field: self._text(fields[field], f"{name}{field}")
            for field in (*_REQUIRED[:-1], "description")
            if field in fields
        }
        types = self._texts(fields["event_types"], f"{name}event_types") if "event_types" in fields else ()
        secret = self._secret(node, name, fields)
        if len(self._problems) > before:
            return None
        return Draft(
            id=texts["id"],
            sender=texts["sender"],
            customer_id=texts["customer_id"],
            url=texts["url"],
            event_types=types,
            secret=secret,
            description=texts.get("description", ""),
        )

    def _fields(self, node: yaml.MappingNode, name: str, known: tuple[str, ...]) -> dict[str, yaml.Node]:
        fields: dict[str, yaml.Node] = {}
        for key, value in node.value:
            field = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            if field not in known:
                hint = nearest(field, known) or f"; known: {', '.join(known)}"
                self._note(key, f"{name}{field[:100]!r} is not a field{hint}")
            elif field in fields:
                self._note(key, f"{name}{field} is there twice")
            fields[field] = value
        return fields

    def _secret(self, node: yaml.Node, name: str, fields: Mapping[str, yaml.Node]) -> SecretWish:
        given = [field for field in _SECRETS if field in fields]
        if len(given) > 1:
            self._note(node, f"{name}{' and '.join(given)} are both there; keep one of them")
            return None
        if not given:
            return None
        field = given[0]
        text = self._text(fields[field], f"{name}{field}")
        if field == "secret":
            return Generate() if text == _GENERATE else Given(text)
        fetch: Callable[[str], str | None] = self._environment.get if field == "secret_env" else self._content
        secret = fetch(text) if text else None
        if not secret:
            # What is no name may be the secret itself, by mistake.
            named = f" {text}" if _LOOKS_LIKE[field].fullmatch(text) else " that it names"
            where = f"the {'environment variable' if field == 'secret_env' else 'file'}{named}"
            self._note(fields[field], f"{name}{field}: {where} is not there or empty")
            return None
        return Given(secret)

    def _content(self, file: str) -> str | None:
        """Return the text of a secret's file, beside the YAML file if it is relative, without the line's end."""
        try:
            return (self._path.parent / file).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError, ValueError):
            return None

    def _texts(self, node: yaml.Node, name: str) -> tuple[str, ...]:
        if isinstance(node, yaml.SequenceNode):
            return tuple(self._text(item, name) for item in node.value)
        if isinstance(node, yaml.ScalarNode) and node.tag == _STR:
            return (str(node.value),)
        self._note(node, f"{name}: write a list of event types, such as [case.created, case.*]")
        return ()

    def _text(self, node: yaml.Node, name: str) -> str:
        if isinstance(node, yaml.ScalarNode) and node.tag == _STR:
            return str(node.value)
        kind = "list or mapping"
        if isinstance(node, yaml.ScalarNode):
            kind = _KINDS.get(node.tag, "value with a tag")
        self._note(node, f"{name}: write text, in quotes if it looks like something else (this is a {kind})")
        return ""

    def _note(self, node: yaml.Node, problem: str) -> None:
        self._problems.append(f"{self._path}:{node.start_mark.line + 1}: {problem}")


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
