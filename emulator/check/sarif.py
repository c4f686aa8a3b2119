# SPDX-License-Identifier: Apache-2.0
"""The findings in SARIF 2.1.0 (OASIS), for code scanning and editors.

A place in a binary has an absolute address and, where there are symbols, a logical location; where
the ELF file has line numbers, a file and a line too.
"""

import json
from pathlib import Path
from urllib.parse import quote

from aether_edgecloud.emulator.check.finding import Finding
from aether_edgecloud.emulator.check.request import CheckRequest
from aether_edgecloud.emulator.check.rules import RULES, Confidence, RuleInfo
from aether_edgecloud.emulator.check.session import Outcome

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_RANK = {Confidence.CERTAIN: 100.0, Confidence.LIKELY: 70.0, Confidence.POSSIBLE: 30.0}


def render(request: CheckRequest, outcome: Outcome, version: str) -> str:
    """The text of the file; `version` is that of this package."""
    rules = [rule for rule in RULES.values() if rule.id in request.rules]
    driver: dict[str, object] = {
        "name": "aether check",
        "rules": [_rule(rule) for rule in rules],
    }
    if version:
        driver["version"] = version
    run = {
        "tool": {"driver": driver},
        "invocations": [
            {
                "executionSuccessful": outcome.end.is_complete,
                "exitCode": outcome.exit_status,
                "exitCodeDescription": f"it {outcome.end.value}",
            }
        ],
        "artifacts": [
            {
                "location": {"uri": _uri(request.binary)},
                "hashes": {"sha-256": request.run.binary_sha256},
            }
        ],
        "results": [_result(f, [rule.id for rule in rules], request) for f in outcome.findings],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(rule: RuleInfo) -> dict[str, object]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.words},
        "fullDescription": {"text": rule.help},
        "help": {"text": f"{rule.help} Arm ARM DDI 0487, {rule.reference}."},
        "defaultConfiguration": {"level": rule.severity.value},
        "properties": {"precision": rule.confidence.value, "reference": rule.reference},
    }


def _result(f: Finding, rules: list[str], request: CheckRequest) -> dict[str, object]:
    at = f"{request.recording}@{f.place.position}" if request.recording is not None else None
    properties: dict[str, object] = {
        "cpu": f.place.cpu,
        "instruction": f.place.instruction,
        "position": f.place.position,
    }
    if at is not None:
        properties["replay"] = at
    return {
        "ruleId": f.rule.id,
        "ruleIndex": rules.index(f.rule.id),
        "level": f.rule.severity.value,
        "rank": _RANK[f.rule.confidence],
        "message": {"text": f.words},
        "occurrenceCount": f.count,
        "locations": [_location(f, request)],
        "partialFingerprints": {"place/v1": f"{f.rule.id}:{f.symbol or hex(f.place.pc)}"},
        "properties": properties,
    }


def _location(f: Finding, request: CheckRequest) -> dict[str, object]:
    address: dict[str, object] = {"absoluteAddress": f.place.pc, "kind": "instruction"}
    if f.symbol is not None:
        address["fullyQualifiedName"] = f.symbol
    physical: dict[str, object] = {"address": address}
    if f.source is not None:
        file, _, line = f.source.rpartition(":")
        physical["artifactLocation"] = {"uri": _uri(file)}
        physical["region"] = {"startLine": int(line)}
    else:
        physical["artifactLocation"] = {"uri": _uri(request.binary), "index": 0}
    location: dict[str, object] = {"physicalLocation": physical}
    if f.symbol is not None:
        name = f.symbol.partition("+")[0]
        location["logicalLocations"] = [{"name": name, "kind": "function"}]
    return location


def _uri(path: str) -> str:
    found = Path(path)
    return found.as_uri() if found.is_absolute() else quote(found.as_posix())
