"""The REST APIs by which customers manage their webhooks, in the flavour of the product that documents each.

ports.py       what the API needs from the rest of Signpost
app.py         the FastAPI application: ports in, routes out
gateway.py     one request from start to end: key, limits, operation, errors, log line, metrics
flavours.py    what makes a flavour: its paths, operations, key header and error body
body.py        request body: bytes to fields
fields.py      fields to values, with all problems together
refusals.py    every way to refuse a request, with its status
webhooks.py    the operations on subscriptions that both flavours share
onboarding/    the Onboarding API: requests to drafts, subscriptions to answers, operations
diligent/      the Diligent API: the same
"""
