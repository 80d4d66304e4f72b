#!/usr/bin/env python3
"""What --emf_log writes is what CloudWatch takes, and what the shipped template asks for.

  cloudwatch_test.py EMF_FILE TEMPLATE

EMF_FILE is what the daemon wrote, TEMPLATE the CloudFormation template. Checks that

- every line keeps the rules of the Embedded Metric Format:
  https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
- every metric that an alarm or the dashboard names, with its namespace and its dimensions, is one
  that some line declares; and every metric of the lines is asked for by an alarm or the dashboard;
- every operation of the shipped policies has alarms of its own.
"""

import json
import math
import os
import re
import sys

from processes import module

yaml = module("yaml", "python3-yaml")

POLICIES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..",
                        "deploy", "policies", "websocket-app.yaml")

MAX_LINE_BYTES = 1024 * 1024
MAX_METRICS = 100
MAX_DIMENSIONS = 30
MAX_VALUES = 100
MAX_NAME = 1024

SIZES = ["Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes",
         "Bits", "Kilobits", "Megabits", "Gigabits", "Terabits", "Count"]
UNITS = {"Seconds", "Microseconds", "Milliseconds", "Percent", "None", *SIZES,
         *(size + "/Second" for size in SIZES)}


# --------------------------------------------------------------------------------------------------
# The lines. A metric is (namespace, name, names of its dimensions).

def is_name(value):
    return isinstance(value, str) and value.strip() != "" and len(value) <= MAX_NAME


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_metric(metric, line):
    name = metric.get("Name")
    if not is_name(name):
        yield f"{name!r} is no name of a metric"
        return
    if metric.get("Unit", "None") not in UNITS:
        yield f"{name}: {metric['Unit']!r} is no unit"
    if metric.get("StorageResolution", 60) not in (1, 60):
        yield f"{name}: StorageResolution is {metric['StorageResolution']!r}, not 1 or 60"
    if metric.keys() - {"Name", "Unit", "StorageResolution"}:
        yield f"{name}: unknown members {sorted(metric)}"
    value = line.get(name)
    values = value if isinstance(value, list) else [value]
    if not 1 <= len(values) <= MAX_VALUES or not all(is_number(v) for v in values):
        yield f"{name}: its value is {value!r}, not a number"


def check_dimensions(dimensions, line):
    if not isinstance(dimensions, list):
        yield f"{dimensions!r} is no set of dimensions"
        return
    if len(dimensions) > MAX_DIMENSIONS or len(set(dimensions)) < len(dimensions):
        yield f"too many dimensions, or one twice: {dimensions}"
    for name in dimensions:
        if not is_name(name) or not is_name(line.get(name)):
            yield f"dimension {name!r}: its value is {line.get(name)!r}, not a string"


def check_directive(directive, line):
    if directive.keys() != {"Namespace", "Dimensions", "Metrics"}:
        yield f"a directive has the members {sorted(directive)}"
        return
    if not is_name(directive["Namespace"]):
        yield f"Namespace: {directive['Namespace']!r}"
    if not directive["Dimensions"]:
        yield "no set of dimensions"
    for dimensions in directive["Dimensions"]:
        yield from check_dimensions(dimensions, line)
    metrics = directive["Metrics"]
    if len(metrics) > MAX_METRICS:
        yield f"{len(metrics)} metrics in a directive"
    if len({metric.get("Name") for metric in metrics}) < len(metrics):
        yield "a metric twice in a directive"
    for metric in metrics:
        yield from check_metric(metric, line)


def check_line(text):
    """What is wrong with it, and the metrics that it declares."""
    if len(text.encode()) > MAX_LINE_BYTES:
        return ["too long"], set()
    try:
        line = json.loads(text)
        about = line["_aws"]
        errors = []
        if about.keys() != {"Timestamp", "CloudWatchMetrics"}:
            errors.append(f"_aws has the members {sorted(about)}")
        # Milliseconds of this century; seconds or microseconds are not.
        if type(about["Timestamp"]) is not int or not 1e12 <= about["Timestamp"] < 5e12:
            errors.append(f"Timestamp {about['Timestamp']!r}")
        declared = set()
        for directive in about["CloudWatchMetrics"]:
            errors += check_directive(directive, line)
            declared.update((directive["Namespace"], metric["Name"], frozenset(dimensions))
                            for dimensions in directive["Dimensions"]
                            for metric in directive["Metrics"])
        return errors, declared
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"not in the format: {error!r}"], set()


def read_lines(path):
    errors, declared = [], set()
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    if lines.pop() != "":
        errors.append(f"{path}: the last line does not end")
    if not lines:
        errors.append(f"{path}: no line")
    for number, text in enumerate(lines, 1):
        wrong, of_line = check_line(text)
        errors += [f"{path}:{number}: {error}" for error in wrong]
        declared |= of_line
    return errors, declared


# --------------------------------------------------------------------------------------------------
# The template

class Loader(yaml.SafeLoader):
    """Reads !Ref X as {"Ref": X}, as CloudFormation does."""


def construct(loader, tag, node):
    if isinstance(node, yaml.ScalarNode):
        return {tag: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {tag: loader.construct_sequence(node, deep=True)}
    return {tag: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", construct)


class Template:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            template = yaml.load(file, Loader)
        self._defaults = {name: str(parameter.get("Default", name))
                          for name, parameter in template["Parameters"].items()}
        self._resources = template["Resources"]

    def text(self, value):
        """With the default of each parameter, and the names of other things for themselves."""
        if not isinstance(value, dict):
            return value
        (function, argument), = value.items()
        if function == "Ref":
            return self._defaults.get(argument, argument)
        if function != "Sub" or not isinstance(argument, str):
            sys.exit(f"this test does not know {value}")

        def replace(match):
            name = match[1]
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if (name not in self._defaults and not name.startswith("AWS::")
                    and name.split(".")[0] not in self._resources):
                sys.exit(f"the template has no {name}")
            return self._defaults.get(name, name)
        return re.sub(r"\$\{([^}]*)\}", replace, argument)

    def _of_type(self, kind):
        return [(name, resource["Properties"]) for name, resource in self._resources.items()
                if resource["Type"] == kind]

    def alarm_metrics(self):
        """Of each alarm: its name, the metric and the values of its dimensions."""
        for name, alarm in self._of_type("AWS::CloudWatch::Alarm"):
            metrics = [part["MetricStat"]["Metric"] for part in alarm.get("Metrics", [])
                       if "MetricStat" in part] or [alarm]
            for metric in metrics:
                dimensions = {d["Name"]: d["Value"] for d in metric.get("Dimensions", [])}
                yield name, (self.text(metric["Namespace"]), metric["MetricName"],
                             frozenset(dimensions)), dimensions

    def dashboard_metrics(self):
        """Of each widget: its title and the metric."""
        for _, dashboard in self._of_type("AWS::CloudWatch::Dashboard"):
            for widget in json.loads(self.text(dashboard["DashboardBody"]))["widgets"]:
                properties = widget["properties"]
                for row in properties.get("metrics", []):
                    for metric in metrics_of_row(row):
                        yield properties["title"], metric


def metrics_of_row(row):
    """A row is [namespace, name, dimension, value, ..., options] or [{"expression": ...}]."""
    options = row[-1] if isinstance(row[-1], dict) else {}
    words = [word for word in row if not isinstance(word, dict)]
    if any(word.startswith(".") for word in words):
        sys.exit(f"this test wants words in full: {row}")
    if words:
        yield words[0], words[1], frozenset(words[2::2])
    expression = options.get("expression", "")
    searches = re.findall(r"SEARCH\('\{([^}]*)\} *MetricName=\"([^\"]*)\"', *'\w+'", expression)
    if len(searches) != expression.count("SEARCH"):
        sys.exit(f"this test does not know such a search: {expression}")
    for schema, name in searches:
        namespace, *dimensions = [word.strip().strip('"') for word in schema.split(",")]
        yield namespace, name, frozenset(dimensions)


# --------------------------------------------------------------------------------------------------

def check_operations(template):
    with open(POLICIES, encoding="utf-8") as file:
        shipped = {(p["service"], p["operation"]) for p in yaml.safe_load(file)["policies"]}
    for metric in ("NotClosed", "Opened"):
        watched = {(dimensions.get("Service"), dimensions.get("Operation"))
                   for _, (_, name, _), dimensions in template.alarm_metrics() if name == metric}
        for service, operation in sorted(shipped ^ watched, key=str):
            yield f"{service}/{operation}: has a policy or an alarm of {metric}, and not both"


def main():
    errors, declared = read_lines(sys.argv[1])
    template = Template(sys.argv[2])
    used = [(name, metric) for name, metric, _ in template.alarm_metrics()]
    used += template.dashboard_metrics()
    for where, metric in used:
        if metric not in declared:
            errors.append(f"{where}: no line declares {metric[1]} of {metric[0]} by "
                          f"{sorted(metric[2])}")
    for namespace, name, dimensions in sorted(declared - {metric for _, metric in used},
                                              key=lambda metric: metric[:2]):
        errors.append(f"nobody asks for {name} of {namespace} by {sorted(dimensions)}")
    errors += check_operations(template)
    if errors:
        sys.exit("\n".join(errors))


if __name__ == "__main__":
    main()
