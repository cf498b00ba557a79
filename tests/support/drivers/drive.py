"""Runs guides' Python: each line of standard input is a case in tab-separated base64; prints true or false for each."""

import base64
import importlib.util
import inspect
import sys

codes = {}
for line in sys.stdin:
    sender, secret, now, body, headers = (base64.b64decode(cell) for cell in line.rstrip("\n").split("\t"))
    name = sender.decode()
    if name not in codes:
        spec = importlib.util.spec_from_file_location(name, f"{name}/webhooks.py")
        codes[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(codes[name])
    is_genuine = codes[name].is_genuine
    given = dict(header.split(": ", 1) for header in headers.decode().splitlines())
    more = [float(now)] if "now" in inspect.signature(is_genuine).parameters else []
    print(str(is_genuine(given, body, secret.decode(), *more)).lower())
