"""OpenAPI 3.1 of the REST APIs: paths, errors, and the webhooks that a customer's endpoint gets.

document.py     the document of a sender that has an API
parts.py        what both documents are made of: operations, responses, errors
onboarding.py   operations and schemas of the Onboarding API
diligent.py     operations and schemas of Diligent's API
events.py       the section `webhooks`
page.py         a document as an HTML page
pages.py        all files under /docs
"""
