"""HTTP headers out of text as programs print them: lines, JSON, maps of Go and Java, dicts of Python. Pure."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

Headers: TypeAlias = list[tuple[str, str]]

# Keys of JSON objects that contain headers, in lower case without _ and -.
HEADER_KEYS: Final = ("headers", "rawheaders", "multivalueheaders", "httpheaders", "requestheaders", "header")
_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_LINE: Final = re.compile(rf"[>\s]*({_NAME})\s*:(.*)")
_TABBED: Final = re.compile(rf"\s*({_NAME})\t+(.*)")
_VARIABLE: Final = re.compile(r"\s*(HTTP_[A-Z0-9_]+|CONTENT_[A-Z]+)=(.*)")
_PRINT_R: Final = re.compile(r"^\s*\[([\w-]+)\] => (.*)$", re.MULTILINE)
_PRINT_R_LIST: Final = re.compile(r"=> Array\s*\(\s*\[0\] => ([^\n]*)\s*\)")
_CURL: Final = re.compile(r"""(?:-H|--header)[\s=]+\$?(?:'([^']*)'|"((?:[^"\\]|\\.)*)")""")
# A name in other text begins after another character: a search from each of its letters would take quadratic time.
_WORD: Final = r"(?<![\w-])([A-Za-z][\w-]*+)"
# Lists in brackets after = or :, as Go prints http.Header and Java its maps of lists.
_BRACKETS: Final = re.compile(rf"{_WORD}[:=]\[([^\]]*)\](?=[\s,;}}\]]|$)")
_GO_MAP: Final = re.compile(r"(?<![\w-])([A-Za-z][\w-]*+):(.*?)(?=\s[A-Za-z][\w-]*+:|\]$)", re.DOTALL)
_JAVA_MAP: Final = re.compile(r"(?<![\w-])([A-Za-z][\w-]*+)=(.*?)(?=,\s[A-Za-z][\w-]*+=|\}$)", re.DOTALL)
# A name and a quoted value with something between them: Ruby, Node.js, PHP, Go's %#v, pieces of JSON.
_PAIR: Final = re.compile(_WORD + r"""["']?\]?\s*(?:=>|[:=,])\s*(?:\[\]string)?[\[({]*\s*b?(?:"([^"]*)"|'([^']*)')""")
_CGI: Final = re.compile(r"(?:HTTP_|CONTENT_)[A-Z0-9_]+")
_MOST_DEPTH: Final = 6
# No server takes longer headers.
_MOST_CHARACTERS: Final = 32_000


def read_headers(text: str) -> Headers:
    """Return the headers in a text; an empty list if there are none. Names keep their spelling."""
    text = text.removeprefix("\ufeff").strip()
    read: Callable[[str], Headers]
    for read in (_structured, _maps, _lines, _others):
        if found := read(text if read is _structured else text[:_MOST_CHARACTERS]):
            return [(plain_name(name), value) for name, value in found]
    return []


def read_structure(text: str) -> Any:
    """Return the value of JSON, or of a literal of Python; None if the text is neither."""
    if not text or text[0] not in "{[(":
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def headers_in(value: Any, depth: int = 0) -> Headers:
    """Return the headers in a JSON value: an object, a list of pairs, of objects, of lines, or names and values."""
    if depth > _MOST_DEPTH:
        return []
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if (
                plain_key(key) in HEADER_KEYS
                and isinstance(inner, Mapping | list)
                and (found := headers_in(inner, depth + 1))
            ):
                return found
        return [(_text(name), joined) for name, inner in value.items() if (joined := _joined(inner)) is not None]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _listed(list(value), depth)
    return []


def plain_key(key: object) -> str:
    """Return a key of JSON in lower case, without _ and -."""
    return str(key).lower().replace("_", "").replace("-", "")


def plain_name(name: str) -> str:
    """Return the name of a header; HTTP_WEBHOOK_ID of CGI becomes webhook-id."""
    return name.removeprefix("HTTP_").replace("_", "-").lower() if _CGI.fullmatch(name) else name


def joined_values(headers: Headers) -> dict[str, str]:
    """Return headers by name. Several values of one name are joined, as HTTP defines it."""
    spelling: dict[str, str] = {}
    values: dict[str, list[str]] = {}
    for name, value in headers:
        known = spelling.setdefault(name.lower(), name)
        if value not in values.setdefault(known, []):
            values[known].append(value)
    return {name: ", ".join(each) for name, each in values.items()}


def _listed(items: list[Any], depth: int) -> Headers:
    found: Headers = []
    if len(items) % 2 == 0 and all(isinstance(item, str) for item in items) and not _are_lines(items):
        return list(zip(items[::2], items[1::2], strict=True))
    for item in items:
        if isinstance(item, str):
            found += _lines(item)
        elif isinstance(item, Mapping):
            fields = {plain_key(key): inner for key, inner in item.items()}
            name, value = fields.get("name", fields.get("key")), _joined(fields.get("value"))
            found += [(_text(name), value)] if name is not None and value is not None else headers_in(item, depth + 1)
        elif isinstance(item, list | tuple) and len(item) == 2 and (value := _joined(item[1])) is not None:
            found.append((_text(item[0]), value))
    return found


def _are_lines(items: Sequence[str]) -> bool:
    return all(_LINE.fullmatch(item) for item in items) and any(": " in item for item in items)


def _joined(value: Any) -> str | None:
    """Return a value, or a list of values, as the value of a header; None if it is something else."""
    if isinstance(value, str | bytes | int | float) and not isinstance(value, bool):
        return _text(value)
    if isinstance(value, list | tuple):
        texts = [_joined(item.get("value") if isinstance(item, Mapping) else item) for item in value]
        return (
            None if None in texts or not texts else ", ".join(dict.fromkeys(text for text in texts if text is not None))
        )
    return None


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _structured(text: str) -> Headers:
    value = read_structure(text)
    if value is None and (found := re.match(r"[\w.<\s]*?(?=[({\[])", text)) is not None and found[0]:
        inner = text[found.end() :].rstrip("> \n")
        value = read_structure(inner)
        if value is None and inner.startswith("('"):  # <CIMultiDictProxy('Host': 'x', …)> of aiohttp
            value = read_structure("{" + inner[1:-1] + "}")
    return headers_in(value)


def _maps(text: str) -> Headers:
    if text.startswith("map["):
        bracketed = list(_pairs(_BRACKETS, text[4:]))
        return bracketed or list(_pairs(_GO_MAP, text[4:]))
    if text.startswith("{") and text.endswith("}") and "'" not in text and '"' not in text:
        return list(_pairs(_BRACKETS, text[1:])) or list(_pairs(_JAVA_MAP, text[1:]))
    return []


def _pairs(pattern: re.Pattern[str], text: str) -> Iterator[tuple[str, str]]:
    for name, value in pattern.findall(text):
        yield name, value.strip()


def _lines(text: str) -> Headers:
    """Return the headers in lines; other lines, such as a request line or curl's messages, are left out."""
    found: Headers = []
    if text.startswith(("{", "[")):
        return found
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("<", "*", "{", "[", '"', "'", "-", "curl")):
            continue
        match = _LINE.fullmatch(line) or _VARIABLE.fullmatch(line) or _TABBED.fullmatch(line)
        if match is None:
            continue
        name, value = match[1], match[2].strip()
        if not value and number + 1 < len(lines) and not _LINE.fullmatch(lines[number + 1]):
            value = lines[number + 1].strip()  # the developer tools of browsers copy them so
        found.append((name, value))
    return found


def _others(text: str) -> Headers:
    if found := [(one or two).replace('\\"', '"') for one, two in _CURL.findall(text)]:
        return _lines("\n".join(found))
    if "] => " in text:
        return _PRINT_R.findall(_PRINT_R_LIST.sub(r"=> \1", text))
    return [(name, one or two) for name, one, two in _PAIR.findall(text)]
