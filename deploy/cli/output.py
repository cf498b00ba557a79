"""Standard output and standard error: any text can be written, and a full disk or a closed pipe gives a sentence."""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import sys
from encodings import ascii as ascii_codec
from functools import cache
from pathlib import Path
from typing import Final, TextIO

_ERRORS: Final = "signpost.escape"
_ASCII: Final = "signpost_ascii"
# Writing failed for a reason outside of Signpost.
_WRITE_FAILURES: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EPIPE, errno.ENXIO}


def accept_any_text() -> None:
    """Let both streams escape what their encoding lacks, as JSON does: `…` is `\\u2026` on an ASCII terminal."""
    _register()
    # A process can be started without these files. Another file would get their numbers.
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII if is_ascii else None, errors=_ERRORS)


@cache
def _register() -> None:
    codecs.register_error(_ERRORS, _escaped)
    codecs.register(_ascii_of_another_name)


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def write_failure(error: OSError) -> str | None:
    """Return a sentence about a failed write, empty for a closed pipe; None for any other error."""
    if error.errno not in _WRITE_FAILURES:
        return None
    if error.errno == errno.EPIPE:
        return ""
    what = error.filename if isinstance(error.filename, str) else "a file or the output"
    return f"{what} cannot be written: {error.strerror}"


def flush_failure() -> str | None:
    """Flush standard output; return a sentence if it cannot be written, as `write_failure` does."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return write_failure(error) or ""
    except ValueError:  # it is closed
        return None
    return None


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _ascii_of_another_name(name: str) -> codecs.CodecInfo | None:
    """Return ASCII under a name of its own: typer would write UTF-8 to a stream that calls itself ASCII."""
    if name != _ASCII:
        return None
    return codecs.CodecInfo(
        encode=codecs.ascii_encode,
        decode=codecs.ascii_decode,
        incrementalencoder=ascii_codec.IncrementalEncoder,
        incrementaldecoder=ascii_codec.IncrementalDecoder,
        streamreader=ascii_codec.StreamReader,
        streamwriter=ascii_codec.StreamWriter,
        name=_ASCII,
    )
