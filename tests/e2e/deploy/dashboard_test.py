#!/usr/bin/env python3
"""The Grafana dashboard and the Prometheus alerts ask for what the daemon tells.

  dashboard_test.py EXPOSITION

EXPOSITION is a file with what the daemon answered at /metrics. Checks that

- every metric that a query names is in it, and every label that the query picks by;
- every query is one that promtool can parse;
- the dashboard is JSON with no two panels of one id, or in one place, and all of its panels ask the
  data source that is chosen at its top.
"""

import collections
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile

from processes import module, skip_without

yaml = module("yaml", "python3-yaml")

DEPLOY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "deploy")
DASHBOARD = os.path.join(DEPLOY, "grafana", "breakerd.json")
ALERTS = os.path.join(DEPLOY, "prometheus", "alerts.yaml")

FROM_PROMETHEUS = {"up", "ALERTS"}
TARGET_LABELS = {"job", "instance"}
KEYWORDS = {"and", "or", "unless", "bool", "offset"}
WIDTH = 24

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')


class Exposition:
    def __init__(self, text):
        self.names = set()
        self.labels = collections.defaultdict(list)  # of every sample, by metric
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                parts = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
                self.names.update(name + part for part in parts)
            elif line and not line.startswith("#"):
                name = re.match(NAME, line).group()
                self.labels[name].append({m[1]: m[3] for m in LABEL.finditer(line)})


def selectors(query):
    """Each metric of a query with the text between its braces."""
    quoted = r'"(?:[^"\\]|\\.)*"'
    query = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", query)
    token = re.compile(
        quoted + r"|\[[^]]*\]|\d[\w.]*|(" + NAME + r")\s*(\{(?:[^}\"]|" + quoted + r")*\}|\()?")
    for match in token.finditer(query):
        name, rest = match.group(1), match.group(2) or ""
        if name and rest != "(" and name not in KEYWORDS:
            yield name, rest


def check_metrics(where, query, exposition):
    for name, labels in selectors(query):
        if name in FROM_PROMETHEUS:
            continue
        if name not in exposition.names:
            yield f"{where}: the daemon has no metric {name}"
            continue
        for label, operator, value in LABEL.findall(labels):
            if label in TARGET_LABELS:
                continue
            told = {sample.get(label) for sample in exposition.labels[name]}
            if told == {None}:
                yield f"{where}: {name} has no label {label}"
            elif told and operator in ("=", "!=") and value not in told:
                yield f'{where}: no {name} has {label}="{value}"'


def check_syntax(queries):
    """promtool reads rules only: so each query becomes one."""
    for where, query in queries:
        rules = {"groups": [{"name": "q", "rules": [{"record": "q", "expr": query}]}]}
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump(rules, file)  # JSON is YAML
            file.flush()
            result = subprocess.run(["promtool", "check", "rules", file.name], text=True,
                                    capture_output=True, check=False)
        if result.returncode != 0:
            yield f"{where}: {query}: {result.stderr.strip()}"


def check_layout(panels):
    for panel_id, count in collections.Counter(panel["id"] for panel in panels).items():
        if count > 1:
            yield f"{count} panels have the id {panel_id}"
    for panel in panels:
        at = panel["gridPos"]
        if at["x"] < 0 or at["w"] <= 0 or at["h"] <= 0 or at["x"] + at["w"] > WIDTH:
            yield f"{panel['title']}: does not fit into the grid"
    for one, other in itertools.combinations(panels, 2):
        a, b = one["gridPos"], other["gridPos"]
        if (a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"]
                and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]):
            yield f"{one['title']} overlaps {other['title']}"


def check_datasources(dashboard):
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    variables = dashboard["templating"]["list"]
    if variables[0]["type"] != "datasource" or variables[0]["name"] != "datasource":
        yield "the first variable is not the data source"
    for item in variables[1:] + [p for p in dashboard["panels"] if p["type"] != "row"]:
        if item.get("datasource") != chosen:
            yield f"{item.get('title', item.get('name'))}: asks another data source"


def load_dashboard():
    with open(DASHBOARD, encoding="utf-8") as file:
        return json.load(file)


def queries_of_dashboard(dashboard):
    """As Prometheus gets them, when all services and operations are chosen."""
    values = {"$__rate_interval": "1m", "$service": ".*", "$operation": ".*"}
    for where, query in raw_queries(dashboard):
        for variable, value in values.items():
            query = query.replace(variable, value)
        yield where, query


def raw_queries(dashboard):
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((.*), *\w+\)", variable["query"]["query"])
            yield f"variable {variable['name']}", asked.group(1)
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"]


def queries_of_alerts():
    with open(ALERTS, encoding="utf-8") as file:
        for group in yaml.safe_load(file)["groups"]:
            for rule in group["rules"]:
                yield f"alert {rule['alert']}", rule["expr"]


def main():
    skip_without("promtool")
    with open(sys.argv[1], encoding="utf-8") as file:
        exposition = Exposition(file.read())
    dashboard = load_dashboard()
    queries = [*queries_of_dashboard(dashboard), *queries_of_alerts()]
    errors = [*check_layout(dashboard["panels"]), *check_datasources(dashboard)]
    for where, query in queries:
        errors += check_metrics(where, query, exposition)
    errors += check_syntax(queries)
    if errors:
        sys.exit("\n".join(errors))


if __name__ == "__main__":
    main()
