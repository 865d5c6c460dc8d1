"""How much one job may erase before a person must look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

APPROVAL = "approval"
"""The phase of a job that waits for a reviewer before it begins."""


def too_much(
    erased: int,
    there: int,
    erased_of_class: Mapping[int, int],
    trained_of_class: Mapping[int, int],
    classes: Sequence[str],
    *,
    share: float,
    class_share: float,
) -> str | None:
    """Why a job waits for review, in words; None when it need not.

    erased, there: samples of all splits, before the erasure. erased_of_class, trained_of_class:
    samples of the training split by label: a class of which little remains there is learnt badly,
    and one of which nothing remains not at all. share, class_share: LETHE_REVIEW_SHARE and
    LETHE_REVIEW_CLASS_SHARE. More is rather a mistake, or somebody else's key, than one person.
    """
    if erased > share * there:
        return (
            f"this erases {erased:,} of {there:,} samples of the data set, more than "
            f"{share:.0%}: approve the job to go on, or cancel it"
        )
    lost = [
        f"{classes[label]} ({count:,} of {trained_of_class.get(label, 0):,})"
        for label, count in sorted(erased_of_class.items())
        if count > class_share * trained_of_class.get(label, 0)
        or (count and count >= trained_of_class.get(label, 0))
    ]
    if lost:
        return (
            f"this erases more than {class_share:.0%} of the training samples of class "
            f"{', '.join(lost)}: approve the job to go on, or cancel it"
        )
    return None
