"""Runs the Python code of a guide about webhooks: address, key, and the arguments of `create` come as JSON."""

import json
import sys

from webhooks import Webhooks

api, key, arguments = json.loads(sys.argv[1])
webhooks = Webhooks(api, key)
made = webhooks.create(*arguments)
shown = [made, webhooks.list_all(), webhooks.get(made["id"])]
webhooks.update(made["id"], is_active=False)
shown.append(webhooks.get(made["id"]))
if hasattr(webhooks, "send_test"):
    shown.append(webhooks.send_test(shown[1][0]["webhook_url"]))
webhooks.delete(made["id"])
try:
    webhooks.get(made["id"])
except RuntimeError as error:
    shown.append(str(error))
print(json.dumps(shown))
