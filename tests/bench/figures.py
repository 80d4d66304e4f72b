"""Makes the figure sheet of the benchmarks' rows.

    figures.py ROWS JSON

ROWS is a file with one row a line, as row.h prints them. Writes the list of them to the file JSON and
prints a table of figure|measured|against|ratio|target, to be aligned by column -t -s '|'.
"""

import json
import sys


def number(value):
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def factor(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def measured(row):
    text = f"{number(row['measured'])} {row['unit']}".strip()
    more = [f"{name} {number(value)}" for name, value in row.get("distribution", {}).items()]
    return f"{text} ({', '.join(more)})" if more else text


def against(row):
    if "against" not in row:
        return ""
    return f"{number(row['against_value'])} {row['unit']}".strip() + f" {row['against']}"


def ratio(row):
    if "ratio" not in row:
        return ""
    lowest, highest = row["ratio_range"]
    text = factor(row["ratio"])
    return text if lowest == highest else f"{text} (slices {factor(lowest)}..{factor(highest)})"


def main():
    rows_path, json_path = sys.argv[1:]
    with open(rows_path) as lines:
        rows = [json.loads(line) for line in lines]
    with open(json_path, "w") as out:
        json.dump(rows, out, indent=2)
        out.write("\n")
    print("figure|measured|against|ratio|target")
    for row in rows:
        columns = [row["figure"], measured(row), against(row), ratio(row), row.get("target", "")]
        print("|".join(columns))


main()
