"""The OpenAPI documents are valid and complete, and describe the API as it is built."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from deploy.reference.examples import examples_of
from deploy.reference.folder import documents_of
from deploy.reference.openapi.pages import files
from producers.api.diligent import answers as diligent
from producers.api.diligent.operations import DiligentApi
from producers.api.onboarding import answers as onboarding
from producers.api.onboarding.operations import OnboardingApi
from producers.api.ports import DeliveryTotals, TestResult
from producers.api.refusals import STATUSES
from producers.api.webhooks import Webhook
from schemas.senders.sender import load_senders
from schemas.subscriptions.subscription import Subscription
from tests.contracts.senders import DATA, SENDERS

APIS = ("onboarding", "diligent")
DOCUMENTS = {name: json.loads(dict(documents_of(SENDERS[name], "topic", "1"))["openapi.json"]) for name in APIS}
METHODS = ("get", "post", "patch", "delete")


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield path, method and operation."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def resolved(document: Mapping[str, Any], node: Any) -> Any:
    """Follow a reference inside of a document."""
    while "$ref" in node:
        reference, node = node["$ref"], document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    return node


def errors(document: Mapping[str, Any], schema: Any, value: Any) -> list[str]:
    """Return what is wrong with a value by a schema of a document."""
    resource = Resource(document, DRAFT202012)
    registry: Any = Registry().with_resource("urn:document", resource)
    rooted = json.loads(json.dumps(schema).replace('"#/', '"urn:document#/'))
    return [error.message for error in Draft202012Validator(rooted, registry=registry).iter_errors(value)]


@pytest.mark.parametrize("name", APIS)
def test_document_is_valid_openapi(name: str) -> None:
    """The document is valid by the official schema of OpenAPI 3.1, and a wrong one is not."""
    document = DOCUMENTS[name]
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    wrong = document | {"paths": {"/x": {"get": {"responses": {"200": {}}}}}}
    assert not OpenAPIV31SpecValidator(wrong).is_valid()


@pytest.mark.parametrize("name", SENDERS)
def test_only_senders_with_an_api_have_a_document(name: str) -> None:
    """`signpost senders docs` writes openapi.json for the two products that have a REST API."""
    assert ("openapi.json" in dict(documents_of(SENDERS[name], "topic", "1"))) is (name in APIS)


@pytest.mark.parametrize("name", APIS)
def test_document_has_every_operation(name: str) -> None:
    """Paths and methods are those that the API serves; each operation has its errors, in order of the status."""
    nothing: Any = None
    rules: Any = type("Rules", (), {"sender": SENDERS[name]})
    built = (
        OnboardingApi(nothing, rules, nothing, nothing, nothing)
        if name == "onboarding"
        else DiligentApi(nothing, rules, nothing)
    )
    served = {
        (path, method.lower(), operation.name + "Webhook", operation.writes)
        for path, methods in built.routes.items()
        for method, operation in methods.items()
    }
    described = {
        (path, method, operation["operationId"].replace("Webhooks", "Webhook"), "403" in operation["responses"])
        for path, method, operation in operations(DOCUMENTS[name])
    }
    assert described == served
    for _, method, operation in operations(DOCUMENTS[name]):
        statuses = list(operation["responses"])
        assert statuses == sorted(statuses)
        assert {"400", "401", "405", "429", "500", "503"} <= set(statuses)
        assert ({"408", "413"} <= set(statuses)) is (method in ("post", "patch"))
    described_errors = {int(status) for _, _, one in operations(DOCUMENTS[name]) for status in one["responses"]}
    assert set(STATUSES.values()) <= described_errors


@pytest.mark.parametrize("name", APIS)
def test_every_example_is_valid_by_its_schema(name: str) -> None:
    """Examples of requests, answers, errors and webhooks fit their schemas, and no answer may have a further key."""
    document = DOCUMENTS[name]
    bodies = [one.get("requestBody", {}) for _, _, one in operations(document)]
    bodies += [resolved(document, one) for _, _, item in operations(document) for one in item["responses"].values()]
    bodies += [item["post"]["requestBody"] for item in document["webhooks"].values()]
    count = 0
    for content in (content for body in bodies for content in body.get("content", {}).values()):
        for example in content["examples"].values():
            assert errors(document, content["schema"], example["value"]) == []
            count += 1
    assert count > 20
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            content = resolved(document, response).get("content", {}).get("application/json")
            if content is not None and path != "/webhooks":
                (value, *_) = (example["value"] for example in content["examples"].values())
                assert errors(document, content["schema"], value | {"more": 1}), (path, method, status)


@pytest.mark.parametrize("name", APIS)
def test_examples_of_the_product_are_in_the_document(name: str) -> None:
    """The document shows the requests and answers of the product's own documents, byte by byte but for spaces."""
    document = DOCUMENTS[name]
    for file in sorted((DATA / "examples" / name / "api").glob("*.json")):
        example = json.loads(file.read_text(encoding="utf-8"))
        request, response = example["request"], example["response"]
        (found,) = (
            one
            for path, method, one in operations(document)
            if method == request["method"].lower()
            and re.fullmatch(path.replace("{webhook_id}", "[0-9a-f-]{36}"), request["path"])
        )
        for body, shown in (
            (request["body"], found.get("requestBody", {})),
            (response["body"], found["responses"][str(response["status"])]),
        ):
            if body is not None:
                values = [one["value"] for one in shown["content"]["application/json"]["examples"].values()]
                assert json.dumps(body) in map(json.dumps, values), file.name
            else:
                assert "content" not in shown


def subscription(sender: str, event_type: str) -> Subscription:
    """Return a subscription as the API reads it."""
    return Subscription(
        id="f67f165d-0d1e-4eb7-81e6-3494a260dcd4",
        sender=sender,
        customer_id="acme",
        url="https://api.yourcompany.com/x",
        event_types=(event_type,),
        secrets=(),
        paused=False,
        activation=0,
        set=None,
        description="",
        request_id="",
        created_at_ms=1_768_818_600_123,
        updated_at_ms=1_768_818_600_123,
    )


def built_answers(name: str) -> dict[str, bytes]:
    """Return answers of the API by the name of their schema."""
    totals = DeliveryTotals(delivered=3, dead=1, last_at_ms=1_768_818_700_000, last_status=200)
    if name == "diligent":
        webhook = Webhook(subscription(name, "search_completed"), is_active=True, totals=totals)
        types = load_senders()[name].subscribable
        return {"Webhook": diligent.shown(webhook, types), "WebhookList": diligent.listed([webhook], types)}
    webhook = Webhook(subscription(name, "case.opened"), is_active=True, totals=totals)
    return {
        "Created": onboarding.created(webhook.subscription, "whsec_" + "A" * 52),
        "WebhookList": onboarding.listed([webhook]),
        "Webhook": onboarding.shown(webhook),
        "Updated": onboarding.updated(webhook.subscription.id),
        "Deleted": onboarding.DELETED,
        "TestResult": onboarding.tested(TestResult(1, None, "connection timed out")),
    }


@pytest.mark.parametrize("name", APIS)
def test_keys_of_answers_have_the_order_of_the_document(name: str) -> None:
    """Each answer of the API is valid, and its keys have the order of the schema's properties, at every level."""
    document = DOCUMENTS[name]
    for schema_name, body in built_answers(name).items():
        schema, value = document["components"]["schemas"][schema_name], json.loads(body)
        assert errors(document, schema, value) == []
        assert_order(document, schema, value)


def assert_order(document: Mapping[str, Any], schema: Any, value: Any) -> None:
    """Compare the order of keys with that of the properties."""
    schema = resolved(document, schema)
    if isinstance(value, list):
        for item in value:
            assert_order(document, schema["items"], item)
    elif isinstance(value, dict) and "properties" in schema:
        assert list(value) == list(schema["properties"]) == schema["required"]
        for key, inner in value.items():
            assert_order(document, schema["properties"][key], inner)


@pytest.mark.parametrize("name", APIS)
def test_document_has_a_webhook_for_every_event_type(name: str) -> None:
    """Each event type has a webhook with the sender's headers, and requests that were signed fit it."""
    document, sender = DOCUMENTS[name], SENDERS[name]
    special = {"test"} if name == "onboarding" else set()
    assert set(document["webhooks"]) == {*sender.event_types, *special}
    for event_type, examples in examples_of(sender).items():
        post = document["webhooks"][event_type]["post"]
        schema = post["requestBody"]["content"]["application/json"]["schema"]
        for example in examples:
            assert errors(document, schema, json.loads(example.body)) == []
            sent = dict(example.headers)
            assert {one["name"] for one in post["parameters"]} == sent.keys() - {"Content-Type"}
            for one in post["parameters"]:
                assert errors(document, one["schema"], sent[one["name"]]) == []
    for item in document["webhooks"].values():
        assert item["post"]["security"] == []
        assert "2XX" in item["post"]["responses"]


class Links(HTMLParser):
    """Collects the tags of a page, and what it loads or links."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = {name: value or "" for name, value in attrs}
        self.links |= {given[name] for name in ("href", "src") if name in given}
        if "id" in given:
            assert given["id"] not in self.ids
            self.ids.add(given["id"])


def test_pages_load_nothing_from_elsewhere() -> None:
    """The pages under /docs have no scripts and no styles of their own, and each link leads to a file or a heading."""
    served = {file.path: file for file in files(SENDERS.values(), "1")}
    assert {path for path in served if served[path].media_type == "text/html"} == {
        "/docs",
        "/docs/onboarding",
        "/docs/diligent",
    }
    for file in served.values():
        if file.media_type == "text/html":
            page = Links()
            page.feed(file.body.decode())
            assert not page.tags & {"script", "style", "img", "iframe", "form", "object"}
            assert "style=" not in file.body.decode()
            for link in page.links:
                assert link in served or link.removeprefix("#") in page.ids, link
    assert b"url(" not in served["/docs/style.css"].body
    assert b"@import" not in served["/docs/style.css"].body


@pytest.mark.parametrize("name", APIS)
def test_page_shows_every_operation_and_field(name: str) -> None:
    """The page of a product names each operation, field and status, and shows the examples."""
    (page,) = (one.body.decode() for one in files([SENDERS[name]], "1") if one.path == f"/docs/{name}")
    document = DOCUMENTS[name]
    for path, method, operation in operations(document):
        assert f"<code>{method.upper()} {path}</code>" in page
        for status in operation["responses"]:
            assert status in page
    for schema_name in ("CreateRequest", "Webhook", *(("Stats", "TestResult") if name == "onboarding" else ())):
        for field in document["components"]["schemas"][schema_name]["properties"]:
            assert re.search(rf"<code>(\w+\.)?{field}</code>", page), field


def test_sender_without_an_api_has_no_page() -> None:
    """A sender without a REST API has no page: `/docs` lists none."""
    served = {file.path: file for file in files([SENDERS["zenoo"]], "1")}
    assert set(served) == {"/docs", "/docs/style.css"}
    assert b"<li>" not in served["/docs"].body
