"""Alerts and the dashboard ask for metrics and labels that exist, and every alert has its section in the
troubleshooting page."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from docs import generate
from tests.deploy.manifests import DEPLOY, ROOT, golden, of_kind

MONITORING = DEPLOY / "components/monitoring"
REPOSITORY = re.compile(r"https://github\.com/romana-bus/romana-bus/blob/main/(docs/\w+\.md)#([\w-]+)")
#: Labels of Prometheus, of histograms, and of scrape.yaml.
ADDED = {"node", "pod", "le"}
[RULES] = of_kind("monitoring", "PrometheusRule")
ALERTS: list[dict[str, Any]] = [rule for group in RULES["spec"]["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
EXPRESSIONS = [
    *((alert["alert"], alert["expr"]) for alert in ALERTS),
    *((panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]),
]


def known() -> tuple[set[str], set[str]]:
    """The names of all series, and of all labels, as the reference of metrics has them."""
    text = generate.measured()
    names, labels = set[str](), set[str]()
    for name, row, kind in re.findall(r"^\| `(romana_\w+)` \| (.*?) \| (\w+) \|", text, re.MULTILINE):
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
        labels |= set(re.findall(r"`(\w+)`", row))
    for name, row in re.findall(r"^(romana_\w+)\{([\w,]+)\}", text, re.MULTILINE):  # IPAM's
        names.add(name)
        labels |= set(row.split(","))
    return names, labels


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS, ids=[title for title, _ in EXPRESSIONS])
def test_expressions_ask_for_metrics_and_labels_that_exist(title: str, expression: str) -> None:
    names, labels = known()
    asked = set(re.findall(r"\bromana_\w+", expression))
    assert asked
    assert asked <= names
    grouped = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
    matched = set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", expression))
    assert grouped | matched <= labels | ADDED


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_every_alert_has_a_runbook(alert: dict[str, Any]) -> None:
    match = REPOSITORY.fullmatch(alert["annotations"]["runbook_url"])
    assert match
    headings = re.findall(r"^#+ (.+)$", (ROOT / match[1]).read_text(), re.MULTILINE)
    assert match[2] in {heading.lower().replace(" ", "-") for heading in headings}
    assert alert["alert"] in headings
    assert alert["labels"]["severity"] in ("warning", "critical")


def test_every_runbook_has_its_alert() -> None:
    text = (ROOT / "docs/troubleshooting.md").read_text()
    assert set(re.findall(r"^### (Romana\w+)$", text, re.MULTILINE)) == {alert["alert"] for alert in ALERTS}


def test_the_monitor_finds_every_process() -> None:
    [service] = of_kind("monitoring", "Service")
    [monitor] = of_kind("monitoring", "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [each["port"] for each in monitor["spec"]["endpoints"]] == [service["spec"]["ports"][0]["name"]]
    served = [
        each["metadata"]["name"]
        for each in golden("three-zones")
        if each["kind"] in ("Deployment", "DaemonSet")
        and service["spec"]["selector"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert sorted(served) == ["romana-bus-agent", "romana-bus-ipam", "romana-bus-watcher"]


def test_the_dashboard_is_where_grafana_looks() -> None:
    [dashboard] = of_kind("monitoring", "ConfigMap")
    assert dashboard["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert json.loads(dashboard["data"]["dashboard.json"]) == DASHBOARD
    assert yaml.safe_load((MONITORING / "kustomization.yaml").read_text())["kind"] == "Component"
