"""`signpost doctor`: what is wrong with an installation and the services that it uses, and what to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated, Final, cast

import typer

from deploy.cli.columns import folded, screen_width
from deploy.cli.context import check_state, command_app, loaded_of, print_json
from deploy.cli.options import options_of
from deploy.cli.scanning import Json
from deploy.cli.subscription_access import silent_client
from deploy.config.logs import discard_events
from deploy.doctor.checks.acls import ROLES, RoleName
from deploy.doctor.examination.context import ExaminationEnvironment, ExaminationRequest, Report
from deploy.doctor.examination.run import examine
from deploy.doctor.findings import Finding, Severity
from schemas.catalog.errors import InvalidInput
from schemas.input.suggestions import one_of
from schemas.input.terminal import printable

app = command_app()

# 1 is also the code of an unforeseen error, so it cannot mean that there are only warnings; 2 is invalid input.
_CODES: Final = {None: 0, Severity.ERROR: 1, Severity.WARNING: 3}
_COLOURS: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow"}


@app.command()
def _doctor(
    ctx: typer.Context,
    subscription: Annotated[
        str | None,
        typer.Argument(
            metavar="SUBSCRIPTION",
            help="Also check this subscription and its endpoint. The command connects to the endpoint, but sends no "
            "request.",
            show_default=False,
        ),
    ] = None,
    *,
    send_test: Annotated[
        bool,
        typer.Option(
            "--send-test",
            help="Also send the endpoint a signed test event, and check the response; for senders that document one.",
        ),
    ] = False,
    role: Annotated[
        list[str] | None,
        typer.Option(
            "--role",
            metavar="|".join(ROLES),
            help="Check the ACLs of this role only; repeatable. By default those of all roles.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check an installation and the services that it uses; show what is wrong, where, and what to do.

    Checks settings, brokers, topics, ACLs, the clock, the schema registry, the database of the ledger, the sealing key
    and all subscriptions. To read the brokers' clocks, it writes a tombstone to the topic `api-key-uses`. It changes
    nothing else. Exit code: 0 nothing found, 1 errors, 2 invalid input, 3 only warnings.
    """
    options = options_of(ctx)
    check_state(options.state)
    if send_test and subscription is None:
        raise InvalidInput("--send-test: name the subscription whose endpoint gets the test event")
    roles = tuple(cast("RoleName", one_of("--role", name, ROLES)) for name in dict.fromkeys(role or ROLES))
    discard_events()
    with silent_client():
        request = ExaminationRequest(subscription, send_test, roles, options.state)
        report = examine(lambda: loaded_of(ctx), request, ExaminationEnvironment())
    if json:
        print_json(as_json(report))
    else:
        _print(report)
    raise typer.Exit(_CODES[report.worst])


def as_json(report: Report) -> dict[str, object]:
    """Return a report as a JSON object."""
    return {
        "findings": [asdict(finding) | {"severity": finding.severity.value} for finding in report.findings],
        "checked": report.checked,
        "not_checked": report.not_checked,
    }


def _print(report: Report) -> None:
    width = screen_width()
    for finding in report.findings:
        label = typer.style(f"{finding.severity}:", fg=_COLOURS[finding.severity], bold=True)
        first, *others = folded(printable(_sentence(finding)), width).split("\n")
        typer.echo(f"{label} {first.removeprefix(f'{finding.severity}: ')}")
        for line in (*others, *folded(f"    {printable(finding.do)}", width).split("\n")):
            typer.echo(line)
    typer.echo(f"{_sum(report.findings)} (checked: {', '.join(map(_named, report.checked))})")
    for area, reason in report.not_checked.items():
        typer.echo(f"not checked: {_named(area)}: {printable(reason)}")


def _sentence(finding: Finding) -> str:
    return f"{finding.severity}: {_named(finding.area)}: {finding.where}: {finding.what}"


def _named(area: str) -> str:
    """Return the name of an area for people."""
    return {"acls": "ACLs", "sealing_key": "sealing key"}.get(area, area)


def _sum(findings: list[Finding]) -> str:
    counts = Counter(finding.severity for finding in findings)
    parts = [
        f"{counts[severity]} {severity}{'' if counts[severity] == 1 else 's'}"
        for severity in (Severity.ERROR, Severity.WARNING)
        if counts[severity]
    ]
    return ", ".join(parts) or "nothing is wrong"
