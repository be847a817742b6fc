"""Reads the Dockerfile of this checkout."""

import re

from scripts.deploy_check_image import ROOT

INSTRUCTION = re.compile(r"^([A-Z]+)\s+(.*)$", re.DOTALL)


def instructions():
    """Each instruction with its words; continued lines are one, comments are none."""
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = [line for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line.strip()]
    return [INSTRUCTION.match(line).groups() for line in lines]


def of(kind, stage=-1):
    """The arguments of all such instructions of a stage, by default the last one; 0 is before the first."""
    stages = [[]]
    for one, rest in instructions():
        if one == "FROM":
            stages.append([])
        stages[-1].append((one, rest))
    return [rest for one, rest in stages[stage] if one == kind]


def image_environment():
    """The variables of the finished image."""
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(of("ENV"))))
