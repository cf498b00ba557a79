"""Parts of the Grafana dashboards: queries, panels, rows and variables, built with grafana-foundation-sdk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as models_common
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as models_prometheus

_TAG: Final = "signpost"
_SOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
# The variables of every dashboard that select series. A label that a Prometheus does not add is empty, and the value
# of "All" matches it.
SELECTING: Final = ("cluster", "namespace", "job", "instance")
_SELECTOR: Final = ", ".join(f'{name}=~"${name}"' for name in SELECTING)
# Labels that recording rules and alerts keep.
_INSTALLATION: Final = ", ".join(f'{name}=~"${name}"' for name in ("cluster", "namespace"))
_WIDTH: Final = 24

Unit: TypeAlias = Literal["short", "ops", "s", "percentunit", "bytes", "d", "none"]


def selected(expression: str) -> str:
    """Return a query with its selectors: `@` is that of the variables, `@@` that of an installation's alerts."""
    return expression.replace("@@", _INSTALLATION).replace("@", _SELECTOR)


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """A query in PromQL with `@` and `@@` as in `selected`, and the legend of its series."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel with a graph. `meaning` is the description that Grafana shows on demand."""

    title: str
    meaning: str
    queries: Sequence[PanelQuery]
    unit: Unit = "short"
    width: int = 8
    height: int = 8

    def build(self, at: models.GridPos) -> timeseries.Panel:
        """Return the panel at a place of the grid."""
        legend = (
            common_builders.VizLegendOptions()
            .show_legend(True)
            .display_mode(models_common.LegendDisplayMode.LIST)
            .placement(models_common.LegendPlacement.BOTTOM)
        )
        tooltip = common_builders.VizTooltipOptions().mode(models_common.TooltipDisplayMode.MULTI)
        return (
            timeseries.Panel()
            .title(self.title)
            .description(self.meaning)
            .datasource(_SOURCE)
            .grid_pos(at)
            .unit(self.unit)
            .min(0)
            .fill_opacity(10)
            .legend(legend)
            .tooltip(tooltip)
            .targets([*_targets(self.queries)])
        )


@dataclass(frozen=True, slots=True)
class Number:
    """A panel with the last value of one query, coloured from `warning` and `bad` on."""

    title: str
    meaning: str
    query: PanelQuery
    unit: Unit = "short"
    width: int = 4
    height: int = 4
    warning: float | None = None
    bad: float | None = None
    is_good_high: bool = False

    def build(self, at: models.GridPos) -> stat.Panel:
        """Return the panel at a place of the grid."""
        return (
            _stat(self.title, self.meaning, at)
            .unit(self.unit)
            .thresholds(_thresholds(self.warning, self.bad, is_good_high=self.is_good_high))
            .targets([*_targets([self.query])])
        )


@dataclass(frozen=True, slots=True)
class Words:
    """A panel that says in words what a number means: `good` for 0, `bad` for everything above."""

    title: str
    meaning: str
    query: PanelQuery
    good: str
    bad: str
    width: int = 4
    height: int = 4

    def build(self, at: models.GridPos) -> stat.Panel:
        """Return the panel at a place of the grid."""
        good = models.ValueMappingResult(text=self.good, color="green", index=0)
        bad = models.ValueMappingResult(text=self.bad, color="red", index=1)
        mappings: list[models.ValueMapping] = [
            models.ValueMap(options={"0": good}),
            models.RangeMap(options=models.DashboardRangeMapOptions(from_val=1e-9, result=bad)),
        ]
        return (
            _stat(self.title, self.meaning, at)
            .graph_mode(models_common.BigValueGraphMode.NONE)
            .color_mode(models_common.BigValueColorMode.BACKGROUND)
            .mappings(mappings)
            .thresholds(_thresholds(None, None))
            .no_value("no data: is the role scraped?")
            .targets([*_targets([self.query])])
        )


@dataclass(frozen=True, slots=True)
class Sentences:
    """A table of labels. `words` maps the values of a column to sentences; a column that is not named is hidden."""

    title: str
    meaning: str
    query: PanelQuery
    columns: Mapping[str, str]
    words: Mapping[str, Mapping[str, str]]
    width: int = _WIDTH
    height: int = 7

    def build(self, at: models.GridPos) -> table.Panel:
        """Return the panel at a place of the grid."""
        target = (
            prometheus.Dataquery()
            .ref_id("A")
            .datasource(_SOURCE)
            .expr(selected(self.query.expression))
            .format(models_prometheus.PromQueryFormat.TABLE)
            .instant()
        )
        panel = (
            table.Panel()
            .title(self.title)
            .description(self.meaning)
            .datasource(_SOURCE)
            .grid_pos(at)
            .with_target(target)
            .with_transformation(self._organize())
        )
        for column, sentences in self.words.items():
            mapping = models.ValueMap(
                options={
                    value: models.ValueMappingResult(text=text, index=index)
                    for index, (value, text) in enumerate(sentences.items())
                }
            )
            panel.override_by_name(
                self.columns[column], [models.DynamicConfigValue(id_val="mappings", value=[mapping])]
            )
        return panel

    def _organize(self) -> models.DataTransformerConfig:
        """Return the transformation that names and orders the columns and drops all others."""
        options = {
            "includeByName": dict.fromkeys(self.columns, True),
            "indexByName": {name: index for index, name in enumerate(self.columns)},
            "renameByName": dict(self.columns),
        }
        return models.DataTransformerConfig(id_val="organize", options=options)


AnyPanel: TypeAlias = Panel | Number | Words | Sentences


@dataclass(frozen=True, slots=True)
class PanelRow:
    """A row of a dashboard: a title, and panels from left to right."""

    title: str
    panels: Sequence[AnyPanel]


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard. `role` limits the choice of processes to one role."""

    name: str
    title: str
    rows: Sequence[PanelRow]
    role: str = ""
    variables: Sequence[builders.QueryVariable] = field(default=())

    def as_json(self) -> str:
        """Return the dashboard as Grafana imports it."""
        board = (
            builders.Dashboard(f"Signpost: {self.title}")
            .uid(f"signpost-{self.name}")
            .tags([_TAG])
            .timezone("browser")
            .editable()
            .version(1)
            .refresh("10s")
            .time("now-1h", "now")
            .tooltip(models.DashboardCursorSync.CROSSHAIR)
            .link(_links())
        )
        for variable in (_datasource(), *_selecting(self.role), *self.variables):
            board.with_variable(variable)
        self._place(board)
        return json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"

    def _place(self, board: builders.Dashboard) -> None:
        """Add the rows; panels that do not fit in the width begin a new line."""
        number, y = 1, 0
        for row in self.rows:
            board.with_row(builders.Row(row.title).id(number).grid_pos(models.GridPos(h=1, w=_WIDTH, x=0, y=y)))
            number, y, x, tallest = number + 1, y + 1, 0, 0
            for panel in row.panels:
                if x + panel.width > _WIDTH:
                    x, y, tallest = 0, y + tallest, 0
                at = models.GridPos(h=panel.height, w=panel.width, x=x, y=y)
                board.with_panel(panel.build(at).id(number))
                number, x, tallest = number + 1, x + panel.width, max(tallest, panel.height)
            y += tallest


def quantiles(
    metric: str, *quantiles_: float, by: str = "", matching: str = "", legend: str = ""
) -> tuple[PanelQuery, ...]:
    """Return a query for each quantile of a histogram: `matching` are further matchers, `by` further labels."""
    selector = f"@, {matching}" if matching else "@"
    grouped = f"le, {by}" if by else "le"
    buckets = f"sum by ({grouped}) (rate({metric}_bucket{{{selector}}}[$__rate_interval]))"
    return tuple(
        PanelQuery(f"histogram_quantile({quantile:g}, {buckets})", legend or f"p{quantile * 100:g}")
        for quantile in quantiles_
    )


def cpu_panel(own: str, width: int = 8) -> Panel:
    """Return the panel of the CPU of processes; `own` restricts a query to those of a dashboard."""
    query = PanelQuery(f"rate(process_cpu_seconds_total{{@}}[$__rate_interval]) {own}", "{{instance}}")
    return Panel("CPU", "Cores in use.", (query,), width=width)


def memory_panel(own: str, width: int = 8) -> Panel:
    """Return the panel of the memory of processes; `own` as in `cpu_panel`."""
    query = PanelQuery(f"process_resident_memory_bytes{{@}} {own}", "{{instance}}")
    return Panel("Memory", "Resident memory.", (query,), "bytes", width=width)


def variable(name: str, label: str, query: str) -> builders.QueryVariable:
    """Return a variable with the values of a label; several may be selected, and All by default."""
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(_SOURCE)
        .query({"query": query, "refId": name})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .include_all(True)
        .all_value(".*")
        .multi(True)
        .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _selecting(role: str) -> list[builders.QueryVariable]:
    """Return the variables that select series; each offers what the ones before it leave."""
    labels = {"cluster": "Cluster", "namespace": "Namespace", "job": "Job", "instance": "Process"}
    matchers = [f'role="{role}"'] if role else []
    found = []
    for name in SELECTING:
        chosen = f"{{{', '.join(matchers)}}}" if matchers else ""
        found.append(variable(name, labels[name], f"label_values(signpost_build_info{chosen}, {name})"))
        matchers.append(f'{name}=~"${name}"')
    return found


def _datasource() -> builders.DatasourceVariable:
    return builders.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _links() -> builders.DashboardLink:
    return (
        builders.DashboardLink("Signpost")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([_TAG])
        .include_vars(True)
        .keep_time(True)
    )


def _targets(queries: Iterable[PanelQuery]) -> Iterable[prometheus.Dataquery]:
    for number, query in enumerate(queries):
        yield (
            prometheus.Dataquery()
            .ref_id("ABCDEFGH"[number])
            .datasource(_SOURCE)
            .expr(selected(query.expression))
            .legend_format(query.legend)
            .exemplar("histogram_quantile" in query.expression)
            .range()
        )


def _stat(title: str, meaning: str, at: models.GridPos) -> stat.Panel:
    return (
        stat.Panel()
        .title(title)
        .description(meaning)
        .datasource(_SOURCE)
        .grid_pos(at)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def _thresholds(warning: float | None, bad: float | None, *, is_good_high: bool = False) -> builders.ThresholdsConfig:
    """Return green up to `warning`, then orange, and red from `bad` on; the reverse order for `is_good_high`."""
    if is_good_high:
        steps = [models.Threshold(color="red")]
        steps += [] if bad is None else [models.Threshold(value=bad, color="orange")]
        steps += [] if warning is None else [models.Threshold(value=warning, color="green")]
    else:
        steps = [models.Threshold(color="green")]
        steps += [] if warning is None else [models.Threshold(value=warning, color="orange")]
        steps += [] if bad is None else [models.Threshold(value=bad, color="red")]
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
