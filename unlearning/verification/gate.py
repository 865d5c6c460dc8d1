"""What a gate gives, and how several gates make one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]


@dataclass(frozen=True)
class Gate:
    """One test's figure against its bounds.

    gate: "G0" to "G8". statistic lies in [low, high] at `level` (two-sided, or one-sided where
    `what` says so); the test holds when it lies in [least, most]. p_value: of the hypothesis
    that the model passes, for Holm's correction; None for gates that are not corrected.
    samples: erased (or counted) samples. power: the chance that a model which never saw them
    passes, at this many samples; None where nothing is decided by it. detectable: the least
    statistic that fails with 80 % power, above the bound (below it, mirrored); None where none
    does, or the gate is not about remembering. detail: more figures.
    citation: where the test comes from.
    """

    gate: str
    name: str
    what: str
    statistic: float
    low: float
    high: float
    least: float
    most: float
    samples: int
    verdict: Verdict
    p_value: float | None = None
    power: float | None = None
    detectable: float | None = None
    citation: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The gate in JSON's own types."""
        return asdict(self)


CORRECTED = ("G1", "G2", "G3", "G4")
"""Gates whose failures are corrected for one another: they ask the same question."""


def holm(gates: Sequence[Gate], level: float = 0.05) -> list[Gate]:
    """Holm's step-down correction (Scand. J. Statist. 1979) over the failing tests of G1 to G4.

    A failing test whose p-value does not survive it becomes INCONCLUSIVE. Passing ones and
    other gates stay as they are. Every corrected test counts towards the number of tests.
    """
    tests = [g for g in gates if g.gate in CORRECTED and g.p_value is not None]
    order = sorted(tests, key=lambda g: g.p_value or 0.0)
    rejected: set[int] = set()
    for i, gate in enumerate(order):
        if (gate.p_value or 0.0) > level / (len(order) - i):
            break
        rejected.add(id(gate))
    return [
        replace(gate, verdict="INCONCLUSIVE")
        if gate.verdict == "FAIL"
        and gate.p_value is not None
        and gate.gate in CORRECTED
        and id(gate) not in rejected
        else gate
        for gate in gates
    ]


def verdict_of(gates: Sequence[Gate]) -> Verdict:
    """FAIL if any gate fails; else INCONCLUSIVE if any is; else PASS."""
    verdicts = {gate.verdict for gate in gates}
    if "FAIL" in verdicts:
        return "FAIL"
    return "INCONCLUSIVE" if "INCONCLUSIVE" in verdicts else "PASS"
