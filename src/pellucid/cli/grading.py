"""Grading by rules: which there are, and stored results under another one."""

from __future__ import annotations

import json
from dataclasses import replace

from pellucid.cli._console import out, print_line, print_text
from pellucid.cli._grading_options import Panes, RegradeOutput, RequiredGrade, Results, RulesArgument
from pellucid.cli._options import Json


def rules(name: RulesArgument = None, as_json: Json = False) -> None:
    """List the grading rules that pellucid brings, or print one to change and to grade by.

    Reads and writes nothing. Every number in a rule has its published source beside it.

    ```
    pellucid rules en1279
    ```
    """
    from pellucid.regions.rules import read_rules, shipped_names, shipped_text

    known = [(name, read_rules(name)) for name in ([name] if name else shipped_names())]
    if as_json:
        print(json.dumps([one.model_dump(mode="json", exclude_none=True) for _, one in known], indent=2))
    elif name:
        print(shipped_text(name), end="")
    else:
        for short, one in known:
            print_text(out, (short, "bold"), f"  {one.title}")


def regrade(
    results: Results, grade: RequiredGrade, output: RegradeOutput = None, panes: Panes = None, as_json: Json = False
) -> None:
    """Grade stored results by another rule: what would the new customer's table have rejected?

    Reads what `pellucid inspect` wrote about images whose scale was known, and no image and no model. Verdicts stay
    those of the detector; grades are made anew. Prints a table, or the lines of --json; with -o, writes scores.csv,
    results.jsonl and defects.csv.

    ```
    pellucid regrade results --grade en1279
    ```
    """
    from pellucid._io.files import check_writable
    from pellucid.cli.inspect import graded_sentence, print_results
    from pellucid.regions.grading import Grading
    from pellucid.regions.rules import read_rules
    from pellucid.study.stored import read_results, result_text, write_results

    grading = Grading(read_rules(grade), panes)
    if output is not None:
        check_writable(output / "scores.csv")
    scored = [replace(one, inspection=grading.apply(one.inspection)) for one in read_results(results)]
    if output is not None:
        write_results(scored, output)
    if as_json:
        print(*map(result_text, scored), sep="\n")
    else:
        print_results(scored, output)
        print_line(out, graded_sentence(scored, grading))
