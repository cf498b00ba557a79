"""Documents for those who get webhooks, made from a loaded sender and nothing else, so that they cannot differ from it.

examples.py      an event of each type as a signed request
payloads.py      JSON Schema of each request body
asyncapi.py      AsyncAPI: the topic of events, and the webhooks
verification.py  code that verifies requests, from the templates in verification/
guide.py         the receiver's guide, with guide_parts.py
folder.py        all of it as files
site.py          these and the project's own pages, as the source of a site
"""
