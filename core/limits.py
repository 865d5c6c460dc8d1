"""How much one job may erase before a person must look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MOST_SHARE = 0.10
"""Of a data set's samples. More is rather a mistake, or somebody else's key, than one person."""

APPROVAL = "approval"
"""The phase of a job that waits for a reviewer before it begins."""


def too_much(
    erased: int,
    there: int,
    erased_of_class: Mapping[int, int],
    trained_of_class: Mapping[int, int],
    classes: Sequence[str],
) -> str | None:
    """Why a job waits for review, in words; None when it need not.

    erased, there: samples of all splits, before the erasure. erased_of_class, trained_of_class:
    samples of the training split by label: a class of which nothing remains there can no longer
    be learnt.
    """
    if erased > MOST_SHARE * there:
        return (
            f"this erases {erased:,} of {there:,} samples of the data set, more than "
            f"{MOST_SHARE:.0%}: approve the job to go on, or cancel it"
        )
    gone = [
        classes[label]
        for label, count in sorted(erased_of_class.items())
        if count and count >= trained_of_class.get(label, 0)
    ]
    if gone:
        return (
            f"this erases every training sample of class {', '.join(gone)}: approve the job to "
            "go on, or cancel it"
        )
    return None
